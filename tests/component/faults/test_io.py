# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file operation of the daemon fails, or the daemon is killed before it, for every operation of an increment."""

import http.client

import pytest

import process
import sweep
from scene import ENDED


def restart(scene, environment):
    """False: the daemon did not come up, for the fault is one of its start."""
    scene.daemon.end()
    scene.daemon.environment = environment
    try:
        scene.daemon.start()
    except RuntimeError:
        return False
    scene.wait_vm()
    return True


def is_dead(scene):
    return scene.daemon.process.poll() is not None


def has_ended(scene, job):
    try:
        return scene.job(job)["state"] in ENDED
    except (OSError, http.client.HTTPException):
        return False


def backup_with(scene, variable, number):
    """Restarts the daemon with that fault ahead and starts a backup. Returns the job, or None, and whether it had happened."""
    if not restart(scene, {variable: str(number)}):
        return None, False
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
    # The daemon reads the manifest of each backup as it starts: an operation each before those that are meant.
    step, struck, idle = 2 + (variable == "BACKUPD_CRASH_IO"), 0, 0
    while idle < (3 if struck else 12):
        scene.vm.scribble_all()
        job, happened = backup_with(scene, variable, len(scene.contents) + step)
        struck += happened
        idle = 0 if happened else idle + 1
        restart(scene, {})
        sweep.check_after(scene, job, "%s=%d" % (variable, len(scene.contents) + step), 90)
        step += 1 if sweep.scene_module.LONG else 2
    assert struck >= 4, "only %d operations" % struck
    scene.check_contents()
