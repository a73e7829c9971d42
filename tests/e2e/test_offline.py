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
    daemon.wait_vm(VM, "running")  # or its disks would not be known
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


@pytest.mark.parametrize("repository", ["vault", "default"])
def test_start_of_the_vm_wins(home, repository):
    """QEMU gets its locks while we read; that backup fails, says why, and costs the next one nothing."""
    home.backup("--repo", repository)
    home.guest.wait_steps(2)
    shut_off(home)
    job = home.slow_backup("--repo", repository, "--level", "full")
    assert "the VM is shut off" in job["reason"]
    before = home.ctl("backup", "list", "--vm", VM)["items"]
    home.guest.start()
    failed = home.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end", 20)
    assert failed["state"] == "failed" and "the VM was started" in failed["error"]["message"], failed
    assert home.ctl("backup", "list", "--vm", VM)["items"] == before
    home.daemon.wait_vm(VM, "running")
    process.wait_until(lambda: not home.guest.leftovers(), 20, "QEMU to be clean")
    home.guest.wait_steps(2)
    increment = home.backup("--repo", repository)
    assert levels(increment) == BOTH_INCREMENTAL
    home.check_restored(increment)


@pytest.mark.parametrize("repository", ["vault", "default"])
def test_guest_shuts_down_in_the_middle(home, repository):
    """What QEMU had frozen is gone with it; the backup is begun anew from the images, with what the guest left there."""
    home.backup("--repo", repository)
    home.guest.wait_steps(2)
    job = home.slow_backup("--repo", repository, "--level", "full")
    home.guest.wait_steps(2)
    home.guest.stop()
    home.daemon.wait_job(job["id"], lambda job: job["state"] == "running" and "the VM ended" in job["reason"], "to begin anew")
    home.ctl("speed", job["id"], "0")
    done = home.ctl("watch", job["id"])
    assert done["state"] == "completed" and "the VM ended in the middle" in done["reason"], done
    check_images(home, done)
    again = home.ctl("start", "--vm", VM, "--repo", repository, "--wait")
    assert levels(again) == BOTH_INCREMENTAL
    check_images(home, again)
    home.guest.start()
    home.guest.wait_steps(2)
    on = home.backup("--repo", repository)
    assert levels(on) == BOTH_INCREMENTAL
    home.check_restored(on)


def test_increment_after_a_shutdown_and_full_after_a_crash(home):
    home.backup("--repo", "vault")
    home.guest.wait_steps(2)
    home.guest.stop()
    home.guest.start()
    home.daemon.wait_vm(VM, "running")
    home.guest.wait_steps(2)
    increment = home.backup("--repo", "vault")
    assert levels(increment) == BOTH_INCREMENTAL
    home.check_restored(increment)
    home.guest.wait_steps(2)
    home.guest.kill()
    home.daemon.wait_vm(VM, "shut off")
    full = home.ctl("start", "--vm", VM, "--repo", "vault", "--wait")
    assert levels(full) == BOTH_FULL
    assert all("is missing" in disk["reason"] or "inconsistent" in disk["reason"] for disk in full["disks"]), full
    check_images(home, full)
    again = home.ctl("start", "--vm", VM, "--repo", "vault", "--wait")
    assert levels(again) == BOTH_INCREMENTAL


def test_everything_else_while_it_is_shut_off(home):
    """Checkpoints, targets, dry runs, exports, a daemon that knows the VM only from its catalog; and what is refused."""
    home.backup("--repo", "vault")
    shut_off(home)
    home.daemon.end()
    home.daemon.start()
    home.daemon.wait_vm(VM, "shut off")
    shown = home.ctl("vm", "show", VM)
    assert shown["recorded_at"] and [disk["name"] for disk in shown["disks"]] == ["vda", "vdb"]
    plan = home.ctl("start", "--vm", VM, "--repo", "vault", "--dry-run")
    assert {disk["level"] for disk in plan["disks"]} == {"incremental"} and "shut off" in plan["reason"]

    checkpoint = home.ctl("checkpoint", "create", "--vm", VM, "--name", "while-off")
    assert [disk["state"] for disk in checkpoint["disks"]] == ["committed", "committed"]
    home.ctl("checkpoint", "delete", checkpoint["id"])
    for name, mode in ("push", "push"), ("pull", "pull"), ("direct", "push-direct"):
        job = home.ctl("start", "--vm", VM, "--mode", mode, "--target", home.folder / name, "--wait")
        assert job["state"] == "completed", job
        for disk, path in home.guest.disks.items():
            copy = next((home.folder / name).glob(disk + ".*"))
            assert subprocess.run(["qemu-img", "compare", str(copy), str(path)], capture_output=True).returncode == 0, (name, disk)
    export = home.ctl("export", "begin", "--vm", VM, "--disks", "vda")
    uri = export["disks"][0]["uri"] if "uri" in export["disks"][0] else export["uri"]
    process.run(["nbdcopy", uri, home.folder / "exported"])
    home.ctl("export", "end", export["id"], "--success")
    assert same_content(home.folder / "exported", home.guest.disks["vda"])
    after = home.ctl("start", "--vm", VM, "--repo", "vault", "--wait")
    assert levels(after) == BOTH_INCREMENTAL
    check_images(home, after)

    home.guest.disks["vdb"].rename(home.folder / "away")
    refused = home.run("start", "--vm", VM, "--repo", "vault")
    assert refused.status == 2 and "disk 'vdb' cannot be read while the VM is shut off" in refused.err, refused
    home.ctl("start", "--vm", VM, "--repo", "vault", "--disks", "vda", "--wait")
    (home.folder / "away").rename(home.guest.disks["vdb"])


def storage_daemons(home):
    """Their numbers, of this daemon's folder."""
    found = subprocess.run(["pgrep", "-f", "qemu-storage-daemon.*%s" % home.folder], capture_output=True, text=True)
    return found.stdout.split()


def test_daemon_killed_while_it_is_shut_off(home):
    """A push goes on in the storage daemon, and is taken up; a pull is undone, on the images."""
    home.backup("--repo", "default")
    home.backup("--repo", "vault")
    home.guest.wait_steps(2)
    shut_off(home)
    push = home.slow_backup("--repo", "default", "--level", "full")
    home.daemon.kill()
    home.daemon.start()
    home.daemon.wait_job(push["id"], lambda job: job["state"] == "running", "to run again")
    home.ctl("speed", push["id"], "0")
    check_images(home, home.ctl("watch", push["id"]))

    pull = home.slow_backup("--repo", "vault", "--level", "full")
    home.daemon.kill()
    home.daemon.start()
    failed = home.daemon.wait_job(pull["id"], lambda job: job["ended_at"], "to end")
    assert failed["state"] == "failed" and "start the backup again" in failed["error"]["message"], failed
    process.wait_until(lambda: not storage_daemons(home), 20, "the storage daemon to end")
    for repository in "vault", "default":
        job = home.ctl("start", "--vm", VM, "--repo", repository, "--wait")
        assert levels(job) == BOTH_INCREMENTAL
        check_images(home, job)
    assert not storage_daemons(home)


def test_cancelled_while_it_is_shut_off(home):
    home.backup("--repo", "vault")
    home.guest.wait_steps(2)
    shut_off(home)
    for repository in "vault", "default":
        job = home.slow_backup("--repo", repository, "--level", "full")
        home.ctl("cancel", job["id"])
        home.ctl("watch", job["id"], status=8)
    job = home.ctl("start", "--vm", VM, "--repo", "vault", "--wait")
    assert levels(job) == BOTH_INCREMENTAL
    check_images(home, job)


def test_nbd_target_while_it_is_shut_off(home, tmp_path):
    shut_off(home)
    copy, socket = tmp_path / "copy", tmp_path / "nbd.sock"
    with open(copy, "wb") as file:
        file.truncate(128 << 20)
    server = process.start(["nbdkit", "-f", "-U", socket, "file", copy])
    try:
        process.wait_until(socket.exists, 10, "nbdkit to listen")
        home.ctl("start", "--vm", VM, "--disks", "vda", "--target", "nbd+unix:///?socket=%s" % socket, "--wait")
    finally:
        process.end(server)
    assert same_content(copy, home.guest.disks["vda"])
    refused = home.run("start", "--vm", VM, "--disks", "vda", "--target", "nbd+unix:///?socket=%s" % socket, "--wait")
    assert refused.status != 0 and "connect" in refused.err, refused
