# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon is killed, hangs, or is told to end at each step of a freeze: the guest does not stay frozen."""

import os
import signal
import threading
import time

import pytest

import process
from agent import COMMANDS, FREEZE, MODES, STATUS
from conftest import LIMIT, guard_pids
from proxy import Hold, Proxy


def wait_thawed(agent, seconds):
    """Since the freeze at most @seconds may pass."""
    process.wait_until(lambda: not agent.frozen, seconds, "the guest to be thawed")
    if agent.frozen_at and agent.thawed_at:
        assert agent.thawed_at - agent.frozen_at < seconds


def strike(site, agent, at, blow):
    """Lets blow() happen when the @at-th command of COMMANDS has come, before its answer; returns an event."""
    happened = threading.Event()
    name = COMMANDS[at]

    def act(_client, command):
        blow()
        happened.set()
        return agent.usual(command)
    before = COMMANDS[:at].count(name)
    agent.act[name] = [lambda client, command: agent.usual(command)] * before + [act]
    return happened


def kill(site):
    os.kill(site.daemon.process.pid, signal.SIGKILL)
    site.daemon.process.wait()


@pytest.mark.parametrize("at", range(len(COMMANDS)), ids=["%d-%s" % (i, name.rsplit("-", 1)[-1]) for i, name in enumerate(COMMANDS)])
def test_daemon_is_killed(site, at):
    happened = strike(site, site.agent, at, lambda: kill(site))
    job = site.begin("--quiesce", "agent")
    assert happened.wait(30)
    wait_thawed(site.agent, LIMIT)
    site.daemon.start()
    ended = site.wait_end(job)
    assert ended["state"] == "failed" and "the daemon was stopped" in ended["error"]["message"]
    assert ended["quiesce"]["thawed"] and not ended["quiesce"]["quiesced"]
    assert site.agent.names()[-1] == STATUS and not site.agent.frozen
    again = site.backup("--quiesce", "agent")
    assert again["quiesce"]["quiesced"]


@pytest.mark.parametrize("decision", ["drop", "deliver"])
@pytest.mark.parametrize("mode", MODES)
def test_daemon_is_killed_at_the_instant(site, decision, mode):
    """The command that makes the point in time is on its way, or has been carried out."""
    path = site.folder / "proxy.qmp"
    proxy = Proxy(path, site.vm.qmp)
    proxy.listen()
    site.ctl("vm", "remove", "web")
    site.ctl("vm", "add", "web", "--qmp", path, "--agent", site.agent.path)
    site.daemon.wait_vm("web", "running")
    fault = Hold(0)

    def hold_the_instant(_client, command):
        fault.n = proxy.count + 1
        proxy.fault = fault
        return site.agent.usual(command)
    site.agent.act[FREEZE] = [hold_the_instant]
    job = site.begin("--quiesce", "agent", *MODES[mode])
    assert fault.happened.wait(30) and site.agent.frozen
    kill(site)
    fault.let_go(decision)
    wait_thawed(site.agent, LIMIT)
    proxy.arm()
    site.daemon.start()
    ended = site.wait_end(job)
    assert ended["state"] == "failed" and ended["quiesce"]["thawed"]
    proxy.close()


@pytest.mark.parametrize("quiesce", ["auto", "agent"])
@pytest.mark.parametrize("at", [2, 3, 4, 5], ids=["freeze", "status", "thaw", "proof"])
def test_daemon_hangs(site, at, quiesce):
    pid = site.daemon.process.pid
    happened = strike(site, site.agent, at, lambda: os.kill(pid, signal.SIGSTOP))
    job = site.begin("--quiesce", quiesce)
    assert happened.wait(30)
    wait_thawed(site.agent, LIMIT + 1.5)
    if at == 2:  # it had not asked for the thaw
        assert site.agent.thawed_at - site.agent.frozen_at > LIMIT - 0.1
    os.kill(pid, signal.SIGCONT)
    ended = site.wait_end(job)
    assert ended["quiesce"]["thawed"]
    assert ended["quiesce"]["quiesced"] == (at != 2)
    if at == 2:
        assert "limit of %d.0 s" % LIMIT in ended["quiesce"]["reason"]
    assert ended["state"] == ("failed" if at == 2 and quiesce == "agent" else "completed")


@pytest.mark.parametrize("at", [0, 2, 4], ids=["sync", "freeze", "thaw"])
def test_job_is_cancelled(site, at):
    job = {}

    def cancel():
        while not job:
            time.sleep(0.01)
        site.ctl("cancel", job["id"])
        time.sleep(0.5)
    happened = strike(site, site.agent, at, cancel)
    job.update(site.begin("--quiesce", "agent"))
    assert happened.wait(30)
    wait_thawed(site.agent, 5)
    ended = site.wait_end(job)
    assert ended["state"] == "cancelled", ended
    assert not site.agent.frozen and (at == 0 or ended["quiesce"]["thawed"])


def test_guard_is_killed(site):
    """Then it is the daemon that thaws, by another one."""
    happened = strike(site, site.agent, 3, lambda: os.kill(guard_pids(site.agent)[0], signal.SIGKILL))
    job = site.begin("--quiesce", "agent")
    assert happened.wait(30)
    ended = site.wait_end(job)
    assert ended["state"] == "failed" and ended["quiesce"]["thawed"], ended
    assert not site.agent.frozen


def test_both_are_killed(site):
    """Nobody is left: the next daemon finds the guest frozen."""
    pid = {}

    def blow():
        pid["guard"] = guard_pids(site.agent)[0]
        os.kill(pid["guard"], signal.SIGKILL)
        kill(site)
    happened = strike(site, site.agent, 3, blow)
    job = site.begin("--quiesce", "auto")
    assert happened.wait(30)
    time.sleep(0.5)
    assert site.agent.frozen
    site.daemon.start()
    ended = site.wait_end(job)
    assert not site.agent.frozen and ended["quiesce"]["thawed"]
    assert "the guest is thawed" in site.daemon.tail(100)


def test_daemon_is_told_to_end_while_the_guest_is_frozen(site):
    """As by systemd, which tells all processes of the service at once."""
    def blow():
        os.kill(guard_pids(site.agent)[0], signal.SIGTERM)
        site.daemon.process.terminate()
    happened = strike(site, site.agent, 2, blow)
    job = site.begin("--quiesce", "agent")
    assert happened.wait(30)
    wait_thawed(site.agent, LIMIT)
    assert site.daemon.process.wait(60) == 0
    site.daemon.start()
    assert site.wait_end(job)["quiesce"]["thawed"]


def test_qemu_goes_while_the_guest_is_frozen(site):
    """No guest, no freeze; nothing hangs."""
    def blow():
        site.agent.unlisten()
        site.vm.process.kill()
        site.vm.process.wait()
        site.agent.frozen = False
    happened = strike(site, site.agent, 3, blow)
    job = site.begin("--quiesce", "agent")
    assert happened.wait(30)
    ended = site.wait_end(job, 90)
    assert ended["state"] == "failed"
    for path in (site.vm.qmp, site.vm.side):
        path.unlink()
    site.agent.listen()
    site.vm.start()
    site.vm.execute("cont")
    site.daemon.wait_vm("web", "running")
