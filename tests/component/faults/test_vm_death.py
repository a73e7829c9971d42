# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU is killed at a command, and started again on the same images; or it just stands still for a while."""

import time

import pytest

import process
import sweep
from proxy import Hold


def kill_vm(scene, fault, options):
    job = sweep.start(scene, *options)
    if fault.happened.wait(20):
        scene.vm.kill()
        fault.let_go("drop")
        if job is not None:
            scene.wait_end(job, 5)  # nobody is waited for who is dead
        scene.vm.start()
        scene.wait_vm()
    return job


def check_after_death(scene, job, what):
    """Bitmaps of the killed QEMU are lost: one full backup, which says why, and increments again."""
    try:
        if job is not None:
            scene.note(scene.wait_end(job))
        scene.proxy.arm()
        process.wait_until(lambda: not scene.vm.leftovers(), 20, "QEMU to be clean")
        full = scene.check_next("full")
        assert all("bitmap" in disk["reason"] for disk in full["disks"]), full
        scene.check_clean(bitmaps=False)
        scene.check_images(scene.check_next()["backup_id"])
    except Exception as error:
        raise AssertionError("after the death of QEMU at %s: %s" % (what, error)) from error


def test_qemu_is_killed_at_each_command(make_scene):
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene)
    first = kinds.index(kinds[0], 1)
    numbers = sweep.changing(kinds, [n for n in sweep.each_kind(kinds) if n > first])
    for number in sweep.share(numbers, 0, 2):
        scene.vm.scribble_all()
        fault = scene.proxy.arm(Hold(number))
        job = kill_vm(scene, fault, ())
        check_after_death(scene, job, "command %d, %s" % (number, kinds[number - 1]))
    scene.check_contents()


def test_qemu_and_daemon_die_before_the_target_is_closed(make_scene):
    """What QEMU had not written yet is in no file; a new QEMU that does not know of the target must not count as closed."""
    scene = make_scene()
    scene.backup()
    kinds = sweep.learn(scene)
    number = next(n for n, kind in enumerate(kinds, 1) if kind.startswith("job-dismiss"))
    scene.vm.scribble_all(10)
    fault = scene.proxy.arm(Hold(number))
    job = sweep.start(scene)
    assert fault.happened.wait(20)
    scene.daemon.kill()
    fault.let_go("drop")
    scene.vm.kill()
    scene.vm.start()
    scene.daemon.start()
    scene.wait_vm()
    check_after_death(scene, job, "job-dismiss")
    assert scene.job(job)["state"] == "failed"
    scene.check_contents()


def test_qemu_ends_in_good_order_in_the_middle(make_scene):
    """Then the bitmaps are stored, those of the unfinished backup too: nothing is lost."""
    scene = make_scene()
    scene.backup()
    job = scene.begin("--level", "full", "--speed", "64K")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    scene.vm.scribble_all(4)
    scene.vm.stop()
    ended = scene.wait_end(job)
    assert ended["state"] == "failed"
    scene.vm.start()
    scene.wait_vm()
    sweep.check_after(scene, ended, "an end of QEMU in good order")
    scene.check_contents()


def test_vm_restarts_between_backups(make_scene):
    scene = make_scene()
    scene.backup()
    scene.vm.stop()
    scene.vm.start()
    scene.wait_vm()
    scene.check_next()
    scene.check_clean()
    scene.check_contents()


def test_qemu_stands_still(make_scene):
    scene = make_scene()
    scene.backup()
    job = scene.begin("--level", "full", "--speed", "512K")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    scene.vm.freeze()
    time.sleep(15)
    scene.vm.thaw()
    ended = scene.wait_end(job)
    assert ended["state"] == "completed", ended["error"]
    sweep.check_after(scene, ended, "15 s without a sign of life")
    scene.check_contents()


def test_administrator_pauses_the_guest_in_the_middle(make_scene):
    """What the administrator has stopped is not ours to continue."""
    scene = make_scene()
    job = scene.begin("--speed", "1M")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    scene.vm.execute("stop")
    ended = scene.wait_end(job)
    assert scene.vm.execute("query-status")["status"] == "paused"
    scene.vm.execute("cont")
    sweep.check_after(scene, ended, "a pause of the guest")
    scene.check_contents()


@pytest.mark.parametrize("mode", ["push", "push-direct"])
def test_raw_disk(make_scene, mode):
    """Its bitmaps live in memory: increments while the VM runs, a full backup after its end."""
    scene = make_scene(form="raw", sizes={"vda": 4 << 20, "vdb": 2 << 20})
    scene.backup("--mode", mode)
    scene.check_next()
    scene.check_next()
    scene.check_clean()
    scene.vm.stop()
    scene.vm.start()
    scene.wait_vm()
    full = scene.check_next("full")
    assert all("raw" in disk["reason"] and "restart" in disk["reason"] for disk in full["disks"]), full
    scene.check_next()
    scene.check_contents()
