# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benchmarks share: an image, a QEMU without a guest, and a daemon, all in one folder."""

import array
import json
import os
import random
import re
import socket
import subprocess
import time

BLOCK = 65536


class Qmp:
    """A monitor, one command at a time."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(100):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.05)
        self.file = self.socket.makefile("rb")
        self.events = []
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, command, fd=None, **arguments):
        text = {"execute": command}
        if arguments:
            text["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        data = json.dumps(text).encode() + b"\n"
        if fd is None:
            self.socket.sendall(data)
        else:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            self.socket.sendmsg([data], rights)
        while True:
            answer = json.loads(self.file.readline())
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_concluded(self, job):
        while True:
            for entry in self("query-jobs"):
                if entry["id"] == job and entry["status"] == "concluded":
                    if "error" in entry:
                        raise RuntimeError(entry["error"])
                    return
            event = json.loads(self.file.readline())
            self.events.append(event)


class Scene:
    """options: build, size (MiB), dirty (percent)."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.children = []
        self.number = 0
        self.image = f"{folder}/vda.qcow2"
        self.raw = f"{folder}/source.raw"
        self.size = options.size << 20

    def spawn(self, *argv, **more):
        child = subprocess.Popen(argv, **more)
        self.children.append(child)
        return child

    def end(self):
        """Daemons first, one after the other: one that sees its VM end begins to look at the disks."""
        for child in sorted(self.children, key=lambda child: not child.args[0].endswith("/backupd")):
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()

    def make_image(self):
        """A third random, a third text, a third never written."""
        rng = random.Random(1)
        with open(self.raw, "wb") as out:
            out.truncate(self.size)
            for offset in range(0, self.size // 3, 1 << 20):
                out.seek(offset)
                out.write(rng.randbytes(1 << 20))
            line = b"It was a dark and stormy night; the rain fell in torrents. "
            for offset in range(self.size // 3, 2 * self.size // 3 - (1 << 20), 1 << 20):
                out.seek(offset)
                out.write((b"%d " % offset + line * 20000)[:1 << 20])
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", self.raw, self.image], check=True)

    def start_vm(self):
        self.spawn("qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "64",
                   "-qmp", f"unix:{self.folder}/daemon.qmp,server=on,wait=off",
                   "-qmp", f"unix:{self.folder}/own.qmp,server=on,wait=off",
                   "-blockdev", f"driver=qcow2,node-name=vda,file.driver=file,file.filename={self.image}",
                   "-device", "virtio-blk-pci,id=vda,drive=vda,share-rw=on", stderr=subprocess.DEVNULL)
        self.qmp = Qmp(f"{self.folder}/own.qmp")

    def start_daemon(self, name="state", *more):
        self.listen = f"unix:{self.folder}/{name}.sock"
        daemon = self.spawn(f"{self.options.build}/daemon/backupd", "--state-dir", f"{self.folder}/{name}",
                            "--listen", self.listen, *more, stderr=open(f"{self.folder}/{name}.log", "w"))
        for _ in range(200):
            if self.ctl("vm", "list", check=False).returncode == 0:
                return daemon
            time.sleep(0.05)
        raise RuntimeError("the daemon did not come up")

    def ctl(self, *argv, check=True):
        return subprocess.run([f"{self.options.build}/client/backupctl", "--host", self.listen, "--json", *argv],
                              check=check, capture_output=True, text=True)

    def dirty(self):
        """A share of the blocks, at random places."""
        blocks = self.size // BLOCK
        for block in random.Random(self.number).sample(range(blocks), blocks * self.options.dirty // 100):
            line = f'qemu-io -d /machine/peripheral/vda/virtio-backend "write -q -P {block % 251 + 1} {block * BLOCK} {BLOCK}"'
            self.qmp("human-monitor-command", command_line=line)

    @staticmethod
    def counters(pid):
        with open(f"/proc/{pid}/status") as status:
            text = status.read()
        result = {key: int(re.search(rf"^{key}:\s+(\d+)", text, re.M)[1]) for key in ("VmRSS", "Threads")}
        result["wakeups"] = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status") as status:
                result["wakeups"] += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M)[1])
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        result["cpu"] = int(fields[11]) + int(fields[12])
        return result
