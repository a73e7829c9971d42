# SPDX-License-Identifier: LGPL-2.1-or-later
"""A cancel while a command is under way, for each kind of command; and a QEMU that answers late."""

import time

import sweep
from proxy import Hold


def cancel(scene, fault, options):
    job = sweep.start(scene, *options)
    if fault.happened.wait(20):
        scene.daemon.run("cancel", job["id"])
        time.sleep(0.3)  # the daemon may give the command up before it has an answer
        fault.let_go("pass")
    return job


def submit_commands(kinds):
    return kinds.index(kinds[0], 1)


def test_cancel_at_each_command(make_scene):
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene)
    numbers = [n for n in sweep.each_kind(kinds) if n > submit_commands(kinds)]
    sweep.run(scene, Hold, sweep.changing(kinds, numbers), act=cancel)
    scene.check_contents()


def late(scene, fault, options):
    job = sweep.start(scene, *options)
    if fault.happened.wait(20):
        time.sleep(33 if sweep.scene_module.LONG else 3)
        fault.let_go("pass")
    return job


def test_late_answers(make_scene):
    """In the long run beyond the time that a call waits, so that the answer comes when nobody waits any more."""
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene)
    chosen = [n for n in sweep.each_kind(kinds) if n > submit_commands(kinds)]
    wanted = ("qom-set", "transaction", "stop", "cont", "blockdev-reopen", "job-dismiss", "blockdev-add snapshot")
    numbers = [n for n in chosen if kinds[n - 1].startswith(wanted)]
    sweep.run(scene, Hold, sweep.share(numbers, 0, 2), act=late, seconds=200)
    scene.check_contents()
