# SPDX-License-Identifier: LGPL-2.1-or-later
"""Too little space for scratch or for the repository, and disks that change their size."""

import os
import subprocess

import pytest

import process
import sweep
from vm import MIB


@pytest.fixture
def small_folder(tmp_path):
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "none", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small file system: " + mounted.stderr.strip())
    yield folder
    process.run(["umount", "-l", folder])


def overwrite(scene, job):
    """The guest overwrites all it has, while a slow job reads it."""
    size = len(scene.vm.model["vda"])
    for offset in range(0, size, MIB):
        scene.vm.write("vda", offset, MIB, 1 + offset // MIB % 200)
        if scene.job(job)["state"] not in ("running", "finalizing"):
            return


@pytest.mark.parametrize("reserve", ["16K", "4M"])
def test_scratch_runs_full(make_scene, small_folder, reserve):
    """With a reserve the daemon gives up in time; without, the snapshot breaks. The guest sees nothing of either."""
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB}, scratch=small_folder, reserve=reserve)
    scene.vm.write("vda", 0, 24 * MIB, 7)
    scene.backup()
    scene.vm.write("vda", 0, 24 * MIB, 8)
    job = scene.begin("--speed", "1M")
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    overwrite(scene, job)
    ended = scene.wait_end(job)
    assert (ended["state"], ended["error"]["code"]) == ("failed", "no-space"), ended["error"]
    assert str(small_folder) in ended["error"]["message"]
    sweep.check_after(scene, ended, "full scratch space")
    scene.check_contents()


def test_disk_grows(make_scene):
    scene = make_scene()
    scene.backup()
    grow(scene, "vda", 3 * MIB)
    scene.vm.write("vda", 5 * MIB, MIB, 9)
    job = scene.backup()
    assert {disk["level"] for disk in job["disks"]} == {"incremental"}
    scene.check_next()
    scene.check_clean()
    scene.check_contents()


def grow(scene, disk, by):
    scene.vm.model[disk] += bytes(by)
    scene.vm.execute("block_resize", node_name=disk + "-node", size=len(scene.vm.model[disk]))


def shrink(scene, disk, by):
    del scene.vm.model[disk][-by:]
    scene.vm.execute("block_resize", node_name=disk + "-node", size=len(scene.vm.model[disk]))


def test_disk_shrinks(make_scene):
    """What was cut off and grew again is zero, but no bitmap tells: a full backup, and it says why."""
    scene = make_scene()
    scene.backup()
    shrink(scene, "vda", 2 * MIB)
    job = scene.backup()
    levels = {disk["name"]: (disk["level"], disk["reason"]) for disk in job["disks"]}
    assert levels["vda"][0] == "full" and "shrank" in levels["vda"][1], levels
    assert levels["vdb"][0] == "incremental", levels
    scene.check_next()
    grow(scene, "vda", 2 * MIB)
    scene.check_next()
    scene.check_clean()
    scene.check_contents()


@pytest.mark.xfail(strict=True, reason="QEMU drops the dirty bits of what is cut off, tells nobody of a resize, and no query shows that there was one")
def test_disk_shrinks_and_grows_between_backups(make_scene):
    scene = make_scene()
    scene.vm.write("vda", 2 * MIB, 2 * MIB, 5)
    scene.backup()
    shrink(scene, "vda", MIB)
    grow(scene, "vda", MIB)
    scene.backup()
    scene.check_contents()


def test_repository_runs_full(make_scene, small_folder):
    scene = make_scene(sizes={"vda": 16 * MIB, "vdb": 2 * MIB})
    scene.vm.write("vda", 0, 16 * MIB, 7)
    scene.backup()
    scene.ctl("repo", "add", "small", "--type", "qcow2", "--path", small_folder / "r")
    job = scene.wait_end(scene.begin("--repo", "small"))
    assert (job["state"], job["error"]["code"]) == ("failed", "no-space"), job
    assert [path.name for path in (small_folder / "r").rglob("*.qcow2")] == []
    sweep.check_after(scene, job, "a full repository")
    scene.check_contents()
