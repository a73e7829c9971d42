# SPDX-License-Identifier: LGPL-2.1-or-later
"""The thaw guard alone, with agents that behave and others: a guest that it has frozen does not stay so."""

import json
import os
import signal
import subprocess
import time

import pytest

import process
from agent import FREEZE, STATUS, SYNC, THAW

GUARD = os.environ["THAW_GUARD"]


def begin(guard):
    """Until the guest is frozen."""
    assert guard.hear() == {"state": "ready"}
    guard.say("freeze")
    report = guard.hear()
    assert report["state"] == "frozen", report
    return report


def ended_thawed(agent, guard):
    """The last report, and that the last thing that was asked was the status, which proves it."""
    reports = guard.hear_all()
    assert guard.wait() == 0
    assert reports[-1]["state"] == "thawed", reports
    assert agent.short()[-1] == "status"
    assert not agent.frozen
    return reports[-1]


def sleeper(seconds, agent):
    def act(_client, command):
        time.sleep(seconds)
        return agent.usual(command)
    return act


def test_freezes_and_thaws_on_our_word(agent, make_guard):
    guard = make_guard()
    assert begin(guard) == {"state": "frozen", "file_systems": 2}
    assert agent.frozen
    guard.say("thaw")
    report = ended_thawed(agent, guard)
    assert report["held"] and 0 < report["frozen_us"] < 5e6 and "reason" not in report
    assert agent.short() == ["sync", "status", "freeze", "status", "thaw", "status"]


def test_freezes_the_mounts_that_are_named(agent, make_guard):
    guard = make_guard("freeze", "unix:" + agent.path, "5000", "/var/lib/mysql", "/")
    begin(guard)
    guard.hang_up()
    ended_thawed(agent, guard)
    assert agent.mounts == ["/var/lib/mysql", "/"]


def test_does_nothing_when_it_is_not_told_to_freeze(agent, make_guard):
    guard = make_guard()
    assert guard.hear() == {"state": "ready"}
    guard.hang_up()
    assert guard.wait() == 0
    assert agent.short() == ["sync", "status"]


@pytest.mark.parametrize("how", ["hang up", "deadline", "SIGTERM", "SIGHUP then deadline", "another word"])
def test_thaws_whatever_becomes_of_the_daemon(agent, make_guard, how):
    guard = make_guard(limit=1000)
    begin(guard)
    began = time.monotonic()
    if how == "hang up":
        guard.hang_up()
    elif how == "SIGTERM":
        guard.process.send_signal(signal.SIGTERM)
    elif how == "another word":
        guard.say("freeze")
    elif how == "SIGHUP then deadline":
        guard.process.send_signal(signal.SIGHUP)
    report = ended_thawed(agent, guard)
    late = agent.thawed_at - began
    assert "held" not in report
    if "deadline" in how:
        assert 0.9 < late < 3 and "limit of 1.0 s" in report["reason"]
    else:
        assert late < 0.8 and "went away" in report["reason"]


def test_thaws_when_it_is_left_alone_in_the_middle_of_a_freeze(agent, make_guard):
    agent.act[FREEZE] = [sleeper(1, agent)]
    guard = make_guard()
    assert guard.hear() == {"state": "ready"}
    guard.say("freeze")
    process.wait_until(lambda: FREEZE in agent.names(), 10, "the freeze")
    guard.hang_up()
    assert "held" not in ended_thawed(agent, guard)


# --- who speaks strangely ---

def test_what_others_left_is_dropped(agent, make_guard):
    """Half a reply, replies to others, complaints, and an old sync with its delimiter."""
    agent.left_over = (b'turn": 17}\n{"return": {}}\n\xff{"return": 1}\n{"error": {"class": "GenericError", "desc": "JSON parse error"}}\n'
                       b'{"return": "thawed"')
    guard = make_guard()
    begin(guard)
    guard.hang_up()
    ended_thawed(agent, guard)


def test_a_flood_before_the_sync_is_dropped(agent, make_guard):
    agent.left_over = b"x" * (5 << 20)
    guard = make_guard()
    begin(guard)
    guard.hang_up()
    ended_thawed(agent, guard)


def test_bytes_may_come_one_by_one(agent, make_guard):
    def drip(client, command):
        reply = agent.usual(command)
        for byte in reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n":
            client.sendall(bytes([byte]))
            time.sleep(0.002)
    for name in (SYNC, STATUS, FREEZE, THAW):
        agent.act[name] = [drip] * 5
    guard = make_guard()
    begin(guard)
    guard.say("thaw")
    assert ended_thawed(agent, guard)["held"]


@pytest.mark.parametrize("reply", [b"nonsense\n", b"[1, 2]\n", b'{"return": {"a": 1}}\n', b"\n\n{}\n", b"y" * (3 << 20) + b"\n", b"[" * 100000 + b"\n"],
                         ids=["no JSON", "no object", "wrong type", "empty", "huge", "deep"])
def test_a_thaw_that_is_answered_with_rubbish_is_proven_all_the_same(agent, make_guard, reply):
    def rubbish(_client, command):
        agent.usual(command)
        return reply
    agent.act[THAW] = [rubbish]
    guard = make_guard()
    begin(guard)
    guard.say("thaw")
    report = ended_thawed(agent, guard)
    assert "held" not in report and report["reason"]
    assert "sync" in agent.short()[3:]


def test_a_refusal_is_told_in_one_line(agent, make_guard):
    agent.act[FREEZE] = [lambda client, command: {"error": {"class": "GenericError", "desc": "not\n\x1b[2J now \u0000" + "z" * 5000}}]
    guard = make_guard()
    assert guard.hear() == {"state": "ready"}
    guard.say("freeze")
    report = guard.hear()
    assert report["state"] == "unable" and report["reason"].startswith("the guest agent refuses guest-fsfreeze-freeze: not  [2J now")
    assert len(report["reason"]) < 300 and not [c for c in report["reason"] if ord(c) < 32]
    ended_thawed(agent, guard)


# --- who does not answer ---

def test_an_agent_that_is_silent_is_given_up(agent, make_guard):
    agent.act[SYNC] = [lambda client, command: None]
    began = time.monotonic()
    guard = make_guard()
    report = guard.hear()
    assert report["state"] == "unable" and "does not answer" in report["reason"]
    assert 4 < time.monotonic() - began < 12
    assert guard.wait() == 0


def test_no_agent_at_all(agent, make_guard):
    agent.unlisten()
    guard = make_guard()
    report = guard.hear()
    assert report["state"] == "unable" and agent.path in report["reason"]
    assert guard.wait() == 0


def test_a_guest_that_others_have_frozen_is_left_alone(agent, make_guard):
    agent.frozen = True
    guard = make_guard()
    report = guard.hear()
    assert report["state"] == "unable" and report["held"] and "frozen already" in report["reason"]
    assert guard.wait() == 0
    assert agent.frozen and agent.short() == ["sync", "status"]


@pytest.mark.parametrize("command", [STATUS, THAW])
def test_a_connection_that_breaks_is_made_again(agent, make_guard, command):
    guard = make_guard()
    begin(guard)
    agent.act[command] = [lambda client, _command: agent.cut()]
    guard.say("thaw")
    report = ended_thawed(agent, guard)
    assert "held" not in report
    assert agent.short().count("sync") == 2


def test_an_agent_that_is_away_is_waited_for(agent, make_guard):
    """QEMU's socket is gone for a while, and the guest is still frozen when it comes back."""
    guard = make_guard()
    begin(guard)
    agent.unlisten()
    guard.hang_up()
    time.sleep(1.5)
    assert guard.process.poll() is None
    agent.listen()
    ended_thawed(agent, guard)
    assert "cannot thaw the guest yet" in guard.log.read_text()


def test_a_thaw_that_does_nothing_is_tried_again(agent, make_guard):
    guard = make_guard()
    begin(guard)
    agent.act[THAW] = [lambda client, command: {"return": 2}, lambda client, command: {"error": {"class": "GenericError", "desc": "busy"}}]
    guard.say("thaw")
    report = ended_thawed(agent, guard)
    assert "held" not in report and "still frozen" in report["reason"]
    assert agent.short().count("thaw") == 3


# --- who gives up ---

def test_a_guest_that_thaws_by_itself_was_not_held(agent, make_guard):
    guard = make_guard()
    begin(guard)
    agent.frozen = False
    guard.say("thaw")
    report = ended_thawed(agent, guard)
    assert "held" not in report and "by itself" in report["reason"]


def test_a_thaw_that_finds_nothing_frozen_was_not_held(agent, make_guard):
    """As when somebody in the guest called fsfreeze -u: the agent still thinks that it is frozen."""
    def nothing(_client, command):
        agent.usual(command)
        return {"return": 0}
    guard = make_guard()
    begin(guard)
    agent.act[THAW] = [nothing]
    guard.say("thaw")
    report = ended_thawed(agent, guard)
    assert "held" not in report and "by itself" in report["reason"]


def test_windows_gives_up_after_ten_seconds_and_says_so_late(agent, make_guard):
    def vss(_client, command):
        agent.usual(command)
        return {"error": {"class": "GenericError", "desc": "couldn't hold writes: fsfreeze is limited up to 10 seconds"}}
    guard = make_guard()
    begin(guard)
    agent.act[THAW] = [vss]
    guard.say("thaw")
    report = ended_thawed(agent, guard)
    assert "held" not in report and "limited up to 10 seconds" in report["reason"]


def test_a_freeze_of_nothing_is_none(agent, make_guard):
    agent.file_systems = 0
    guard = make_guard("freeze", "unix:" + agent.path, "5000", "/typo")
    assert guard.hear() == {"state": "ready"}
    guard.say("freeze")
    report = guard.hear()
    assert report["state"] == "unable" and "nothing is mounted there" in report["reason"]
    ended_thawed(agent, guard)


# --- by hand ---

def test_thaws_what_somebody_left_frozen(agent, make_guard):
    agent.frozen = True
    guard = make_guard("thaw", "unix:" + agent.path)
    ended_thawed(agent, guard)


def test_the_environment_cannot_end_it(agent, tmp_path):
    """A complaint is no reason to die with the guest frozen."""
    agent.frozen = True
    agent.act[THAW] = [lambda client, command: agent.cut()]
    done = subprocess.run([GUARD, "thaw", "unix:" + agent.path], env={"G_DEBUG": "fatal-warnings,fatal-criticals"},
                          capture_output=True, timeout=30)
    assert done.returncode == 0 and not agent.frozen


@pytest.mark.parametrize("arguments", [[], ["freeze"], ["freeze", "unix:/x", "0"], ["freeze", "unix:/x", "soon"], ["thaw"], ["thaw", "unix:/x", "more"],
                                       ["thaw", "tcp:1"], ["thaw", "unix:relative"], ["melt", "unix:/x"]])
def test_wrong_words_are_refused(make_guard, arguments):
    done = subprocess.run([GUARD] + arguments, capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and len(done.stderr.splitlines()) in (1, 2)
