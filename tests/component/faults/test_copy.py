# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backups that are in two repositories."""

import pytest

from scene import VM, show
from vm import MIB


@pytest.fixture
def pair(make_scene):
    """A scene with the repositories "default" and "offsite"."""
    scene = make_scene(pull=True)
    scene.ctl("repo", "add", "offsite", "--path", scene.folder / "offsite")
    return scene


def copy(scene, backup, to="offsite", *options):
    """Returns the copy's ID."""
    job = scene.wait_end(scene.ctl("backup", "copy", backup, "--to", to, *options))
    assert job["state"] == "completed", show(job)
    scene.contents[job["backup_id"]] = scene.contents[backup]
    return job["backup_id"]


def delete(scene, backup):
    job = scene.wait_end(scene.ctl("backup", "delete", backup))
    assert job["state"] == "completed", show(job)
    del scene.contents[backup]


def listed(scene):
    return {backup["id"]: (backup["repository"], backup.get("copy_of")) for backup in scene.get("/v1/backups")["items"]}


def checkpoints(scene):
    return {item["id"] for item in scene.get("/v1/checkpoints?vm=" + VM)["items"]}


def test_both_are_there_and_either_may_go(pair):
    original = pair.backup()["backup_id"]
    made = copy(pair, original, "offsite", "--id", "mine")
    assert made != original and listed(pair) == {original: ("default", None), made: ("offsite", original)}
    shown = pair.ctl("backup", "show", made)
    assert shown["vm"] == VM and shown["point_in_time"] == pair.ctl("backup", "show", original)["point_in_time"]
    pair.check_contents()
    # The text for people names both.
    assert original in pair.daemon.run("backup", "show", made).out
    delete(pair, original)
    assert listed(pair) == {made: ("offsite", original)} and checkpoints(pair) == {original}
    pair.check_contents()
    # Back to where it was; the trash of the original does not stand in the way. It is a copy of the original still.
    back = copy(pair, made, "default")
    assert listed(pair)[back] == ("default", original)
    delete(pair, made)
    pair.check_contents()
    delete(pair, back)
    assert listed(pair) == {} and checkpoints(pair) == set()


def test_what_is_there_is_not_copied_again(pair):
    original = pair.backup()["backup_id"]
    made = copy(pair, original)
    for backup, to, named in ((original, "offsite", made), (made, "default", original)):
        refused = pair.daemon.run("backup", "copy", backup, "--to", to)
        assert refused.status == 5 and named in refused.err, refused
    assert pair.daemon.run("backup", "copy", original, "--to", "default").status == 2


def test_increments_stand_on_a_copy(pair):
    """The checkpoint is one; its increments go where the backup, or a copy of it, is."""
    pair.backup()
    original = pair.check_next()["backup_id"]
    made = copy(pair, original)
    pair.vm.scribble_all()
    job = pair.backup("--repo", "offsite")
    assert {disk["level"] for disk in job["disks"]} == {"incremental"}, show(job)
    delete(pair, original)
    pair.vm.scribble_all()
    job = pair.backup("--repo", "offsite")
    assert {disk["level"] for disk in job["disks"]} == {"incremental"}, show(job)
    delete(pair, made)
    pair.check_contents()


def test_a_second_copy_reads_only_what_differs(pair):
    pair.vm.write_data("vda", 0, pair.vm.random.randbytes(3 * MIB))
    first = pair.backup()["backup_id"]
    copy(pair, first)
    second = pair.check_next()["backup_id"]
    stored = pair.ctl("backup", "show", second)["bytes_stored"]
    made = copy(pair, second)
    assert stored < 2 * MIB and pair.ctl("backup", "show", made)["bytes_stored"] <= stored * 1.1
    pair.check_contents()


def test_a_repository_with_copies_is_taken_over(pair):
    original = pair.backup()["backup_id"]
    made = copy(pair, original)
    pair.ctl("repo", "remove", "offsite")
    assert set(listed(pair)) == {original}
    pair.ctl("repo", "add", "again", "--path", pair.folder / "offsite")
    assert listed(pair) == {original: ("default", None), made: ("again", original)}
    pair.check_contents()
    # Likewise without the one that has the original.
    pair.ctl("repo", "remove", "default")
    del pair.contents[original]
    pair.check_contents()


def test_a_restart_copies_once(pair):
    """The job goes on with the same ID, whether the copy was complete or not."""
    pair.vm.write_data("vda", 0, pair.vm.random.randbytes(3 * MIB))
    original = pair.backup()["backup_id"]
    job = pair.ctl("backup", "copy", original, "--to", "offsite", "--speed", "300K", "--id", "mine")
    pair.wait_job(job, lambda job: job["bytes_transferred"] > 0, "to copy")
    pair.daemon.kill()
    pair.daemon.start()
    pair.ctl("speed", "mine", "0")
    job = pair.wait_end(job)
    assert job["state"] == "completed", show(job)
    pair.contents[job["backup_id"]] = pair.contents[original]
    assert listed(pair) == {original: ("default", None), job["backup_id"]: ("offsite", original)}
    pair.check_contents()
