# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where images may be written, and where they may not whatever the user says."""

import os

import process
import pytest


def refused(daemon, status, *arguments):
    """A command is refused with one line, before it becomes a job. Returns the line."""
    result = daemon.run(*arguments)
    assert result.status == status and len(result.err.splitlines()) == 1 and result.out == "", result
    return result.err


def content(path):
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_ino, file.read()


@pytest.fixture
def backup(daemon, web):
    job = daemon.ctl("start", "--vm", "web", "--wait")
    return daemon.ctl("backup", "show", job["backup_id"])


def image_of(backup, disk):
    return next(one["file"] for one in backup["disks"] if one["name"] == disk)


@pytest.mark.parametrize("disk", ["vda", "vdb"])
def test_the_image_of_a_running_vm_is_never_replaced(daemon, web, backup, disk):
    image = web.images[disk]
    before = content(image)
    for name in "hard", "soft":
        (os.link if name == "hard" else os.symlink)(image, image.with_name(name))
    for path in image, image.with_name("hard"):
        line = refused(daemon, 2, "start", "--vm", "web", "--disks", "vda", "--target", path, "--force")
        assert "disk '%s'" % disk in line
        line = refused(daemon, 5, "restore", backup["id"], "--disk", disk, "--output", path, "--force")
        assert "in use" in line
    refused(daemon, 5, "restore", backup["id"], "--disk", disk, "--output", image.with_name("soft"), "--force")
    refused(daemon, 2, "start", "--vm", "web", "--disks", "vda", "--target", image.with_name("soft"), "--force")
    assert content(image) == before


def test_the_image_of_a_vm_that_ended_may_be_replaced(daemon, web, backup):
    web.stop()
    daemon.ctl("restore", backup["id"], "--disk", "vda", "--format", "qcow2", "--output", web.images["vda"], "--force", "--wait")
    process.run(["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", web.images["vda"], image_of(backup, "vda")])
    web.start()
    daemon.wait_vm("web", "prelaunch")


def test_nothing_but_backups_goes_into_a_repository(daemon, web, backup, tmp_path):
    image = image_of(backup, "vda")
    before = content(image)
    folder = os.path.dirname(image)
    (tmp_path / "link").symlink_to(folder)
    for path in image, folder + "/new.raw", tmp_path / "link" / "vda.qcow2", tmp_path / "link" / "sub" / ".." / "x":
        assert "repository 'default'" in refused(daemon, 2, "restore", backup["id"], "--disk", "vda", "--output", path, "--force")
        assert "repository 'default'" in refused(daemon, 2, "start", "--vm", "web", "--disks", "vda", "--target", path, "--force")
    assert "repository" in refused(daemon, 2, "restore", backup["id"], "--output", folder, "--force")
    assert content(image) == before
    process.run(["qemu-img", "check", "-f", "qcow2", image])


def test_the_catalog_is_never_replaced(daemon, web, backup):
    line = refused(daemon, 2, "restore", backup["id"], "--disk", "vda", "--output", daemon.state / "catalog.sqlite", "--force")
    assert "state directory" in line
    assert daemon.ctl("backup", "list")["items"] == [backup]


def test_targets_are_looked_at_before_there_is_a_job(daemon, web, tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for status, target in [(4, tmp_path / "none" / "x"), (5, tmp_path), (5, "/dev/null"), (5, tmp_path / "file"),
                           (5, tmp_path / "dangling"), (2, "nbd://"), (2, "nbd+unix:///x")]:
        refused(daemon, status, "start", "--vm", "web", "--disks", "vda", "--target", target)
    refused(daemon, 5, "start", "--vm", "web", "--target", tmp_path / "file", "--dry-run")
    refused(daemon, 5, "start", "--vm", "web", "--disks", "vda", "--target", "/dev/null", "--force")
    assert (tmp_path / "file").read_text() == "precious"
    plan = daemon.ctl("start", "--vm", "web", "--target", tmp_path / "new", "--dry-run")
    assert [disk["target"] for disk in plan["disks"]] == [str(tmp_path / "new" / name) for name in ("vda.qcow2", "vdb.qcow2")]
    assert not (tmp_path / "new").exists()


def test_a_target_that_cannot_be_synced_is_given_up_once(daemon, web):
    """In /proc a file cannot be made, nor its folder synced: the undo must not be tried again for ever."""
    result = daemon.run("start", "--vm", "web", "--disks", "vda", "--target", "/proc/backup", "--wait")
    assert result.status != 0
    for _ in range(3):
        daemon.run("start", "--vm", "web", "--dry-run")
    assert "cannot undo" not in daemon.tail(200)
