# SPDX-License-Identifier: LGPL-2.1-or-later
"""backupd and backupctl as a user runs them: a daemon with its own state, and a way to call the client."""

import json
import os
import pathlib
import signal
import socket
import subprocess

import process

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
START_SECONDS = 30
COMMAND_SECONDS = 300


def program(variable, path):
    """Where meson says, or in the build folder by its usual name."""
    found = os.environ.get(variable)
    return pathlib.Path(found) if found else ROOT / "build" / path


def environment():
    """Without anything of the caller's that the programs would look at; a GLib warning is a crash."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "BACKUPD_", "NOTIFY_"))}
    return dict(kept, G_DEBUG="fatal-criticals", HOME="/nonexistent", LC_ALL="C.UTF-8")


class Result:
    """How a command of backupctl ended."""

    def __init__(self, command, done):
        self.command, self.status, self.out, self.err = command, done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return "'%s' ended with status %d\nstdout: %s\nstderr: %s" % (" ".join(self.command), self.status, self.out, self.err)


class Daemon:
    """Keeps its state in a folder, so that a second one in the same folder takes up what the first one left."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "state"
        self.address = "unix:%s" % (self.folder / "backupd.sock")
        self.log = self.folder / "backupd.log"
        self.backupd = program("BACKUPD", "daemon/backupd")
        self.backupctl = program("BACKUPCTL", "client/backupctl")
        self.wrapper = []  # words before the program's
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = process.start([*self.wrapper, self.backupd, "--state-dir", self.state, "--listen", self.address, "--verbose"],
                                         stdout=log, stderr=log, env=environment())
        process.wait_until(self._answers, START_SECONDS, "backupd to listen")
        return self

    def use_qcow2(self):
        """Makes the repository "default" one of type qcow2, for what is about pushes into it."""
        self.ctl("repo", "remove", "default")
        self.ctl("repo", "add", "default", "--type", "qcow2", "--path", self.state / "qcow2")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("backupd ended with status %d: %s" % (self.process.returncode, self.tail()))
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(self.address[len("unix:"):])
        except OSError:
            return False
        finally:
            probe.close()
        return True

    def tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def end_storage_daemons(self):
        """Those that a failed test leaves: they outlive the daemon by intent. Each has our folder in its arguments."""
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0] == b"qemu-storage-daemon" and any(word.startswith(str(self.folder).encode() + b"/") for word in words):
                os.kill(int(path.parent.name), signal.SIGKILL)

    def end(self):
        """Asks it to end, as systemd does. Returns the exit status: 0, or something is wrong (a leak, a hang)."""
        return process.end(self.process) if self.process is not None else 0

    def kill(self):
        process.kill(self.process)

    def run(self, *arguments, host=None):
        """backupctl with these arguments. Returns a Result, whatever came out."""
        command = [str(self.backupctl), "--host", host or self.address] + [str(argument) for argument in arguments]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS, env=environment())
        return Result(["backupctl"] + command[3:], done)

    def ctl(self, *arguments, status=0):
        """backupctl --json: returns the document (None when there is none); fails when the exit status is another."""
        result = self.run("--json", *arguments)
        assert result.status == status, "expected exit status %d, but %s\n--- log of backupd:\n%s" % (status, result, self.tail())
        return result.json if result.out.strip() else None

    def job(self, identifier):
        return self.ctl("status", identifier)

    def wait_job(self, identifier, condition, what, seconds=60):
        """Until condition(job) holds. Returns the job."""
        def seen():
            job = self.job(identifier)
            return job if condition(job) else None
        return process.wait_until(seen, seconds, "job %s: %s" % (identifier, what))

    def wait_vm(self, name, state, seconds=30):
        process.wait_until(lambda: self.ctl("vm", "show", name)["state"] == state, seconds, "VM %s to be %s" % (name, state))
