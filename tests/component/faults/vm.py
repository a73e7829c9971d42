# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QEMU without a guest OS: the test writes as the guest would, and knows what every disk must hold."""

import os
import pathlib
import random
import signal
import threading

import process
import qmp

MIB = 1 << 20


class Vm:
    """Two disks, vda and vdb, with two monitors: .qmp for the daemon, and one of our own."""

    def __init__(self, folder, sizes, form="qcow2"):
        self.folder = pathlib.Path(folder)
        self.qmp, self.own = self.folder / "vm.qmp", self.folder / "own.qmp"
        self.form = form
        self.model = {disk: bytearray(size) for disk, size in sizes.items()}
        self.random = random.Random(1)
        self.lock = threading.RLock()
        self.log = self.folder / "qemu.log"
        self.writes = 0
        self.process = self.monitor = None
        self.as_child = None
        for disk, size in sizes.items():
            process.run(["qemu-img", "create", "-q", "-f", form, self.image(disk), size])

    def image(self, disk):
        return self.folder / ("%s.%s" % (disk, self.form))

    def arguments(self):
        yield from ["stdbuf", "-oL", "qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "64", "-machine", "q35"]
        for path in (self.qmp, self.own):
            yield from ["-qmp", "unix:%s,server=on,wait=off" % path]
        for disk in self.model:
            yield from ["-blockdev", "driver=%s,node-name=%s-node,discard=unmap,file.driver=file,file.filename=%s" % (self.form, disk, self.image(disk))]
            yield from ["-device", "virtio-blk-pci,id=%s,drive=%s-node" % (disk, disk)]

    def start(self):
        for path in (self.qmp, self.own):
            path.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = process.start(self.arguments(), self.as_child, stdout=log, stderr=log)
        self.monitor = process.wait_until(self._connect, 30, "QEMU to listen")
        return self

    def _connect(self):
        """A socket is there a moment before it can be connected to."""
        if self.process.poll() is not None:
            raise RuntimeError("QEMU ended: " + self.log.read_text())
        try:
            return qmp.Qmp(self.own, timeout=100) if self.qmp.exists() else None
        except (ConnectionRefusedError, FileNotFoundError):
            return None

    def stop(self):
        """As an administrator's "quit" does."""
        if self.process is not None and self.process.poll() is None:
            process.end(self.process)
        self._disconnect()

    def kill(self):
        process.kill(self.process)
        self._disconnect()

    def _disconnect(self):
        if self.monitor is not None:
            self.monitor.close()
        self.monitor = None

    def freeze(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    # --- the guest ---

    def execute(self, command, **arguments):
        with self.lock:
            return self.monitor.execute(command, **arguments)

    def _io(self, disk, command):
        self.execute("human-monitor-command", command_line='qemu-io -d /machine/peripheral/%s/virtio-backend "%s"' % (disk, command))
        self.writes += 1

    def write(self, disk, offset, length, value):
        with self.lock:
            self._io(disk, "write -P %d %d %d" % (value, offset, length))
            self.model[disk][offset:offset + length] = bytes([value]) * length

    def write_data(self, disk, offset, data):
        with self.lock:
            path = self.folder / "data"
            path.write_bytes(data)
            self._io(disk, "write -s %s %d %d" % (path, offset, len(data)))
            self.model[disk][offset:offset + len(data)] = data

    def zero(self, disk, offset, length):
        with self.lock:
            self._io(disk, "write -z -u %d %d" % (offset, length))
            self.model[disk][offset:offset + length] = bytes(length)

    def scribble(self, disk, times=1):
        """Something somewhere; small, and not aligned to clusters."""
        for _ in range(times):
            length = self.random.choice((512, 4096, 12288, 65536, 69632))
            offset = self.random.randrange(0, len(self.model[disk]) - length) // 512 * 512
            if self.random.random() < 0.15:
                self.zero(disk, offset, length)
            else:
                self.write(disk, offset, length, self.random.randrange(1, 256))

    def scribble_all(self, times=1):
        for disk in self.model:
            self.scribble(disk, times)

    def snapshot(self):
        """What the disks hold now."""
        with self.lock:
            return {disk: bytes(content) for disk, content in self.model.items()}

    # --- what must hold ---

    def check_guest(self):
        """It runs, and none of its writes has failed."""
        status = self.execute("query-status")["status"]
        assert status == "running", "the guest is " + status
        complaints = [line for line in self.log.read_text(errors="replace").splitlines()
                      if ("failed" in line or "rror" in line) and "negotiation failed" not in line]  # of a reader that was killed
        assert not complaints, "writes of the guest failed: %s" % complaints

    def bitmaps(self):
        """{disk: {name: entry}} of the disks' own nodes; one on another node counts as left over."""
        found = {}
        for node in self.execute("query-named-block-nodes", flat=True):
            for bitmap in node.get("dirty-bitmaps", []):
                if "name" in bitmap:
                    found.setdefault(node["node-name"].removesuffix("-node"), {})[bitmap["name"]] = bitmap
        return found

    def leftovers(self):
        """What of ours is in QEMU, but the bitmaps."""
        left = ["node " + node["node-name"] for node in self.execute("query-named-block-nodes", flat=True) if node["node-name"].startswith("bkd-")]
        left += ["job " + job["id"] for job in self.execute("query-jobs")]
        left += ["export " + export["id"] for export in self.execute("query-block-exports")]
        left += ["fdset %d" % fdset["fdset-id"] for fdset in self.execute("query-fdsets")]
        left += ["%s is read through %s" % (block["qdev"], block["inserted"]["node-name"]) for block in self.execute("query-block")
                 if "inserted" in block and block["inserted"]["node-name"].startswith("bkd-")]
        return left
