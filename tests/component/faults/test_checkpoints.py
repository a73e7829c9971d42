# SPDX-License-Identifier: LGPL-2.1-or-later
"""Long chains, deletions at all their places, and faults while checkpoints are made and deleted."""

import pytest

import process
import sweep
from proxy import Cut, CutBefore, Hold, Refuse
from scene import VM


def delete_backup(scene, backup):
    job = scene.ctl("backup", "delete", backup)
    if job and job.get("id"):
        ended = scene.wait_end(job)
        assert ended["state"] == "completed", ended
    del scene.contents[backup]


def test_long_chain_with_deletions(make_scene):
    scene = make_scene()
    scene.backup()
    for _ in range(13):
        scene.check_next()
    backups = list(scene.contents)
    scene.check_contents()
    for index in (7, 6, 3, 0, 13):
        delete_backup(scene, backups[index])
        scene.check_clean()
        scene.check_contents()
        scene.check_next()
    scene.check_contents()


@pytest.mark.parametrize("which", [0, 1, -1], ids=["oldest", "middle", "newest"])
def test_deletion_of_a_checkpoint(make_scene, which):
    """The backups stay. The next one finds a base, the backup before when the newest is gone."""
    scene = make_scene()
    scene.backup()
    scene.check_next()
    scene.check_next()
    checkpoints = [item["id"] for item in scene.get("/v1/checkpoints?vm=" + VM)["items"]]
    assert len(checkpoints) == 3
    scene.ctl("checkpoint", "delete", checkpoints[which])
    scene.check_clean()
    scene.check_next()
    scene.check_next()
    scene.check_clean()
    scene.check_contents()


def test_deletion_of_all_checkpoints(make_scene):
    scene = make_scene()
    scene.backup()
    scene.check_next()
    for item in scene.get("/v1/checkpoints?vm=" + VM)["items"]:
        scene.ctl("checkpoint", "delete", item["id"])
    scene.check_clean()
    full = scene.check_next("full")
    assert all(disk["reason"] for disk in full["disks"])
    scene.check_next()
    scene.check_contents()


def test_checkpoint_without_a_backup_between(make_scene):
    scene = make_scene()
    scene.backup()
    scene.vm.scribble_all()
    scene.ctl("checkpoint", "create", "--vm", VM, "--name", "between")
    scene.check_clean()
    scene.check_next()
    scene.ctl("checkpoint", "delete", next(item["id"] for item in scene.get("/v1/checkpoints?vm=" + VM)["items"] if item["name"] == "between"))
    scene.check_next()
    scene.check_clean()
    scene.check_contents()


@pytest.mark.parametrize("make_fault", [Refuse, Cut, CutBefore])
def test_fault_while_a_checkpoint_is_made(make_scene, make_fault):
    scene = make_scene()
    scene.backup()
    scene.proxy.arm()
    scene.ctl("checkpoint", "create", "--vm", VM)
    for number in range(1, scene.proxy.count + 1):
        scene.vm.scribble_all()
        fault = scene.proxy.arm(make_fault(number))
        result = scene.daemon.run("checkpoint", "create", "--vm", VM)
        assert fault.happened.is_set() and (result.status == 0 or result.err.strip()), result
        scene.proxy.arm()
        scene.wait_vm()
        sweep.check_after(scene, None, "%s of command %d, %s" % (make_fault.__name__, number, fault.command.kind))
    scene.check_contents()


@pytest.mark.parametrize("make_fault", [Refuse, Cut, CutBefore])
@pytest.mark.parametrize("which", [-2, -1], ids=["middle", "newest"])
def test_fault_while_a_checkpoint_is_deleted(make_scene, make_fault, which):
    scene = make_scene()
    scene.backup()
    scene.check_next()
    scene.check_next()
    number = 0
    while True:
        number += 1
        scene.vm.scribble_all()
        fault = scene.proxy.arm(make_fault(number))
        checkpoint = scene.get("/v1/checkpoints?vm=" + VM)["items"][which]["id"]
        result = scene.daemon.run("checkpoint", "delete", checkpoint)
        struck = fault.happened.is_set()
        assert result.status == 0 or (struck and result.err.strip()), result
        scene.proxy.arm()
        scene.wait_vm()
        if result.status != 0:
            again = scene.daemon.run("checkpoint", "delete", checkpoint)
            assert again.status in (0, 4), again
        sweep.check_after(scene, None, "%s of command %d, %s" % (make_fault.__name__, number, fault.command and fault.command.kind))
        if not struck:
            break
    assert number > 3
    scene.check_contents()


@pytest.mark.parametrize("decision", ["drop", "deliver"])
@pytest.mark.parametrize("verb", ["create", "delete"])
def test_daemon_is_killed_while_a_checkpoint_is(make_scene, verb, decision):
    """Made or deleted: a new daemon finishes it or takes it back."""
    scene = make_scene()
    scene.backup()
    scene.check_next()
    scene.check_next()
    number = 0
    while True:
        number += 1
        scene.vm.scribble_all()
        fault = scene.proxy.arm(Hold(number))
        checkpoint = scene.get("/v1/checkpoints?vm=" + VM)["items"][-2]["id"]
        arguments = ["checkpoint", "create", "--vm", VM] if verb == "create" else ["checkpoint", "delete", checkpoint]
        client = process.start([scene.daemon.backupctl, "--host", scene.daemon.address] + arguments, stdout=-3, stderr=-3)
        process.wait_until(lambda: fault.happened.is_set() or client.poll() is not None, 30, "the command or the client")
        struck = fault.happened.is_set()
        scene.proxy.arm()
        if struck:
            scene.daemon.kill()
            fault.let_go(decision)
            scene.daemon.start()
            scene.wait_vm()
        client.wait(30)
        scene.check_clean()
        # Nobody remembers whether the bits of a deleted one were merged: then a full backup is right, and says why.
        job = scene.backup()
        levels = {disk["level"] for disk in job["disks"]}
        assert levels == {"incremental"} or verb == "delete" and all(disk["reason"] for disk in job["disks"]), job
        scene.check_images(job["backup_id"])
        sweep.check_after(scene, None, "kill at command %d of %s" % (number, verb))
        if not struck:
            break
    assert number > 3
    scene.check_contents()
