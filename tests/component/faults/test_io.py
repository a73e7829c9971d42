# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file operation of the daemon fails, or the daemon is killed before it, for every operation of an increment."""

import pytest

import process
import sweep


def restart(scene, environment):
    scene.daemon.end()
    scene.daemon.environment = environment
    scene.daemon.start()
    scene.wait_vm()


def backup_with(scene, variable, number):
    """Restarts the daemon with that fault ahead and starts a backup. Returns the job, or None, and whether it had happened."""
    restart(scene, {variable: str(number)})
    job = sweep.start(scene)
    if job is None:
        return None, True
    if variable == "BACKUPD_CRASH_IO":
        process.wait_until(lambda: scene.daemon.process.poll() is not None or scene.daemon.run("watch", job["id"]).status in (0, 1, 3, 8, 10),
                           60, "the daemon to be killed or the job to end")
        died = scene.daemon.process.poll() is not None
        scene.daemon.environment = {}
        if died:
            scene.daemon.start()
            scene.wait_vm()
        return job, died
    ended = scene.wait_end(job)
    return job, "Input/output" in str(ended["error"])


@pytest.mark.parametrize("variable", ["BACKUPD_FAIL_IO", "BACKUPD_CRASH_IO"])
def test_each_file_operation(make_scene, variable):
    scene = make_scene()
    scene.backup()
    number, struck, idle = first_operation(scene, variable) + (variable == "BACKUPD_CRASH_IO"), 0, 0
    while idle < 2:
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
