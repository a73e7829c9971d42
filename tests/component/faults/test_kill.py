# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon is killed at a command, which QEMU then gets or does not get; a new daemon takes up what is there."""

import pytest

import sweep
from proxy import Hold


def kill_daemon(decision):
    def act(scene, fault, options):
        job = sweep.start(scene, *options)
        if fault.happened.wait(20):
            scene.daemon.kill()
            fault.let_go(decision)
            scene.proxy.arm()
            scene.daemon.start()
            scene.wait_vm()
        return job
    return act


def submit_commands(kinds):
    """How many commands come before the job begins: it inspects the VM as the submission did."""
    return kinds.index(kinds[0], 1)


@pytest.mark.parametrize("decision, part", [("drop", 0), ("deliver", 1)])
def test_daemon_is_killed_at_each_command(make_scene, decision, part):
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene)
    numbers = [n for n in sweep.each_kind(kinds) if n > submit_commands(kinds)]
    sweep.run(scene, Hold, sweep.share(sweep.changing(kinds, numbers), part, 2), act=kill_daemon(decision), seconds=90)
    scene.check_contents()


def test_daemon_is_killed_in_direct_mode(make_scene):
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene, "--mode", "push-direct")
    numbers = [n for n in sweep.each_kind(kinds) if n > submit_commands(kinds) and not kinds[n - 1].startswith("query")]
    sweep.run(scene, Hold, sweep.share(numbers, 0, 2), "--mode", "push-direct", act=kill_daemon("deliver"), seconds=90)
    scene.check_contents()
