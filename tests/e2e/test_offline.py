# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backups of a VM that is shut off, from its images; and what becomes of them when it is started meanwhile."""

import subprocess
import time

import pytest

import image
import process
from conftest import VM, disk_of, levels

BOTH_FULL = {"vda": "full", "vdb": "full"}
BOTH_INCREMENTAL = {"vda": "incremental", "vdb": "incremental"}


@pytest.fixture
def home(daemon, guest, tmp_path):
    """As "site", with the deduplicating repository "vault", for guests that are off at the end."""
    from conftest import Site
    daemon.ctl("vm", "add", VM, "--qmp", guest.qmp)
    daemon.ctl("repo", "add", "vault", "--path", tmp_path / "vault")
    return Site(daemon, guest, tmp_path)


def same_content(one, other, other_format="qcow2"):
    return subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", other_format, str(one), str(other)], capture_output=True).returncode == 0


def check_images(home, job):
    """What is restored is, byte by byte, what is in the images of the VM, which is off."""
    home.restores += 1
    folder = home.folder / ("restore-%d" % home.restores)
    home.ctl("restore", job["backup_id"], "--output", folder, "--format", "raw", "--wait")
    for disk, path in home.guest.disks.items():
        assert same_content(folder / (disk + ".raw"), path), disk
        process.run(["qemu-img", "check", "-q", path])


def shut_off(home):
    home.guest.stop()
    home.daemon.wait_vm(VM, "shut off")


@pytest.mark.parametrize("repository, mode", [("vault", "pull"), ("default", "push")])
def test_backups_go_on_while_it_is_shut_off(home, repository, mode):
    running = home.backup("--repo", repository)
    assert levels(running) == BOTH_FULL
    home.guest.wait_steps(4)
    shut_off(home)
    off = home.ctl("start", "--vm", VM, "--repo", repository, "--wait")
    assert (off["state"], off["mode"], levels(off)) == ("completed", mode, BOTH_INCREMENTAL), off
    assert "the VM is shut off" in off["reason"]
    assert all(0 < disk["bytes_transferred"] < disk["size"] // 2 for disk in off["disks"])
    check_images(home, off)

    again = home.ctl("start", "--vm", VM, "--repo", repository, "--wait")
    assert levels(again) == BOTH_INCREMENTAL and all(disk["bytes_transferred"] == 0 for disk in again["disks"])
    check_images(home, again)

    home.guest.start()
    home.daemon.wait_vm(VM, "running")
    home.guest.wait_steps(3)
    on = home.backup("--repo", repository)
    assert (on["state"], levels(on)) == ("completed", BOTH_INCREMENTAL)
    home.check_restored(on)
