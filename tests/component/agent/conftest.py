# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: a guest agent, the thaw guard, a daemon, and a QEMU that runs without a guest."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

import pytest  # noqa: E402

import agent as agent_module  # noqa: E402
import process  # noqa: E402

GUARD = os.environ["THAW_GUARD"]


@pytest.fixture
def tmp_path():
    """Short, as paths of sockets must be, and gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bkd-agent-") as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def agent(tmp_path):
    peer = agent_module.Agent(tmp_path / "qga")
    yield peer
    peer.unlisten()


class Guard:
    """thaw-guard, and what it says."""

    def __init__(self, folder, arguments):
        self.log = folder / "guard.log"
        with open(self.log, "wb") as log:
            self.process = process.start([GUARD] + arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)

    def say(self, word):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def hang_up(self):
        self.process.stdin.close()

    def hear(self):
        """The next report; None when there is no more."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def hear_all(self):
        return [json.loads(line) for line in self.process.stdout]

    def wait(self, seconds=30):
        return self.process.wait(seconds)


@pytest.fixture
def make_guard(tmp_path, agent):
    guards = []

    def make(*arguments, limit=10000):
        address = "unix:" + agent.path
        guards.append(Guard(tmp_path, list(arguments) or ["freeze", address, str(limit)]))
        return guards[-1]
    yield make
    for guard in guards:
        process.kill(guard.process)
        guard.process.stdout.close()
        print("--- log of the guard:\n%s" % guard.log.read_text(errors="replace"))
        assert "ERROR: " not in guard.log.read_text(errors="replace")  # of a sanitizer


# --- the daemon ---

sys.path += [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("user", "faults")]

import daemon as daemon_module  # noqa: E402
import machine as machine_module  # noqa: E402

LIMIT = 2  # seconds that the daemon lets a guest be frozen


class Daemon(daemon_module.Daemon):
    """With a configuration of the test's."""

    def __init__(self, folder, **keys):
        super().__init__(folder)
        self.config = self.folder / "backupd.conf"
        self.config.write_text("[daemon]\n" + "".join("%s = %s\n" % (key.replace("_", "-"), value) for key, value in keys.items()))

    def start(self):
        with open(self.log, "ab") as log:
            arguments = [self.backupd, "--config", self.config, "--state-dir", self.state, "--listen", self.address, "--verbose"]
            self.process = process.start(arguments, stdout=log, stderr=log, env=daemon_module.environment())
        process.wait_until(self._answers, 30, "backupd to listen")
        return self


def guard_pids(agent):
    """Of the guards that speak to this agent."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            words = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0") if entry.isdigit() else []
        except OSError:
            continue
        if len(words) > 2 and words[0].endswith(b"thaw-guard") and words[2] == b"unix:" + agent.path.encode():
            found.append(int(entry))
    return found


class Site:
    """A running QEMU without a guest, its agent, and a daemon that knows both as "web"."""

    def __init__(self, folder, agent, **keys):
        self.folder, self.agent = folder, agent
        images = {name: machine_module.make_image(folder / (name + ".qcow2")) for name in ("vda", "vdb")}
        machine_module.fill(images["vda"])
        self.vm = machine_module.Machine(folder / "vm", machine_module.disk(images["vda"]) + machine_module.disk(images["vdb"], "vdb"))
        self.daemon = Daemon(folder / "d", freeze_limit=LIMIT, scratch_reserve="1M", **keys)

    def start(self):
        self.vm.start()
        self.vm.execute("cont")
        self.daemon.start()
        self.ctl("repo", "add", "chains", "--type", "qcow2", "--path", self.folder / "chains")
        self.ctl("vm", "add", "web", "--qmp", self.vm.qmp, "--agent", self.agent.path)
        self.daemon.wait_vm("web", "running")
        return self

    def ctl(self, *arguments, status=0):
        return self.daemon.ctl(*arguments, status=status)

    def backup(self, *options, status=0):
        return self.ctl("start", "--vm", "web", *options, "--wait", status=status)

    def begin(self, *options):
        return self.ctl("start", "--vm", "web", *options)

    def wait_end(self, job, seconds=60):
        return self.daemon.wait_job(job["id"], lambda found: found["ended_at"], "to end", seconds)

    def close(self):
        """The daemon's exit status; QEMU must be clean before, and the guest thawed."""
        status = self.daemon.end()
        print("--- log of backupd:\n%s" % self.daemon.tail(200))
        try:
            assert not self.agent.frozen, "the guest is still frozen"
            process.wait_until(lambda: not guard_pids(self.agent), 20, "the thaw guards to end")
            assert not self.vm.leftovers()
        finally:
            self.vm.stop()
        return status


@pytest.fixture
def make_site(tmp_path, agent):
    """Makes the one site, with these keys in the daemon's configuration."""
    sites = []

    def make(**keys):
        sites.append(Site(tmp_path, agent, **keys))
        return sites[0].start()
    yield make
    assert sites[0].close() == 0, "backupd did not end well"


@pytest.fixture
def site(make_site):
    return make_site()
