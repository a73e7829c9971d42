# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real QEMU without a guest: what a backup sees of it is its disks, and what the "guest" writes comes from here."""

import pathlib

import process
import qmp

MIB = 1 << 20


def make_image(path, size=8 * MIB, form="qcow2", options=None):
    command = ["qemu-img", "create", "-q", "-f", form]
    process.run(command + (["-o", options] if options else []) + [path, size])
    return pathlib.Path(path)


def fill(path, form="qcow2", pattern=0x5a, size=4 * MIB):
    process.run(["qemu-io", "-f", form, "-c", "write -P %d 0 %d" % (pattern, size), path])


class Machine:
    """qemu-system-x86_64 with what @arguments add, stopped before its first instruction. Monitor 1 is backupd's."""

    def __init__(self, folder, arguments=(), name="vm"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.qmp, self.side = self.folder / (name + ".qmp"), self.folder / (name + ".side")
        self.arguments = ["qemu-system-x86_64", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-S"]
        for number, path in enumerate((self.qmp, self.side)):
            self.arguments += ["-chardev", "socket,id=m%d,path=%s,server=on,wait=off" % (number, path),
                               "-mon", "chardev=m%d,mode=control" % number]
        self.arguments += [str(argument) for argument in arguments]
        self.log = self.folder / (name + ".log")
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = process.start(self.arguments, stdout=log, stderr=log)
        process.wait_until(self._is_up, 30, "QEMU to listen")
        return self

    def _is_up(self):
        if self.process.poll() is not None:
            raise RuntimeError("QEMU ended: %s" % self.log.read_text(errors="replace"))
        return self.qmp.exists() and self.side.exists()

    def stop(self):
        return process.end(self.process) if self.process is not None else 0

    def execute(self, command, **arguments):
        with qmp.Qmp(self.side) as monitor:
            return monitor.execute(command, **arguments)

    def io(self, disk, command):
        """What a guest would do to the disk, as qemu-io says it."""
        line = 'qemu-io -d /machine/peripheral/%s/virtio-backend "%s"' % (disk, command)
        answer = self.execute("human-monitor-command", command_line=line)
        assert "rror" not in answer and "ailed" not in answer, answer

    def nodes(self):
        return {node["node-name"]: node for node in self.execute("query-named-block-nodes", flat=True)}

    def leftovers(self):
        """Nodes and jobs of ours."""
        jobs = {job["id"] for job in self.execute("query-jobs")}
        return {name for name in set(self.nodes()) | jobs if name.startswith("bkd-")}

    def bitmaps(self):
        return {bitmap["name"] for node in self.nodes().values() for bitmap in node.get("dirty-bitmaps", []) if "name" in bitmap}


def disk(path, name="vda", form="qcow2"):
    """Arguments for a virtio disk that is named by its device."""
    return ["-blockdev", "driver=%s,node-name=n%s,file.driver=file,file.filename=%s" % (form, name, path),
            "-device", "virtio-blk-pci,id=%s,drive=n%s" % (name, name)]
