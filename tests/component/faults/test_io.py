# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file operation of the daemon fails, or the daemon is killed before it, for every operation of an increment."""

import http.client

import pytest

import process
import sweep
from scene import ENDED


def restart(scene, environment):
    scene.daemon.end()
    scene.daemon.environment = environment
    scene.daemon.start()
    scene.wait_vm()


def is_dead(scene):
    return scene.daemon.process.poll() is not None


def has_ended(scene, job):
    try:
        return scene.job(job)["state"] in ENDED
    except (OSError, http.client.HTTPException):
        return False


def backup_with(scene, variable, number):
    """Restarts the daemon with that fault ahead and starts a backup. Returns the job, or None, and whether it had happened."""
    restart(scene, {variable: str(number)})
    job = sweep.start(scene)
    if job is None:
        return None, True
    if variable == "BACKUPD_CRASH_IO":
        process.wait_until(lambda: is_dead(scene) or has_ended(scene, job), 60, "the daemon to be killed or the job to end")
        died = is_dead(scene)
        scene.daemon.environment = {}
        if died:
            scene.daemon.start()
            scene.wait_vm()
        return job, died
    ended = scene.wait_end(job)
    return job, ended["state"] != "completed"


@pytest.mark.parametrize("variable", ["BACKUPD_FAIL_IO", "BACKUPD_CRASH_IO"])
def test_each_file_operation(make_scene, variable):
    scene = make_scene()
    scene.backup()
    number, struck, idle = first_operation(scene, variable) + (variable == "BACKUPD_CRASH_IO"), 0, 0
    # The first ones may strike before the backup begins, and be got over.
    while idle < (3 if struck else 20):
        scene.vm.scribble_all()
        job, happened = backup_with(scene, variable, number)
        struck += happened
        idle = 0 if happened else idle + 1
        restart(scene, {})
        sweep.check_after(scene, job, "%s=%d" % (variable, number), 90)
        number += 1 if sweep.scene_module.LONG else 2
    assert struck >= 4, "only %d operations" % struck
    scene.check_contents()


def first_operation(scene, variable):
    """The first that does not end the daemon as it starts, when nothing is at stake yet."""
    for number in range(1, 40):
        scene.daemon.end()
        scene.daemon.environment = {variable: str(number)}
        scene.daemon.start(wait=False)
        try:
            process.wait_until(scene.daemon._answers, 30, "backupd to listen")
            return number
        except RuntimeError:
            continue
    raise AssertionError("the daemon never starts")
