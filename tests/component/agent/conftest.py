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
