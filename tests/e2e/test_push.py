# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backups of a writing guest, and what comes back from them."""

import os
import subprocess

import pytest

import image
import process
from conftest import VM, disk_of, levels

BOTH_FULL = {"vda": "full", "vdb": "full"}
BOTH_INCREMENTAL = {"vda": "incremental", "vdb": "incremental"}


def test_full_and_incremental_come_back_as_they_were(site):
    full = site.backup()
    assert (full["state"], full["error"], levels(full)) == ("completed", None, BOTH_FULL)
    site.guest.wait_steps(5)
    increment = site.backup()
    assert (increment["state"], levels(increment)) == ("completed", BOTH_INCREMENTAL)
    assert all(disk["reason"] for disk in increment["disks"])
    assert 0 < disk_of(increment, "vda")["bytes_transferred"] < disk_of(full, "vda")["bytes_transferred"] // 2
    site.guest.wait_steps(3)

    before = site.check_restored(full)
    after = site.check_restored(increment, "qcow2")
    assert after["vda"].step >= before["vda"].step + 5
    site.check_restored(increment)


def test_many_increments_while_files_come_and_go(site):
    """More than ten, as names that are sorted as text break at the tenth; and enough for files to be deleted."""
    jobs = [site.backup() for _ in range(12)]
    assert [levels(job) for job in jobs[1:]] == [BOTH_INCREMENTAL] * 11
    site.guest.wait_steps(site.guest.writing.keep)
    last = site.backup()
    assert levels(last) == BOTH_INCREMENTAL
    for job in (jobs[0], jobs[5], jobs[11], last):
        site.check_restored(job)


def test_differential_stands_on_the_full_backup(site):
    full = site.backup()
    site.guest.wait_steps(3)
    increment = site.backup()
    site.guest.wait_steps(3)
    differential = site.backup("--level", "differential")
    assert levels(differential) == {"vda": "differential", "vdb": "differential"}
    parents = {disk["parent"] for disk in site.ctl("backup", "show", differential["backup_id"])["disks"]}
    assert parents == {full["backup_id"]}
    site.check_restored(differential)
    site.ctl("backup", "delete", increment["backup_id"], "--wait")
    site.check_restored(differential)


def test_disks_are_backed_up_apart(site):
    first = site.backup("--disks", "vda")
    assert levels(first) == {"vda": "full"}
    both = site.backup()
    assert levels(both) == {"vda": "incremental", "vdb": "full"}
    assert disk_of(both, "vdb")["reason"]
    site.check_restored(both)
    assert list(site.restore(first["backup_id"])) == ["vda"]


def test_direct_push(site):
    full = site.backup("--mode", "push-direct")
    assert (full["mode"], levels(full)) == ("push-direct", BOTH_FULL)
    site.guest.wait_steps(3)
    increment = site.backup("--mode", "push-direct")
    assert levels(increment) == BOTH_INCREMENTAL
    site.check_restored(full)
    site.check_restored(increment)


def test_checkpoints_survive_a_restart_of_the_vm_and_of_the_daemon(site):
    site.backup()
    site.guest.wait_steps(2)
    site.guest.stop()
    site.guest.start()
    site.daemon.wait_vm(VM, "running")
    increment = site.backup()
    assert levels(increment) == BOTH_INCREMENTAL
    site.check_restored(increment)
    assert site.daemon.end() == 0
    site.daemon.start()
    site.daemon.wait_vm(VM, "running")
    another = site.backup()
    assert levels(another) == BOTH_INCREMENTAL
    site.check_restored(another)


def test_deleting_in_the_middle_keeps_the_younger_ones(site):
    jobs = []
    for _ in range(4):
        jobs.append(site.backup())
        site.guest.wait_steps(2)
    wanted = site.restore(jobs[3]["backup_id"])
    for gone in (jobs[1], jobs[0]):
        site.ctl("backup", "delete", gone["backup_id"], "--wait")
        site.ctl("backup", "show", gone["backup_id"], status=4)
        assert site.restore(jobs[3]["backup_id"]) == wanted
    site.check_restored(jobs[2])
    next_one = site.backup()
    assert levels(next_one) == BOTH_INCREMENTAL
    site.check_restored(next_one)


def test_restore_does_not_overwrite(site):
    job = site.backup("--disks", "vdb")
    path = site.folder / "precious.raw"
    path.write_text("precious")
    arguments = ("restore", job["backup_id"], "--disk", "vdb", "--output", path, "--wait")
    refused = site.run(*arguments)
    assert refused.status == 5, refused
    assert str(path) in refused.err and "force" in refused.err
    assert path.read_text() == "precious"
    site.ctl(*arguments, "--force")
    assert path.stat().st_size == site.ctl("backup", "show", job["backup_id"])["disks"][0]["size"]


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_target_file_of_its_own(site, form):
    target = site.folder / ("target." + form)
    job = site.backup("--disks", "vda", "--target", target, "--format", form)
    assert (job["state"], job["repository"]) == ("completed", None)
    image.check_format(target, form)
    assert image.check_content(target, form, "vda", site.guest.writing).step >= job["synced"]


@pytest.fixture
def device(tmp_path):
    """A block device that is larger than the disk, and not empty."""
    path = tmp_path / "device"
    path.write_bytes(b"old" * (48 << 20))
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a loop device")
    made = subprocess.run(["losetup", "--find", "--show", str(path)], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip("cannot make a loop device: " + made.stderr.strip())
    yield made.stdout.strip()
    process.run(["losetup", "--detach", made.stdout.strip()])


def test_target_device_that_is_larger_than_the_disk(site, device, tmp_path):
    job = site.backup("--disks", "vda", "--target", device, "--format", "raw")
    assert job["state"] == "completed"
    size = disk_of(job, "vda")["size"]
    with open(device, "rb") as copy:
        (tmp_path / "copy").write_bytes(copy.read(size))
        assert copy.read() == ((b"old" * (48 << 20))[size:]), "what lies behind the disk is not ours"
    assert image.check_content(tmp_path / "copy", "raw", "vda", site.guest.writing).step >= job["synced"]
