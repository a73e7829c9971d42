# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guest does to clusters that the job has not read yet must not be in the backup."""

import pytest

from vm import MIB

CLUSTER = 65536


@pytest.mark.parametrize("mode", ["push", "push-direct"])
def test_guest_overwrites_before_the_job_reads(make_scene, mode):
    """Single clusters among others that stay: zeroed, zeroed in part, written, and written and then zeroed."""
    scene = make_scene(sizes={"vda": 4 * MIB, "vdb": 4 * MIB}, busy_guest=False)
    for level in ("full", "incremental"):
        for disk in scene.vm.model:
            scene.vm.write(disk, 0, 4 * MIB, 42)
        done = []

        def before(command):
            scene.before_command(command)
            if command.name == "blockdev-add" and command.arguments["driver"] == "snapshot-access" and not done:
                done.append(command)
                for disk in scene.vm.model:
                    touch(scene.vm, disk)

        scene.proxy.before = before
        job = scene.backup("--mode", mode, "--level", level)
        assert bool(done) == (mode == "push")
        scene.check_images(job["backup_id"])
    scene.check_clean()
    scene.check_contents()


def touch(vm, disk):
    vm.zero(disk, 1 * CLUSTER + 512, 512)
    vm.write(disk, 3 * CLUSTER + 512, 512, 7)
    vm.zero(disk, 5 * CLUSTER, CLUSTER)
    vm.zero(disk, 7 * CLUSTER, CLUSTER + 4096)
    vm.write(disk, 9 * CLUSTER, CLUSTER, 9)
    vm.zero(disk, 9 * CLUSTER, CLUSTER)
    vm.write(disk, 11 * CLUSTER, 5 * CLUSTER, 11)
    vm.zero(disk, 63 * CLUSTER, CLUSTER)


def test_guest_overwrites_while_the_job_reads(make_scene):
    """All over the disk and all the time, without a pause."""
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB})
    scene.vm.write("vda", 0, 24 * MIB, 5)
    for level in ("full", "full", "incremental"):
        job = scene.begin("--level", level, "--speed", "24M")
        while scene.job(job)["state"] not in ("completed", "failed"):
            if set(scene.pits) >= {"vda", "vdb"}:
                scene.vm.scribble("vda", 20)
        job = scene.note(scene.wait_end(job))
        assert job["state"] == "completed", job["error"]
        scene.check_images(job["backup_id"])
    scene.check_clean()
