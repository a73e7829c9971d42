# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pulls while something dies, fills up or is cancelled: no dirty bit is lost, and every backup holds its point in time."""

import json
import os
import random
import subprocess
import time

import pytest

import process
import sweep
from proxy import Hold
from scene import VM, show
from test_cancel import cancel
from test_io import backup_with, restart
from test_kill import kill_daemon, submit_commands
from test_snapshot import CLUSTER, touch
from test_vm_death import check_after_death, kill_vm
from vm import MIB


def after_submit(kinds):
    return [number for number in sweep.each_kind(kinds) if number > submit_commands(kinds)]


def test_increments_hold_their_points_in_time(make_scene):
    scene = make_scene(pull=True)
    assert scene.backup()["mode"] == "pull"
    for _ in range(4):
        scene.vm.scribble_all(6)
        scene.check_next()
    scene.check_clean()
    scene.check_contents()


def test_guest_overwrites_before_the_job_reads(make_scene):
    """Single clusters among others that stay: zeroed, zeroed in part, written, and written and then zeroed."""
    scene = make_scene(sizes={"vda": 4 * MIB, "vdb": 4 * MIB}, busy_guest=False, pull=True)
    for level in ("full", "incremental"):
        for disk in scene.vm.model:
            scene.vm.write(disk, 0, 64 * CLUSTER, 42)
        done = []

        def before(command):
            scene.before_command(command)
            if command.name == "block-export-add" and not done:
                done.append(command)
                for disk in scene.vm.model:
                    touch(scene.vm, disk)

        scene.proxy.before = before
        scene.backup("--level", level)
        assert done
    scene.proxy.before = scene.before_command
    scene.check_clean()
    scene.check_contents()


def test_guest_overwrites_while_the_job_reads(make_scene):
    """All over the disk and all the time, without a pause."""
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB}, pull=True)
    scene.vm.write("vda", 0, 24 * MIB, 5)
    for level in ("full", "full", "incremental"):
        job = scene.begin("--level", level, "--speed", "24M")
        while scene.job(job)["state"] not in ("completed", "failed"):
            if set(scene.pits) >= {"vda", "vdb"}:
                scene.vm.scribble("vda", 20)
        job = scene.note(scene.wait_end(job))
        assert job["state"] == "completed", job["error"]
    scene.check_clean()
    scene.check_contents()


def chunk_sizes(scene, repository, backup):
    manifest = (scene.folder / repository / "backups" / VM / backup).read_text().split("\n", 1)[1]
    return {disk["name"]: disk["chunk_size"] for disk in json.loads(manifest)["disks"]}


def test_a_class_of_disks_has_its_chunk_size(make_scene):
    scene = make_scene(pull=True)
    scene.ctl("vm", "remove", VM)
    scene.ctl("vm", "add", VM, "--qmp", scene.socket, "--class", "vdb=database")
    scene.wait_vm()
    scene.ctl("repo", "add", "stock", "--path", scene.folder / "stock", "--chunk-size", "256K", "--class-chunk-size", "database=128K,os=1M")
    wanted = {"vda": 256 << 10, "vdb": 128 << 10}
    for level in ("full", "incremental", "full"):
        job = scene.backup("--repo", "stock", "--level", level)
        assert chunk_sizes(scene, "stock", job["backup_id"]) == wanted
        scene.vm.scribble_all(3)
    # It is the repository's own: whoever takes it over has it.
    scene.ctl("repo", "remove", "stock")
    scene.ctl("repo", "add", "again", "--path", scene.folder / "stock")
    assert scene.ctl("repo", "show", "again")["class_chunk_sizes"] == [{"class": "database", "chunk_size": 128 << 10}, {"class": "os", "chunk_size": 1 << 20}]
    assert "database 128.0 KiB, os 1.0 MiB" in scene.daemon.run("repo", "show", "again").out
    for backup in list(scene.contents):
        scene.check_content(backup)


@pytest.mark.parametrize("decision, part", [("drop", 0), ("deliver", 1)])
def test_daemon_is_killed_at_each_command(make_scene, decision, part):
    scene = make_scene(pull=True)
    scene.backup()
    kinds = sweep.learn(scene)
    sweep.run(scene, Hold, sweep.share(sweep.changing(kinds, after_submit(kinds)), part, 2), act=kill_daemon(decision), seconds=90)
    scene.check_contents()


def test_cancel_at_each_command(make_scene):
    scene = make_scene(pull=True)
    scene.backup()
    kinds = sweep.learn(scene)
    sweep.run(scene, Hold, sweep.share(sweep.changing(kinds, after_submit(kinds)), 0, 2), act=cancel)
    scene.check_contents()


def test_qemu_is_killed_at_each_command(make_scene):
    scene = make_scene(pull=True)
    scene.backup()
    kinds = sweep.learn(scene)
    for number in sweep.share(sweep.changing(kinds, after_submit(kinds)), 0, 3):
        scene.vm.scribble_all()
        fault = scene.proxy.arm(Hold(number))
        job = kill_vm(scene, fault, ())
        check_after_death(scene, job, "command %d, %s" % (number, kinds[number - 1]))
    scene.check_contents()


def test_daemon_is_killed_while_it_reads(make_scene):
    scene = make_scene(pull=True)
    scene.backup()
    job = scene.begin("--level", "full", "--speed", "64K")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    scene.daemon.kill()
    scene.vm.scribble_all(3)
    scene.daemon.start()
    scene.wait_vm()
    ended = scene.wait_end(job)
    assert ended["state"] == "failed" and "start the backup again" in ended["error"]["message"]
    sweep.check_after(scene, ended, "a kill while it reads")
    scene.check_contents()


def test_daemon_ends_in_good_order_while_it_reads(make_scene):
    scene = make_scene(pull=True)
    scene.backup()
    job = scene.begin("--level", "full", "--speed", "64K")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    assert scene.daemon.end() == 0
    scene.vm.scribble_all(3)
    scene.daemon.start()
    scene.wait_vm()
    sweep.check_after(scene, scene.wait_end(job), "an end in good order")
    scene.check_contents()


@pytest.mark.parametrize("verb", ["cancel", "kill"])
def test_reader_ends_within_seconds(make_scene, verb):
    """Whatever the speed limit is: a cancel, and the death of QEMU."""
    scene = make_scene(pull=True)
    scene.backup()
    job = scene.begin("--level", "full", "--speed", "16K")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    if verb == "cancel":
        scene.ctl("cancel", job["id"])
        sweep.check_after(scene, scene.wait_end(job, 10), "a cancel while it reads")
    else:
        scene.vm.kill()
        assert scene.wait_end(job, 30)["state"] == "failed"
        scene.vm.start()
        scene.wait_vm()
        check_after_death(scene, job, "the copy")
    scene.check_contents()


@pytest.fixture
def small_folder(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "none", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small file system: " + mounted.stderr.strip())
    yield folder
    process.run(["umount", "-l", folder])


def test_full_repository_breaks_the_backup_and_nothing_else(make_scene, small_folder):
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB}, pull=True)
    scene.backup()
    scene.vm.write_data("vda", 0, random.Random(1).randbytes(16 * MIB))
    scene.ctl("repo", "add", "small", "--path", small_folder / "r")
    job = scene.wait_end(scene.begin("--repo", "small", "--level", "full"))
    assert job["state"] in ("failed", "partial"), show(job)
    assert "no-space" in [disk["error"]["code"] for disk in job["disks"] if disk["error"]] + [job["error"]["code"]], show(job)
    if job["state"] == "partial":
        scene.contents[job["backup_id"]] = {"vdb": scene.pits["vdb"]}
        scene.ctl("backup", "delete", job["backup_id"], "--wait")
        del scene.contents[job["backup_id"]]
    scene.check_clean()
    scene.check_next()
    scene.check_contents()


def test_full_scratch_breaks_the_backup_and_not_the_guest(make_scene, small_folder):
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB}, pull=True, scratch=small_folder / "scratch")
    scene.backup()
    job = scene.begin("--level", "full", "--speed", "64K")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    for at in range(0, 24 * MIB, MIB):
        scene.vm.write("vda", at, MIB, 77)
    ended = scene.wait_end(job)
    assert ended["state"] in ("failed", "partial") and scene.vm.execute("query-status")["status"] == "running"
    scene.note(ended)
    scene.check_clean()
    scene.check_next()
    scene.check_contents()


def packs(scene):
    return sum(path.stat().st_size for path in (scene.daemon.state / "default" / "packs").iterdir())


def collect(scene):
    job = scene.ctl("repo", "gc", "default", "--wait")
    assert job["state"] == "completed", show(job)
    return job


def test_space_comes_back(make_scene):
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB}, pull=True, trash_days=0)
    kept = scene.backup()
    scene.vm.write_data("vda", 0, random.Random(2).randbytes(8 * MIB))
    large = scene.backup()
    assert packs(scene) > 7 * MIB
    scene.vm.zero("vda", 0, 8 * MIB)
    scene.backup()
    scene.ctl("backup", "delete", large["backup_id"], "--wait")
    del scene.contents[large["backup_id"]]
    time.sleep(1.1)  # "at once" is a second
    collect(scene)
    assert packs(scene) < 2 * MIB
    assert kept["backup_id"] in scene.contents
    scene.check_clean()
    scene.check_contents()


def test_gc_beside_a_backup(make_scene):
    """A backup that counts on chunks of one that has just been deleted, while gc takes what it can."""
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB}, pull=True, trash_days=0)
    scene.vm.write_data("vda", 0, random.Random(3).randbytes(8 * MIB))
    first = scene.backup()
    scene.ctl("backup", "delete", first["backup_id"], "--wait")
    del scene.contents[first["backup_id"]]
    job = scene.begin("--level", "full", "--speed", "4M")
    scene.wait_job(job, lambda job: job["state"] == "running" and job["bytes_transferred"] > 0, "to copy")
    time.sleep(1.1)
    while scene.job(job)["state"] not in ("completed", "failed"):
        collect(scene)
    assert scene.note(scene.wait_end(job))["state"] == "completed"
    collect(scene)
    scene.check_clean()
    scene.check_contents()


@pytest.mark.parametrize("variable", ["BACKUPD_FAIL_IO", "BACKUPD_CRASH_IO"])
def test_each_file_operation(make_scene, variable):
    """Of the repository and of the catalog. Each in a scene of its own: how many come before the backup, as the daemon starts,
    grows with what there is to read. Those of the start are passed over, and those of a cache that is done without."""
    struck, wanted = 0, 30 if sweep.scene_module.LONG else 6
    for number in 3 * [*range(10, 90, 1 if sweep.scene_module.LONG else 2)]:
        scene = make_scene(pull=True)
        scene.backup()
        scene.vm.scribble_all()
        job, happened = backup_with(scene, variable, number)
        restart(scene, {})
        if job is not None or happened:
            sweep.check_after(scene, job, "%s=%d" % (variable, number), 90)
            scene.check_contents()
        struck += happened
        if struck >= wanted:
            break
    assert struck >= wanted, "only %d operations" % struck
