# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that are served while their backups are deleted."""

import subprocess
import time

import process
from scene import VM, assert_same
from vm import MIB


def read(scene, served):
    """All of it, through a connection of its own."""
    path = scene.folder / "served.raw"
    process.run(["nbdcopy", served["uri"], path])
    content = path.read_bytes()
    path.unlink()
    return content


def delete(scene, backup):
    job = scene.wait_end(scene.ctl("backup", "delete", backup))
    assert job["state"] == "completed", job
    return scene.contents.pop(backup)


def test_an_image_that_is_served_stays(make_scene):
    scene = make_scene()
    first, second = scene.backup()["backup_id"], scene.check_next()["backup_id"]
    served = scene.ctl("serve", second, "--disk", "vda")
    # Neither it, nor what it stands on.
    for backup in (second, first):
        refused = scene.daemon.run("backup", "delete", backup)
        assert refused.status == 5 and "backupctl serve stop " + served["id"] in refused.err, refused
    assert_same(read(scene, served), scene.contents[second]["vda"], "what is served")
    # The job that begins is no delete that waits for the serve's end.
    assert scene.ctl("list", "--vm", VM)["items"][0]["kind"] == "backup"
    scene.ctl("serve", "stop", served["id"])
    delete(scene, first)
    # What had been an increment stands for itself now.
    served = scene.ctl("serve", second, "--disk", "vda")
    assert_same(read(scene, served), scene.contents[second]["vda"], "what is served")
    assert scene.daemon.run("backup", "delete", second).status == 5
    scene.ctl("serve", "stop", served["id"])
    delete(scene, second)


def test_what_is_being_deleted_is_not_served(make_scene):
    """The delete waits for a backup that is under way."""
    scene = make_scene(sizes={"vda": 4 * MIB, "vdb": 2 * MIB})
    first, second = scene.backup()["backup_id"], scene.check_next()["backup_id"]
    slow = scene.begin("--level", "full", "--speed", "100K")
    scene.wait_job(slow, lambda job: job["state"] == "running", "to run")
    job = scene.ctl("backup", "delete", first)
    refused = scene.daemon.run("serve", second, "--disk", "vda")
    assert refused.status == 5 and job["id"] in refused.err, refused
    scene.ctl("cancel", slow["id"])
    assert scene.wait_end(job)["state"] == "completed"
    scene.contents.pop(first)
    scene.note(scene.wait_end(slow))
    scene.check_contents()


def test_a_reader_of_packs_keeps_what_it_reads(make_scene):
    """The backup goes to the trash, and from there only when nobody reads any more."""
    scene = make_scene(sizes={"vda": 4 * MIB, "vdb": 2 * MIB}, pull=True, trash_days=0)
    scene.vm.write_data("vda", 0, scene.vm.random.randbytes(2 * MIB))
    backup = scene.backup()["backup_id"]
    served = scene.ctl("serve", backup, "--disk", "vda")
    content = delete(scene, backup)["vda"]
    time.sleep(1.2)
    job = scene.ctl("repo", "gc", "default", "--wait")
    assert "another process reads" in job["reason"], job
    assert_same(read(scene, served), content, "what is served")
    assert scene.daemon.run("serve", backup, "--disk", "vda").status == 4
    scene.ctl("serve", "stop", served["id"])
    freed = scene.ctl("repo", "gc", "default", "--wait")["bytes_transferred"]
    assert freed > MIB, freed  # the guest has zeroed some of it
    assert subprocess.run(["nbdinfo", served["uri"]], capture_output=True).returncode != 0
