# SPDX-License-Identifier: LGPL-2.1-or-later
"""The throw-away guest: a Linux that writes for ever to two ext4 disks (see tests/guest/init)."""

import os
import pathlib
import re
import subprocess
import time

import image
import process
from qmp import Qmp

BUILDER = pathlib.Path(__file__).resolve().parent.parent / "guest" / "build-guest"
DISKS = ("vda", "vdb")
BOOT_SECONDS = 120


def build():
    """The folder with vmlinuz, initrd.gz and initrd-agent.gz."""
    return pathlib.Path(process.run([BUILDER]).strip())


def accelerator(built):
    """KVM where a guest really runs with it; that the device can be opened proves little inside a VM. The answer
    is kept until the host boots again."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    known = built / ("accel-" + pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    if not known.exists():
        for older in built.glob("accel-*"):
            older.unlink(missing_ok=True)
        known.write_text("kvm" if _runs_with_kvm(built) else "tcg")
    return known.read_text()


def _runs_with_kvm(built):
    command = ["qemu-system-x86_64", "-accel", "kvm", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
               "-kernel", built / "vmlinuz", "-initrd", built / "initrd.gz", "-append", "console=ttyS0 quiet panic=-1 probe=1"]
    probe = process.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = probe.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.kill(probe)
    return b"probe ok" in output


class Guest:
    """One virtual machine. The disks are made once and stay over restarts.

    .qmp     socket for the daemon
    .spy     second socket, for us: self.look() connects to it
    .console everything that the guest said, as a file
    .agent   socket of its agent, when there is one
    """

    def __init__(self, folder, built, accel, sizes=None, ballast=None, pause=0.2, kib=64, keep=40, iothreads=(), agent=False):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.built, self.accel, self.pause = built, accel, pause
        self.iothreads = iothreads  # disks that have one each
        self.writing = image.Writing(kib=kib, keep=keep, ballast=ballast or {})
        self.qmp = self.folder / "qmp.sock"
        self.spy = self.folder / "spy.sock"
        self.console = self.folder / "console.log"
        self.agent = self.folder / "agent.sock" if agent else None
        self.process = None
        sizes = sizes or {}
        self.disks = {}
        for disk in DISKS:
            self.disks[disk] = self.folder / (disk + ".qcow2")
            image.make(self.disks[disk], sizes.get(disk, 128 << 20), disk, self.writing)

    def command(self):
        yield from ["qemu-system-x86_64", "-name", "throw-away", "-accel", self.accel, "-m", "256", "-nodefaults", "-no-user-config",
                    "-display", "none", "-no-reboot", "-kernel", self.built / "vmlinuz"]
        yield from ["-initrd", self.built / ("initrd-agent.gz" if self.agent else "initrd.gz")]
        yield from ["-append", "console=ttyS0 loglevel=4 panic=-1 writer_pause=%s writer_kib=%d writer_keep=%d%s"
                    % (self.pause, self.writing.kib, self.writing.keep, " agent=1" if self.agent else "")]
        if self.agent:
            yield from ["-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path=%s,server=on,wait=off" % self.agent,
                        "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
        yield from ["-chardev", "file,id=console,path=%s" % self.console, "-serial", "chardev:console"]
        for disk, path in self.disks.items():
            thread = ",iothread=io-%s" % disk if disk in self.iothreads else ""
            yield from ["-object", "iothread,id=io-%s" % disk] if thread else []
            yield from ["-blockdev", "driver=qcow2,node-name=disk-%s,discard=unmap,file.driver=file,file.discard=unmap,file.filename=%s" % (disk, path),
                        "-device", "virtio-blk-pci,id=%s,drive=disk-%s%s" % (disk, disk, thread)]
        for path in (self.qmp, self.spy):
            yield from ["-qmp", "unix:%s,server=on,wait=off" % path]

    def start(self):
        """Boots, and returns when the guest has begun to write."""
        self.console.write_text("")
        with open(self.folder / "qemu.log", "ab") as log:
            self.process = process.start(self.command(), stdout=log, stderr=log)
        self.wait_line("guest ready, next step", BOOT_SECONDS)
        return self

    def said(self):
        return self.console.read_text(errors="replace").replace("\r", "")

    def check(self):
        """Raises when the guest is gone or has met an error: that is what a backup must never do to it."""
        trouble = re.search(r"^.*(guest failed|I/O error|EXT4-fs error|Kernel panic|Oops).*$", self.said(), re.MULTILINE)
        if trouble:
            raise RuntimeError("the guest says: " + trouble.group(0))
        if self.process.poll() is not None:
            raise RuntimeError("QEMU is gone, with status %d: %s" % (self.process.returncode, (self.folder / "qemu.log").read_text()))

    def wait_line(self, text, seconds=60):
        def seen():
            found = text in self.said()
            self.check()
            return found
        process.wait_until(seen, seconds, "the guest to say '%s'" % text)

    def synced(self):
        """The last step that is known to be safe on both disks."""
        said = self.said()
        steps = re.findall(r"^synced vdb (\d+)$", said, re.MULTILINE)
        begun = re.search(r"^guest ready, next step (\d+)$", said, re.MULTILINE)
        return int(steps[-1]) if steps else int(begun.group(1)) - 1

    def wait_steps(self, count, seconds=60):
        """Waits until the guest has done that many steps more. Returns the last one."""
        goal = self.synced() + count

        def reached():
            self.check()
            return self.synced() >= goal
        process.wait_until(reached, seconds, "step %d of the guest" % goal)
        return self.synced()

    def look(self):
        return Qmp(self.spy)

    def leftovers(self):
        """Names in QEMU that begin with "bkd-", without bitmaps: a set, empty when nothing runs."""
        with self.look() as qmp:
            names = [node["node-name"] for node in qmp.execute("query-named-block-nodes")]
            names += [job["id"] for job in qmp.execute("query-jobs")]
            names += [export["id"] for export in qmp.execute("query-block-exports")]
            names += [entry["name"] for entry in qmp.execute("qom-list", path="/objects")]
        return {name for name in names if name.startswith("bkd-")}

    def jobs(self):
        """{id: status} of all jobs of QEMU."""
        with self.look() as qmp:
            return {job["id"]: job["status"] for job in qmp.execute("query-jobs")}

    def bitmaps(self):
        """{disk: {name, ...}} of all bitmaps that begin with "bkd-"."""
        found = {}
        with self.look() as qmp:
            for node in qmp.execute("query-named-block-nodes"):
                names = {bitmap.get("name", "") for bitmap in node.get("dirty-bitmaps", [])}
                names = {name for name in names if name.startswith("bkd-")}
                if names:
                    disk = node["node-name"].replace("disk-", "", 1)
                    found.setdefault(disk, set()).update(names)
        return found

    def stop(self):
        """Ends QEMU in good order (the guest itself is not asked: its disks look like after a power cut)."""
        if self.process is not None:
            process.end(self.process)

    def kill(self):
        process.kill(self.process)

    def wait_seconds(self, seconds):
        """Lets the guest write for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            time.sleep(0.1)
