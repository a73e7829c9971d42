# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real guest with Debian's qemu-ga: its file systems are clean in what is backed up, and it writes on in any case."""

import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

import guest as guest_module
import image
import process
from conftest import VM
from daemon import program

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "component" / "faults"))
from proxy import Proxy  # noqa: E402

MODES = {"pull": ["--repo", "dedup"], "push": ["--repo", "default"], "push-direct": ["--repo", "default", "--mode", "push-direct"]}
GUARD = program("THAW_GUARD", "daemon/guard/thaw-guard")


@pytest.fixture
def guest(tmp_path, built):
    """With an agent. Pressed for time: it hardly pauses between steps, so that a journal is seldom empty by itself."""
    virtual_machine = guest_module.Guest(tmp_path / "vm", *built, ballast={"vda": 4 << 20, "vdb": 1 << 20}, pause=0.01, agent=True)
    try:
        yield virtual_machine.start()
    finally:
        virtual_machine.stop()


@pytest.fixture
def frozen_site(site, tmp_path):
    """@site, with the VM's agent known, and a repository for each mode."""
    site.ctl("vm", "remove", VM)
    site.ctl("vm", "add", VM, "--qmp", site.guest.qmp, "--agent", site.guest.agent)
    site.ctl("repo", "add", "dedup", "--path", tmp_path / "dedup")
    site.daemon.wait_vm(VM, "running")
    wait_agent(site.guest)
    return site


class Agent:
    """The guest's agent, asked by us while no guard does."""

    def __init__(self, guest):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(guest.agent))
        self.stream = self.socket.makefile("rb")
        number = random.randrange(1 << 30)
        self.socket.sendall(b"\xff" + json.dumps({"execute": "guest-sync-delimited", "arguments": {"id": number}}).encode() + b"\n")
        while self._receive() != {"return": number}:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stream.close()
        self.socket.close()

    def _receive(self):
        try:
            return json.loads(self.stream.readline().split(b"\xff")[-1])
        except ValueError:
            return None

    def ask(self, command):
        self.socket.sendall(json.dumps({"execute": command}).encode() + b"\n")
        return self._receive()["return"]


def status(guest):
    with Agent(guest) as agent:
        return agent.ask("guest-fsfreeze-status")


def wait_agent(guest):
    """It is started just before the guest begins to write."""
    def answers():
        try:
            return status(guest) == "thawed"
        except OSError:
            return False
    process.wait_until(answers, 60, "the agent to answer")


def check_writes_on(guest):
    before = guest.synced()
    process.wait_until(lambda: guest.synced() > before, 30, "the guest to write on")
    guest.check()
    assert status(guest) == "thawed"


def restored(site, backup):
    """{disk: path} of raw images."""
    folder = site.folder / ("raw-" + backup)
    site.ctl("restore", backup, "--output", folder, "--format", "raw", "--wait")
    return {disk: folder / (disk + ".raw") for disk in ("vda", "vdb")}


def is_clean(path):
    """As an unmounted file system: nothing in the journal that has to be replayed, and no fault without that."""
    features = re.search(r"^Filesystem features:(.*)$", process.run(["dumpe2fs", "-h", path]), re.MULTILINE).group(1).split()
    check = subprocess.run(["e2fsck", "-fn", str(path)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    clean = "needs_recovery" not in features
    if clean:
        assert check.returncode == 0, check.stdout + check.stderr
    return clean


@pytest.mark.parametrize("mode", MODES)
def test_file_systems_are_clean(frozen_site, mode):
    site = frozen_site
    for quiesce, clean in (("agent", True), ("none", False), ("auto", True)):
        job = site.backup("--quiesce", quiesce, *MODES[mode])
        assert job["mode"] == mode and job["quiesce"]["quiesced"] == clean, job["quiesce"]
        if clean:
            assert job["quiesce"]["file_systems"] == 2 and job["quiesce"]["thawed"]
            assert 0 < job["quiesce"]["frozen_ms"] < 10000
        check_writes_on(site.guest)
        paths = restored(site, job["backup_id"])
        assert {disk: is_clean(path) for disk, path in paths.items()} == {"vda": clean, "vdb": clean}
        contents = {disk: image.check_content(path, "raw", disk, site.guest.writing) for disk, path in paths.items()}
        image.check_order(contents, job["synced"])


def test_mounts_are_chosen(frozen_site):
    site = frozen_site
    job = site.backup("--quiesce", "agent", "--quiesce-mounts", "/vda", "--repo", "dedup")
    assert job["quiesce"]["file_systems"] == 1
    check_writes_on(site.guest)
    assert {disk: is_clean(path) for disk, path in restored(site, job["backup_id"]).items()} == {"vda": True, "vdb": False}
    failed = site.backup("--quiesce", "agent", "--quiesce-mounts", "/vdz", "--repo", "dedup", status=1)
    assert "nothing is mounted there" in failed["error"]["message"]
    check_writes_on(site.guest)


def test_export_is_clean(frozen_site):
    site = frozen_site
    export = site.ctl("export", "begin", "--vm", VM, "--quiesce", "agent")
    check_writes_on(site.guest)
    for disk in export["disks"]:
        path = site.folder / (disk["name"] + ".raw")
        process.run(["nbdcopy", disk["uri"], path])
        assert is_clean(path)
    site.ctl("export", "end", export["id"], "--success")


def at_the_instant(site, act):
    """Between the daemon and QEMU stands a proxy, that calls act() once, when the guest is frozen and the instant is due."""
    proxy = Proxy(site.folder / "proxy.qmp", site.guest.qmp)
    proxy.listen()
    site.ctl("vm", "remove", VM)
    site.ctl("vm", "add", VM, "--qmp", proxy.path, "--agent", site.guest.agent)
    site.daemon.wait_vm(VM, "running")
    done = []

    def before(command):
        if command.name == "stop" and not done:
            done.append(time.monotonic())
            act()
    proxy.before = before
    return proxy, done


def test_daemon_is_killed_while_the_guest_is_frozen(frozen_site):
    site = frozen_site
    proxy, done = at_the_instant(site, lambda: os.kill(site.daemon.process.pid, signal.SIGKILL))
    job = site.ctl("start", "--vm", VM, "--quiesce", "agent", "--repo", "dedup")
    site.daemon.process.wait(60)
    assert done
    check_writes_on(site.guest)
    site.daemon.start()
    ended = site.daemon.wait_job(job["id"], lambda found: found["ended_at"], "to end")
    assert ended["state"] == "failed" and ended["quiesce"]["thawed"]
    check_writes_on(site.guest)
    assert site.backup("--quiesce", "agent", "--repo", "dedup")["quiesce"]["quiesced"]
    proxy.close()


def test_daemon_hangs_while_the_guest_is_frozen(frozen_site):
    """It is the deadline that thaws the guest: ten seconds."""
    site = frozen_site
    pid = site.daemon.process.pid
    proxy, done = at_the_instant(site, lambda: os.kill(pid, signal.SIGSTOP))
    job = site.ctl("start", "--vm", VM, "--quiesce", "auto", "--repo", "dedup")
    process.wait_until(lambda: done, 60, "the instant")
    time.sleep(1)
    frozen_at = site.guest.synced()
    time.sleep(3)
    assert site.guest.synced() == frozen_at, "the guest was not frozen"
    process.wait_until(lambda: site.guest.synced() > frozen_at, 30, "the guest to write on")
    assert 5 < time.monotonic() - done[0] < 25
    os.kill(pid, signal.SIGCONT)
    ended = site.daemon.wait_job(job["id"], lambda found: found["ended_at"], "to end", 120)
    assert ended["state"] == "completed" and not ended["quiesce"]["quiesced"] and "limit of 10.0 s" in ended["quiesce"]["reason"]
    check_writes_on(site.guest)
    proxy.close()


def test_guest_that_somebody_has_frozen(frozen_site):
    """It is left to him; and thawed by hand."""
    site = frozen_site
    with Agent(site.guest) as agent:
        assert agent.ask("guest-fsfreeze-freeze") == 2
    job = site.backup("--quiesce", "auto", "--repo", "dedup")
    assert job["state"] == "completed" and "frozen already" in job["quiesce"]["reason"]
    assert status(site.guest) == "frozen"
    process.run([GUARD, "thaw", "unix:%s" % site.guest.agent])
    check_writes_on(site.guest)
