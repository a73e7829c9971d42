# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backups that freeze the guest. The agent is ours; QEMU and daemon are real."""

import pytest

from agent import COMMANDS, FREEZE, MODES, STATUS, SYNC, THAW


# --- as it should be ---

@pytest.mark.parametrize("mode", MODES)
def test_backup_is_quiesced(site, mode):
    job = site.backup(*MODES[mode])
    assert job["mode"] == mode
    assert job["quiesce"]["quiesced"] and job["quiesce"]["thawed"] and job["quiesce"]["reason"] is None
    assert job["quiesce"]["file_systems"] == 2 and job["quiesce"]["frozen_ms"] >= 1
    assert site.agent.names() == COMMANDS
    assert site.ctl("backup", "show", job["backup_id"])["quiesced"] is True
    assert "yes: 2 file systems of the guest frozen for 0." in site.daemon.run("status", job["id"]).out
    assert "Quiesced:" in site.daemon.run("backup", "show", job["backup_id"]).out


def test_export_is_quiesced(site):
    export = site.ctl("export", "begin", "--vm", "web", "--quiesce", "agent", "--quiesce-mounts", "/,/srv")
    assert export["quiesce"]["quiesced"] and site.agent.mounts == ["/", "/srv"]
    site.ctl("export", "end", export["id"], "--success")


def test_point_in_time_is_within_the_freeze(site, tmp_path):
    """What changes the disk after the freeze and before the thaw is not what a guest does; here it tells when the instant was."""
    def write(_client, command):
        reply = site.agent.usual(command)
        site.vm.io("vda", "write -P 0x33 0 65536")
        return reply

    def write_again(_client, command):
        site.vm.io("vda", "write -P 0x44 0 65536")
        return site.agent.usual(command)
    site.agent.act = {FREEZE: [write], THAW: [write_again]}
    job = site.backup("--quiesce", "agent", "--disks", "vda")
    site.ctl("restore", job["backup_id"], "--output", tmp_path / "restored", "--format", "raw", "--wait")
    assert (tmp_path / "restored").read_bytes()[:65536] == b"\x33" * 65536


def test_none_never_freezes(site):
    job = site.backup("--quiesce", "none")
    assert not site.agent.names()
    assert not job["quiesce"]["quiesced"] and job["quiesce"]["reason"] == "it was not asked for"
    assert site.ctl("backup", "show", job["backup_id"])["quiesced"] is False


def test_several_at_once_take_turns(site):
    """One agent, two jobs on different disks."""
    jobs = [site.begin("--quiesce", "agent", "--disks", disk) for disk in ("vda", "vdb")]
    for job in jobs:
        ended = site.wait_end(job)
        assert ended["state"] == "completed" and ended["quiesce"]["quiesced"], ended
    assert site.agent.names() == COMMANDS * 2


# --- who cannot be frozen ---

def silent(_client, _command):
    return None


def refuse(_client, _command):
    return {"error": {"class": "GenericError", "desc": "failed to freeze /: not now"}}


TROUBLES = {
    "no answer": ({SYNC: [silent] * 9}, "does not answer"),
    "refused": ({FREEZE: [refuse]}, "failed to freeze /: not now"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("mode", MODES)
def test_auto_goes_on_without(site, trouble, mode):
    acts, why = TROUBLES[trouble]
    site.agent.act = {name: list(functions) for name, functions in acts.items()}
    job = site.backup(*MODES[mode])
    assert job["state"] == "completed" and not job["quiesce"]["quiesced"] and why in job["quiesce"]["reason"]
    assert site.ctl("backup", "show", job["backup_id"])["quiesced"] is False
    assert "no: " in site.daemon.run("status", job["id"]).out


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("mode", MODES)
def test_agent_fails_before_the_point_in_time(site, trouble, mode):
    acts, why = TROUBLES[trouble]
    site.agent.act = {name: list(functions) for name, functions in acts.items()}
    job = site.backup("--quiesce", "agent", *MODES[mode], status=1)
    assert job["error"]["code"] == "failed" and why in job["error"]["message"]
    assert job["point_in_time"] is None and job["backup_id"] is None
    assert not site.ctl("checkpoint", "list", "--vm", "web")["items"]


def test_paused_guest_is_not_asked(site):
    site.vm.execute("stop")
    assert "does not run" in site.backup()["quiesce"]["reason"]
    assert "does not run" in site.backup("--quiesce", "agent", status=1)["error"]["message"]
    assert not site.agent.names()


def test_vm_that_is_shut_off(site):
    """Backed up from its images; nobody is there to be asked."""
    site.backup()
    site.vm.stop()
    asked = len(site.agent.names())
    site.daemon.wait_vm("web", "shut off")
    job = site.backup()
    assert job["state"] == "completed" and not job["quiesce"]["quiesced"] and "run" in job["quiesce"]["reason"]
    failed = site.backup("--quiesce", "agent", status=1)
    assert "run" in failed["error"]["message"]
    assert len(site.agent.names()) == asked
    for path in (site.vm.qmp, site.vm.side):
        path.unlink(missing_ok=True)
    site.vm.start()
    site.daemon.wait_vm("web", "prelaunch")


def test_vm_without_agent(site):
    site.ctl("vm", "remove", "web")
    site.ctl("vm", "add", "web", "--qmp", site.vm.qmp)
    site.daemon.wait_vm("web", "running")
    assert "no guest agent is known" in site.backup()["quiesce"]["reason"]
    refused = site.daemon.run("start", "--vm", "web", "--quiesce", "agent")
    assert refused.status == 2 and "--agent SOCKET" in refused.err
    assert not site.agent.names()


@pytest.mark.parametrize("options", [["--quiesce", "none", "--quiesce-mounts", "/"], ["--quiesce-mounts", ","]])
def test_mounts_that_make_no_sense_are_refused(site, options):
    refused = site.daemon.run("start", "--vm", "web", *options)
    assert refused.status == 2 and "quiesce" in refused.err


@pytest.mark.parametrize("quiesce, status", [("auto", 0), ("agent", 1)])
def test_guest_that_gives_up_in_between(site, quiesce, status):
    def give_up(_client, command):
        site.agent.frozen = False
        return site.agent.usual(command)
    plain = site.agent.usual
    site.agent.act = {STATUS: [lambda client, command: plain(command), give_up]}
    job = site.backup("--quiesce", quiesce, status=status)
    assert not job["quiesce"]["quiesced"] and "by itself" in job["quiesce"]["reason"] and job["quiesce"]["thawed"]
    if status:
        assert "would not be quiesced" in job["error"]["message"]
