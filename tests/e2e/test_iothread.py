# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pulls of disks that QEMU serves in iothreads: they are read through FUSE, and nothing may stay mounted."""

import os
import pathlib
import shutil
import subprocess

import pytest

import guest as guest_module
import process
from conftest import VM, disk_of, levels
from test_pull import BOTH_FULL, BOTH_INCREMENTAL, vault  # noqa: F401

pytestmark = pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK) and not shutil.which("fusermount3"), reason="there is no FUSE")


@pytest.fixture(params=[("vda",), ("vda", "vdb")], ids=["one", "both"])
def guest(request, tmp_path, built):
    machine = guest_module.Guest(tmp_path / "vm", *built, ballast={"vda": 24 << 20, "vdb": 4 << 20}, pause=0.0, iothreads=request.param)
    try:
        yield machine.start()
    finally:
        machine.stop()


def mounts(site):
    """What is mounted below the folder of the test."""
    fields = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    return [field[1] for field in fields if field[1].startswith(str(site.folder))]


def check_unmounted(site):
    process.wait_until(lambda: not mounts(site), 20, "FUSE exports to be unmounted: %s" % mounts(site))


def test_content_under_writes(vault):  # noqa: F811
    seen = []
    full = vault.slow_backup(speed="8M")
    seen += mounts(vault)
    full.update(vault.daemon.wait_job(full["id"], lambda job: job["ended_at"], "to end"))
    assert (full["state"], full["error"], levels(full)) == ("completed", None, BOTH_FULL)
    assert len(seen) >= len(vault.guest.iothreads), "disks in iothreads were not read through FUSE: %s" % seen
    check_unmounted(vault)
    before = vault.check_restored(full)
    vault.guest.wait_steps(3)
    increment = vault.backup()
    assert (increment["state"], levels(increment)) == ("completed", BOTH_INCREMENTAL)
    assert disk_of(increment, "vda")["bytes_total"] < disk_of(full, "vda")["bytes_total"] // 2
    after = vault.check_restored(increment)
    assert after["vda"].step >= before["vda"].step + 3
    check_unmounted(vault)


def test_a_busy_guest_survives_many(vault):  # noqa: F811
    """Nodes are put above a disk with requests in flight again and again: that has killed QEMU."""
    with vault.guest.look() as qmp:
        for _ in range(10):
            job = vault.backup()
            assert job["state"] == "completed" and qmp.execute("query-status")["status"] == "running"
    vault.check_restored(job)
    check_unmounted(vault)


def test_cancel_and_death_of_the_daemon(vault):  # noqa: F811
    vault.backup()
    slow = vault.slow_backup("--level", "full")
    assert mounts(vault)
    vault.ctl("cancel", slow["id"])
    ended = vault.daemon.wait_job(slow["id"], lambda job: job["ended_at"], "to end", 20)
    assert ended["state"] == "cancelled"
    check_unmounted(vault)
    slow = vault.slow_backup("--level", "full")
    vault.daemon.kill()
    vault.guest.wait_steps(2)
    vault.daemon.start()
    vault.daemon.wait_vm(VM, "running")
    ended = vault.daemon.wait_job(slow["id"], lambda job: job["ended_at"], "to end", 60)
    assert ended["state"] == "failed"
    check_unmounted(vault)
    # Neither has cost the next one its increment.
    increment = vault.backup()
    assert (increment["state"], levels(increment)) == ("completed", BOTH_INCREMENTAL)
    vault.check_restored(increment)


def cancel_what_begins_anew(vault, slow):
    """A backup whose VM ends goes on with the images, as slowly as before."""
    process.wait_until(lambda: "begins anew" in vault.daemon.tail(), 60, "the backup to begin anew")
    vault.ctl("cancel", slow["id"])
    ended = vault.daemon.wait_job(slow["id"], lambda job: job["ended_at"], "to end", 60)
    assert ended["state"] == "cancelled"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, whose right to unmount is taken away")
@pytest.mark.parametrize("guest", [("vda",)], indirect=True, ids=["one"])
def test_death_of_qemu_where_the_daemon_may_not_unmount(vault):  # noqa: F811
    """As under systemd: what the unit runs before the daemon removes dead mounts, and no others."""
    vault.daemon.end()
    vault.daemon.wrapper = ["setpriv", "--bounding-set=-sys_admin"]
    vault.daemon.start()
    vault.daemon.wait_vm(VM, "running")
    exports = vault.daemon.state / "exports"
    clear = [pathlib.Path(__file__).resolve().parents[2] / "contrib" / "unmount-dead-exports", exports]
    slow = vault.slow_backup("--level", "full")
    subprocess.run(clear, check=True, timeout=60)
    assert mounts(vault) and vault.daemon.job(slow["id"])["state"] == "running"
    vault.guest.kill()
    cancel_what_begins_anew(vault, slow)
    process.wait_until(lambda: "umount -l" in vault.daemon.tail(), 20, "the daemon to say what it may not do")
    assert mounts(vault)
    assert vault.daemon.end() == 0
    subprocess.run(clear, check=True, timeout=60)
    assert not mounts(vault) and not list(exports.glob("*/bkd-*.img"))
    vault.daemon.start()
    vault.guest.start()
    vault.daemon.wait_vm(VM, "running", 60)
    vault.guest.wait_steps(1)
    vault.check_restored(vault.backup())
    check_unmounted(vault)


def test_death_of_qemu(vault):  # noqa: F811
    """Its exports are dead mounts then, at which whoever looks may hang."""
    vault.backup()
    slow = vault.slow_backup("--level", "full")
    vault.guest.kill()
    cancel_what_begins_anew(vault, slow)
    vault.guest.start()
    vault.daemon.wait_vm(VM, "running", 60)
    check_unmounted(vault)
    vault.guest.wait_steps(1)
    again = vault.backup()
    assert again["state"] == "completed"
    vault.check_restored(again)
    check_unmounted(vault)
