# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd of the tests' own, with domains that really run (by TCG, without a system in them): it is one of an ordinary user, all of whose
folders are in a temporary one, so that several run beside each other and beside that of the host."""

import os
import pathlib
import re
import signal
import subprocess

import process

START_SECONDS = 60
COMMAND_SECONDS = 60

DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type>{firmware}</os><features><acpi/></features>{more}
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}
<interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface></devices></domain>"""
DISK = """<disk type='file' device='disk'><driver name='qemu' type='{format}'{driver}/><source file='{path}'/><target dev='{name}' bus='virtio'/></disk>"""


def can_have_namespaces():
    """As root we have to be somebody else inside, or else libvirtd is that of the host."""
    return os.getuid() != 0 or subprocess.run(["unshare", "-U", "--map-user=1000", "true"], capture_output=True).returncode == 0


class Libvirtd:
    """.uri is what to give to backupd."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        for name in ("run", "config", "cache", "data"):
            (self.folder / name).mkdir()
        (self.folder / "config/libvirt").mkdir()
        (self.folder / "config/libvirt/qemu.conf").write_text('stdio_handler = "file"\n')  # or else virtlogd is started
        (self.folder / "libvirtd.conf").write_text('unix_sock_dir = "%s"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n' % self.folder)
        self.uri = "qemu+unix:///session?socket=%s" % (self.folder / "libvirt-sock")
        self.process = None
        self.domains = []

    def _environment(self):
        return dict(os.environ, HOME=str(self.folder), LC_ALL="C.UTF-8", **{
            "XDG_%s" % name: str(self.folder / place) for name, place in (
                ("RUNTIME_DIR", "run"), ("CONFIG_HOME", "config"), ("CACHE_HOME", "cache"), ("DATA_HOME", "data"))})

    def start(self):
        inside = ["unshare", "-U", "--map-user=1000", "--map-group=1000"] if os.getuid() == 0 else []
        with open(self.folder / "libvirtd.log", "ab") as log:
            self.process = process.start([*inside, "libvirtd", "--config", self.folder / "libvirtd.conf", "--pid-file", self.folder / "libvirtd.pid"],
                                         stdout=log, stderr=log, env=self._environment())
        process.wait_until(lambda: self._answers() or self.process.poll() is not None, START_SECONDS, "libvirtd to answer")
        assert self.process.poll() is None, (self.folder / "libvirtd.log").read_text()
        return self

    def _answers(self):
        return subprocess.run(["virsh", "-q", "-c", self.uri, "list"], capture_output=True, timeout=COMMAND_SECONDS).returncode == 0

    def kill(self):
        process.kill(self.process)

    def signal(self, number):
        self.process.send_signal(number)

    def virsh(self, *arguments):
        return process.run(["virsh", "-q", "-c", self.uri, *arguments], timeout=COMMAND_SECONDS)

    def end(self):
        """With all domains, also those that a libvirtd does not know of any more."""
        self.signal(signal.SIGCONT) if self.process.poll() is None else None
        process.end(self.process)
        for path in (self.folder / "run/libvirt/qemu/run").glob("*.pid"):
            try:
                os.kill(int(path.read_text()), signal.SIGKILL)
            except (ProcessLookupError, ValueError, FileNotFoundError):
                pass


class Domain:
    """A machine with the disks vda, vdb (qcow2) and vdc (raw), of 24 MiB, or @big MiB, 8 and 4."""

    def __init__(self, libvirtd, name="db01", more="", iothread=False, big=24, nvram=False):
        self.libvirtd, self.name = libvirtd, name
        self.folder = libvirtd.folder / name
        self.folder.mkdir()
        self.disks = {"vda": ("qcow2", big << 20), "vdb": ("qcow2", 8 << 20), "vdc": ("raw", 4 << 20)}
        for disk, (form, size) in self.disks.items():
            process.run(["qemu-img", "create", "-q", "-f", form, self.path(disk), str(size)])
        process.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 %dM" % (big - 4), self.path("vda")])
        process.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P 2 0 4M", self.path("vdb")])
        disks = "".join(DISK.format(name=disk, format=form, path=self.path(disk), driver=" iothread='1'" if iothread and disk == "vdb" else "")
                        for disk, (form, _) in self.disks.items())
        firmware = ""
        if nvram:
            (self.folder / "code.fd").write_bytes(bytes(128 << 10))
            self.nvram = self.folder / "vars.fd"
            self.nvram.write_bytes(b"settings" * (16 << 10))
            firmware = "<loader readonly='yes' type='pflash'>%s</loader><nvram>%s</nvram>" % (self.folder / "code.fd", self.nvram)
        self.xml = self.folder / "domain.xml"
        self.xml.write_text(DOMAIN.format(name=name, disks=disks, firmware=firmware, more=more + ("<iothreads>1</iothreads>" if iothread else "")))

    def path(self, disk):
        return self.folder / ("%s.%s" % (disk, self.disks[disk][0]))

    def define(self):
        self.libvirtd.virsh("define", self.xml)
        return self

    def start(self):
        self.libvirtd.virsh("start", self.name)
        return self

    def create(self):
        """Transient: gone when it is shut off."""
        self.libvirtd.virsh("create", self.xml)
        return self

    def destroy(self):
        self.libvirtd.virsh("destroy", self.name)

    def write(self, disk, *commands):
        """What the guest writes, in the words of qemu-io."""
        number = list(self.disks).index(disk)
        for command in commands:
            said = self.libvirtd.virsh("qemu-monitor-command", self.name, "--hmp",
                                       "qemu-io -d /machine/peripheral/virtio-disk%d/virtio-backend \"%s\"" % (number, command))
            assert "rror" not in said and "failed" not in said, said

    def content(self, to):
        """What is on the disks now, as raw files in the folder @to."""
        to.mkdir()
        for disk, (form, _) in self.disks.items():
            self.write(disk, "flush")
            process.run(["qemu-img", "convert", "-U", "-f", form, "-O", "raw", self.path(disk), to / (disk + ".raw")])
        return to

    def checkpoints(self):
        return self.libvirtd.virsh("checkpoint-list", self.name, "--name").split()

    def ours(self):
        return [name for name in self.checkpoints() if re.fullmatch("bkd-[0-9a-f]{6}-cp-.*", name)]

    def has_job(self):
        return "None" not in self.libvirtd.virsh("domjobinfo", self.name)

    def make_checkpoint(self, name):
        """As another program would."""
        self.libvirtd.virsh("checkpoint-create-as", self.name, name, "--diskspec", "vda,checkpoint=bitmap", "--diskspec", "vdb,checkpoint=bitmap",
                            "--diskspec", "vdc,checkpoint=no")
