# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands as clumsy users give them: one line that says what to do, the right exit status, and nothing left."""

import machine
import process
import pytest


def refused(daemon, status, *arguments):
    """Returns the line."""
    result = daemon.run(*arguments)
    assert result.status == status and len(result.err.splitlines()) == 1 and result.out == "", result
    return result.err


@pytest.fixture
def with_cd(daemon, tmp_path):
    """The VM "odd": a read-only disk, and a drive without a medium."""
    image = machine.make_image(tmp_path / "ro.qcow2")
    running = machine.Machine(tmp_path / "odd", machine.disk(image, "ro") + ["-device", "ide-cd,id=cd"])
    running.arguments[running.arguments.index("-blockdev") + 1] += ",read-only=on"
    try:
        running.start()
        daemon.ctl("vm", "add", "odd", "--qmp", running.qmp)
        yield running
    finally:
        running.stop()


def test_a_checkpoint_without_a_backup(daemon, web):
    checkpoint = daemon.ctl("checkpoint", "create", "--vm", "web", "--name", "before")
    assert {disk["name"] for disk in checkpoint["disks"]} == {"vda", "vdb"}
    assert web.bitmaps() == {disk["bitmap"] for disk in checkpoint["disks"]}
    refused(daemon, 5, "checkpoint", "create", "--vm", "web", "--name", "before")
    assert "twice" in refused(daemon, 2, "checkpoint", "create", "--vm", "web", "--disks", "vda,nvda")
    for name in "../x", "x" * 65, "ü":
        refused(daemon, 2, "checkpoint", "create", "--vm", "web", "--name", name)
    daemon.ctl("checkpoint", "delete", "before")
    assert web.bitmaps() == set()


def test_what_does_not_change_takes_no_checkpoint(daemon, with_cd):
    assert "read-only" in refused(daemon, 2, "checkpoint", "create", "--vm", "odd", "--disks", "ro")
    assert "no medium" in refused(daemon, 2, "checkpoint", "create", "--vm", "odd", "--disks", "cd")
    assert "there are: ro, cd" in refused(daemon, 2, "start", "--vm", "odd")
    daemon.ctl("start", "--vm", "odd", "--disks", "ro", "--wait")


def test_a_vm_without_disks(daemon, tmp_path):
    running = machine.Machine(tmp_path / "none")
    try:
        running.start()
        daemon.ctl("vm", "add", "none", "--qmp", running.qmp)
        assert "has no disks" in refused(daemon, 2, "start", "--vm", "none")
    finally:
        running.stop()


def test_one_socket_for_two_vms(daemon, web):
    refused(daemon, 5, "vm", "add", "again", "--qmp", web.qmp.parent / ".." / web.qmp.parent.name / web.qmp.name)


def test_repositories_keep_apart(daemon, tmp_path):
    daemon.ctl("repo", "add", "one", "--path", tmp_path / "one")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    (tmp_path / "file").touch()
    for path in tmp_path / "one", "%s/one/" % tmp_path, tmp_path / "link", tmp_path / "x" / ".." / "one":
        assert "in that folder already" in refused(daemon, 5, "repo", "add", "two", "--path", path)
    for path in tmp_path / "one" / "web", tmp_path / "link" / "web" / "deep":
        assert "inside the repository 'one'" in refused(daemon, 5, "repo", "add", "two", "--path", path)
    refused(daemon, 5, "repo", "add", "two", "--path", tmp_path / "file")
    refused(daemon, 2, "repo", "add", "two", "--path", tmp_path / ("x" * 300))
    assert [repository["name"] for repository in daemon.ctl("repo", "list")["items"]] == ["default", "one"]


def test_restores_that_are_wrong(daemon, web, tmp_path):
    backup = daemon.ctl("start", "--vm", "web", "--wait")["backup_id"]
    output = tmp_path / "out"
    assert "twice" in refused(daemon, 2, "restore", backup, "--disk", "vda,vda", "--output", output)
    assert "too long" in refused(daemon, 2, "restore", backup, "--disk", "vda", "--output", tmp_path / ("x" * 250))
    assert "vda, vdb" in refused(daemon, 4, "restore", backup, "--disk", "vdz", "--output", output)
    refused(daemon, 4, "restore", backup, "--disk", "vda", "--output", tmp_path / "none" / "x")
    assert not output.exists()
    job = daemon.ctl("restore", backup, "--disk", "vda", "--output", tmp_path / "x,y:z ü", "--speed", "512M", "--wait")
    assert job["speed"] == 512 << 20
    assert (tmp_path / "x,y:z ü").stat().st_size == 8 << 20


def test_a_deletion_that_is_done_says_so(daemon, web):
    backup = daemon.ctl("start", "--vm", "web", "--wait")["backup_id"]
    job = daemon.ctl("backup", "delete", backup, "--wait")
    assert job["bytes_transferred"] == job["bytes_total"] > 0
    refused(daemon, 4, "backup", "delete", backup)
    refused(daemon, 4, "restore", backup, "--output", "/nonexistent")


def test_a_job_that_waits_tells_for_what(daemon, web, tmp_path):
    backup = daemon.ctl("start", "--vm", "web", "--wait")["backup_id"]
    busy = daemon.ctl("start", "--vm", "web", "--level", "full", "--speed", "100K")
    deletion = daemon.ctl("backup", "delete", backup)
    assert (deletion["state"], deletion["reason"]) == ("queued", "waits for job '%s' (backup)" % busy["id"])
    with open(tmp_path / "watch.log", "w") as log:
        watch = process.start([daemon.backupctl, "--host", daemon.address, "watch", deletion["id"]], stderr=log)
    try:
        process.wait_until(lambda: "queued: waits for job '%s'" % busy["id"] in (tmp_path / "watch.log").read_text(), 20, "the line")
        daemon.ctl("cancel", busy["id"])
        assert watch.wait(30) == 0
    finally:
        process.kill(watch)
    assert daemon.job(deletion["id"])["reason"] is None
