# SPDX-License-Identifier: LGPL-2.1-or-later
"""Things that go wrong in the middle: whatever dies or fills up, the guest goes on and nothing is lost silently."""

import os
import subprocess

import pytest

import image
import process
from conftest import VM, disk_of, levels

BOTH_FULL = {"vda": "full", "vdb": "full"}
BOTH_INCREMENTAL = {"vda": "incremental", "vdb": "incremental"}


def test_daemon_killed_in_the_middle_takes_the_job_up_again(site):
    job = site.slow_backup()
    site.daemon.kill()
    site.guest.wait_steps(3)
    site.daemon.start()
    site.daemon.wait_job(job["id"], lambda job: job["state"] == "running", "to run again")
    site.ctl("speed", job["id"], "0")
    site.ctl("watch", job["id"])
    done = site.daemon.job(job["id"])
    assert (done["state"], levels(done)) == ("completed", BOTH_FULL)
    done["synced"] = job["synced"]
    # Of the time when it was begun, not of the time when it was taken up.
    contents = site.check_restored(done)
    assert contents["vda"].step <= job["copying"]
    assert levels(site.backup()) == BOTH_INCREMENTAL


def test_job_ends_while_the_daemon_is_away(site):
    job = site.slow_backup(speed="8M")
    site.daemon.kill()
    process.wait_until(lambda: set(site.guest.jobs().values()) == {"concluded"}, 120, "QEMU to end its jobs")
    site.daemon.start()
    done = site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end")
    assert done["state"] == "completed", done["error"]
    done["synced"] = job["synced"]
    site.check_restored(done)


def test_daemon_ends_in_good_order_in_the_middle(site):
    job = site.slow_backup()
    assert site.daemon.end() == 0
    site.guest.wait_steps(1)
    site.daemon.start()
    site.ctl("cancel", job["id"])
    site.ctl("watch", job["id"], status=8)
    site.check_restored(site.backup())


def test_paused_job_stays_paused_over_a_restart_of_the_daemon(site):
    job = site.slow_backup()
    site.ctl("pause", job["id"])
    site.daemon.kill()
    site.daemon.start()
    paused = site.daemon.wait_job(job["id"], lambda job: job["state"] == "paused", "to be paused again")
    site.guest.wait_seconds(2)
    still = site.daemon.job(job["id"])
    assert (still["state"], "resume" in still["actions"]) == ("paused", True)
    assert still["bytes_transferred"] <= paused["bytes_transferred"] + (2 << 20)
    assert site.ctl("resume", job["id"])["state"] == "running"
    site.ctl("speed", job["id"], "0")
    site.ctl("watch", job["id"])
    done = site.daemon.job(job["id"])
    done["synced"] = job["synced"]
    site.check_restored(done)


def test_qemu_killed_in_the_middle(site):
    """The backup is begun anew from the images, until the guest is there again."""
    first = site.backup()
    site.guest.wait_steps(10)
    job = site.slow_backup("--level", "full")
    site.guest.kill()
    site.daemon.wait_job(job["id"], lambda job: "the VM ended in the middle" in (job["reason"] or ""), "to begin anew")
    site.guest.start()
    failed = site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to fail")
    assert failed["state"] == "failed"
    assert failed["error"]["code"] in ("unreachable", "failed", "conflict") and failed["error"]["message"]
    site.daemon.wait_vm(VM, "running")
    full = site.backup()
    assert levels(full) == BOTH_FULL
    assert all(disk["reason"] for disk in full["disks"])
    site.check_restored(full)
    site.check_restored(first)
    assert levels(site.backup()) == BOTH_INCREMENTAL


@pytest.fixture
def small_folder(tmp_path):
    """A file system of 16 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16M", "none", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("cannot mount a small file system: " + mounted.stderr.strip())
    yield folder
    process.run(["umount", "-l", folder])


def test_full_repository_breaks_the_backup_and_nothing_else(site, small_folder):
    good = site.backup()
    site.ctl("repo", "add", "small", "--type", "qcow2", "--path", small_folder / "repository")
    failed = site.backup("--repo", "small", status=10)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "no-space")
    site.guest.wait_steps(5)
    assert site.ctl("backup", "list")["items"][-1]["id"] == good["backup_id"]
    increment = site.backup()
    assert levels(increment) == BOTH_INCREMENTAL
    site.check_restored(increment)


class Nbd:
    """An NBD server that can be made to misbehave."""

    def __init__(self, folder, *arguments):
        self.socket = folder / "nbd.sock"
        self.uri = "nbd+unix:///?socket=%s" % self.socket
        self.process = process.start(["nbdkit", "--foreground", "--exit-with-parent", "--unix", self.socket, *arguments])
        process.wait_until(self.socket.exists, 10, "nbdkit to listen")


@pytest.fixture
def nbd(tmp_path):
    servers = []

    def start(*arguments):
        servers.append(Nbd(tmp_path, *arguments))
        return servers[-1]
    yield start
    for server in servers:
        process.kill(server.process)


def to_nbd(server):
    return ("--disks", "vda", "--target", server.uri, "--format", "raw")


def test_nbd_target(site, nbd):
    server = nbd("memory", "128M")
    job = site.backup(*to_nbd(server))
    assert job["state"] == "completed"
    assert image.check_content(server.uri, "raw", "vda", site.guest.writing).step >= job["synced"]


def test_nbd_target_with_errors(site, nbd):
    server = nbd("--filter=error", "memory", "128M", "error-pwrite=EIO", "error-pwrite-rate=20%")
    failed = site.backup(*to_nbd(server), status=1)
    assert failed["state"] == "failed" and disk_of(failed, "vda")["error"]["message"]
    site.guest.wait_steps(3)
    assert site.backup()["state"] == "completed"


def test_nbd_target_without_space(site, nbd):
    server = nbd("--filter=error", "memory", "128M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%")
    failed = site.backup(*to_nbd(server), status=10)
    assert failed["error"]["code"] == "no-space"
    site.guest.wait_steps(3)


def test_nbd_target_that_dies(site, nbd):
    server = nbd("memory", "128M")
    job = site.slow_backup(*to_nbd(server))
    process.kill(server.process)
    failed = site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to fail")
    assert failed["state"] == "failed" and failed["error"]["message"]
    site.guest.wait_steps(3)
    site.check_restored(site.backup())


def test_nbd_target_that_hangs(site, nbd):
    """The server takes data and never answers: the guest must not wait for it, and cancel must end it."""
    server = nbd("--filter=delay", "memory", "128M", "delay-write=3600", "delay-zero=3600", "delay-trim=3600")
    job = site.ctl("start", "--vm", VM, *to_nbd(server))
    site.daemon.wait_job(job["id"], lambda job: job["state"] == "running", "to run")
    site.guest.wait_steps(5)
    site.ctl("cancel", job["id"])
    ended = site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to be cancelled", 60)
    assert ended["state"] == "cancelled"
    site.guest.wait_steps(3)
    site.check_restored(site.backup())


def test_nbd_target_that_never_speaks(site, tmp_path):
    """Something listens and says nothing: no monitor may hang for it, and the job fails by itself."""
    path = tmp_path / "mute.sock"
    mute = process.start(["/usr/bin/python3", "-c", "import socket, sys, time\ns = socket.socket(socket.AF_UNIX)\n"
                          "s.bind(sys.argv[1])\ns.listen()\ntime.sleep(3600)", path])
    try:
        process.wait_until(path.exists, 10, "the mute server to listen")
        result = site.run("--json", "start", "--vm", VM, "--disks", "vda", "--target", "nbd+unix:///?socket=%s" % path,
                          "--format", "raw", "--wait")
        assert result.status in (1, 6) and result.err.strip(), result
        assert result.json["state"] == "failed" and result.json["error"]["message"]
        site.guest.wait_steps(3)
    finally:
        process.kill(mute)


def test_repository_that_is_gone(site):
    site.backup()
    folder = site.folder / "elsewhere"
    site.ctl("repo", "add", "elsewhere", "--type", "qcow2", "--path", folder)
    os.rename(folder, site.folder / "moved")
    result = site.run("start", "--vm", VM, "--repo", "elsewhere", "--wait")
    assert result.status in (4, 6) and result.err.strip(), result
    assert not folder.exists(), "a repository that is gone must not be made anew by a backup"
    assert levels(site.backup()) == BOTH_INCREMENTAL
