# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hooks: programs of the administrator's around the point in time."""

import os
import signal
import time

import pytest

import process
from agent import FREEZE, THAW

TIMEOUT = 2


@pytest.fixture
def hooks(tmp_path):
    folder = tmp_path / "hooks"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def site(tmp_path, agent, hooks, make_site):
    return make_site(hooks_dir=hooks, hook_timeout=TIMEOUT)


@pytest.fixture
def write_hook(hooks, tmp_path):
    """Writes a hook, which also keeps a diary: a line for each run, at its begin and at its end."""
    diary = tmp_path / "diary"
    diary.write_text("")

    def write(body="", name="hook"):
        path = hooks / name
        path.write_text("#!/bin/sh\necho \"$1 begins\" >>%s\nenv | grep ^BACKUPD_ | sort >%s.$1\n%s\necho \"$1 ends\" >>%s\n"
                        % (diary, diary, body, diary))
        path.chmod(0o755)
        return path
    write.diary = diary
    write.lines = lambda: diary.read_text().splitlines()
    return write


RUNS = ["before begins", "before ends", "after begins", "after ends"]


def test_runs_before_and_after(site, write_hook, tmp_path):
    write_hook('echo "one: $1"\necho "two: $1" >&2\ntest ! -t 0 && test -z "$HOME"')
    job = site.backup("--hook", "hook")
    assert write_hook.lines() == RUNS
    assert [(run["event"], run["state"], run["reason"], run["output"]) for run in job["hooks"]] == [
        ("before", "done", None, "one: before\ntwo: before"), ("after", "done", None, "one: after\ntwo: after")]
    shown = (tmp_path / "diary.after").read_text().splitlines()
    assert shown == ["BACKUPD_BACKUP=" + job["backup_id"], "BACKUPD_DISKS=vda,vdb", "BACKUPD_EVENT=after", "BACKUPD_JOB=" + job["id"],
                     "BACKUPD_RESULT=success", "BACKUPD_VM=web"]
    assert "BACKUPD_RESULT" not in (tmp_path / "diary.before").read_text()
    text = site.daemon.run("status", job["id"]).out
    assert "two: after" in text


@pytest.mark.parametrize("mode", [["--mode", "push-direct", "--repo", "chains"], ["--repo", "chains"], ["--repo", "default"]])
def test_guest_is_not_frozen_for_it(site, write_hook, mode):
    """The agent sees what the hook has written when it is asked to freeze and to thaw."""
    seen = {}

    def look(name):
        def act(_client, command):
            seen[name] = write_hook.lines()
            return site.agent.usual(command)
        return act
    site.agent.act = {FREEZE: [look("freeze")], THAW: [look("thaw")]}
    write_hook("sleep 0.3")
    site.backup("--hook", "hook", "--quiesce", "agent", *mode)
    assert seen == {"freeze": RUNS[:2], "thaw": RUNS[:2]}
    assert write_hook.lines() == RUNS


def test_export_has_hooks(site, write_hook, tmp_path):
    write_hook()
    export = site.ctl("export", "begin", "--vm", "web", "--hook", "hook", "--disks", "vdb")
    assert write_hook.lines() == RUNS and "BACKUPD_BACKUP" not in (tmp_path / "diary.after").read_text()
    site.ctl("export", "end", export["id"], "--success")


# --- which ---

@pytest.mark.parametrize("name, status, words", [
    ("missing", 4, "there are: fine, hook"), ("../hooks/hook", 2, "is no name"), ("/bin/true", 2, "is no name"), (".hidden", 2, "is no name"),
    ("folder", 4, "there is no hook"), ("plain", 7, "chmod +x"), ("open", 7, "writable by nobody else")])
def test_which_programs(site, write_hook, hooks, name, status, words):
    write_hook()
    write_hook(name="fine")
    (hooks / "folder").mkdir()
    write_hook(name="plain").chmod(0o600)
    write_hook(name="open").chmod(0o777)
    if name == "missing":
        (hooks / "open").unlink()
    refused = site.daemon.run("start", "--vm", "web", "--hook", name)
    assert refused.status == status and words in refused.err, str(refused)
    assert not write_hook.lines() and not site.ctl("list")["items"]


def test_open_folder_is_refused(site, write_hook, hooks):
    write_hook()
    hooks.chmod(0o777)
    assert site.daemon.run("start", "--vm", "web", "--hook", "hook").status == 7


def test_daemon_without_hooks(make_site):
    site = make_site()
    refused = site.daemon.run("start", "--vm", "web", "--hook", "hook")
    assert refused.status == 2 and "hooks-dir" in refused.err


# --- failure ---

def test_failure_before_fails_the_job(site, write_hook, tmp_path):
    write_hook('[ $1 = after ] || { echo "no room"; exit 3; }')
    job = site.backup("--hook", "hook", status=1)
    assert job["error"]["message"] == "hook 'hook' failed before the point in time: it ended with status 3: no room"
    assert job["point_in_time"] is None
    assert write_hook.lines() == ["before begins", "after begins", "after ends"]
    assert "BACKUPD_RESULT=failure" in (tmp_path / "diary.after").read_text()
    assert [run["state"] for run in job["hooks"]] == ["failed", "done"]
    assert FREEZE not in site.agent.names()


def test_failure_may_be_ignored(site, write_hook):
    write_hook("exit 3")
    job = site.backup("--hook", "hook", "--hook-failure", "ignore")
    assert job["state"] == "completed" and [run["reason"] for run in job["hooks"]] == ["it ended with status 3"] * 2


def test_failure_after_is_only_told(site, write_hook):
    write_hook('[ $1 = before ] || kill -9 $$')
    job = site.backup("--hook", "hook")
    assert job["state"] == "completed" and job["hooks"][1]["reason"] == "it was ended by signal 9"


def test_after_runs_when_the_guest_cannot_be_frozen(site, write_hook, tmp_path):
    site.agent.act = {FREEZE: [lambda client, command: {"error": {"desc": "no"}}]}
    write_hook()
    site.backup("--hook", "hook", "--quiesce", "agent", status=1)
    assert write_hook.lines() == RUNS and "BACKUPD_RESULT=failure" in (tmp_path / "diary.after").read_text()


def test_hook_that_does_not_end(site, write_hook, tmp_path):
    """Nor what it has started, and it does not care for SIGTERM."""
    write_hook('[ $1 = after ] && exit\ntrap "" TERM\nsleep 600 &\necho $! >%s\nwait; wait; sleep 600' % (tmp_path / "pid"))
    began = time.monotonic()
    job = site.backup("--hook", "hook", status=1)
    assert "it did not end within %d s" % TIMEOUT in job["error"]["message"]
    assert TIMEOUT < time.monotonic() - began < 20
    pid = int((tmp_path / "pid").read_text())
    process.wait_until(lambda: not running(pid), 10, "what the hook has started to end")


def running(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as stat:
            return ") Z" not in stat.read()
    except FileNotFoundError:
        return False


def test_hook_that_leaves_something_behind(site, write_hook, tmp_path):
    """Which keeps its output open."""
    write_hook('sleep 30 & echo $! >>%s' % (tmp_path / "pids"))
    began = time.monotonic()
    site.backup("--hook", "hook")
    assert time.monotonic() - began < 15
    for pid in (tmp_path / "pids").read_text().split():
        os.kill(int(pid), signal.SIGKILL)


def test_hook_that_talks_much(site, write_hook):
    write_hook("yes 0123456789 | head -c 3000000; printf 'the\\001\\377end'")
    job = site.backup("--hook", "hook", "--disks", "vda")
    for run in job["hooks"]:
        assert run["state"] == "done" and len(run["output"]) <= 4096 and run["output"].endswith("0123456789\n012the \ufffdend")


# --- cancel and crash ---

def test_cancelled_in_the_middle(site, write_hook):
    write_hook("[ $1 = after ] || sleep 1.9")
    job = site.begin("--hook", "hook")
    process.wait_until(write_hook.lines, 20, "the hook to begin")
    site.ctl("cancel", job["id"])
    ended = site.wait_end(job)
    assert ended["state"] == "cancelled"
    assert write_hook.lines() == ["before begins", "after begins", "after ends"]


@pytest.mark.parametrize("event", ["before", "after"])
def test_daemon_is_killed_while_it_runs(site, write_hook, event):
    """The next one runs "after"."""
    write_hook('[ $1 = %s ] && [ $(wc -l <%s) -le 3 ] && { echo $$; sleep 1; }' % (event, write_hook.diary))
    job = site.begin("--hook", "hook")
    process.wait_until(lambda: event + " begins" in write_hook.lines(), 20, "the hook to begin")
    site.daemon.kill()
    time.sleep(1.5)
    assert event + " ends" not in write_hook.lines(), "it was not told to end"
    site.daemon.start()
    ended = site.wait_end(job)
    assert ended["state"] == "failed"
    assert write_hook.lines()[-2:] == RUNS[2:]
    assert write_hook.lines().count("after ends") == 1
    assert [run["event"] for run in ended["hooks"]][-1] == "after"


def test_daemon_is_killed_while_the_guest_is_frozen(site, write_hook):
    def blow(_client, command):
        site.daemon.kill()
        return site.agent.usual(command)
    site.agent.act = {FREEZE: [blow]}
    write_hook()
    job = site.begin("--hook", "hook", "--quiesce", "agent")
    process.wait_until(lambda: FREEZE in site.agent.names(), 20, "the freeze")
    process.wait_until(lambda: not site.agent.frozen, 10, "the thaw")
    site.daemon.start()
    ended = site.wait_end(job)
    assert ended["state"] == "failed" and ended["quiesce"]["thawed"]
    assert write_hook.lines() == RUNS
