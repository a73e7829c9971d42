# SPDX-License-Identifier: LGPL-2.1-or-later
"""What --on-target-error stop means: the job waits for somebody to make room, and says so."""

import machine
import process
import pytest

SIZE = 8 * machine.MIB


@pytest.fixture
def server(tmp_path):
    """An NBD server that is full, from 4 MiB on, as long as the file "full" is there."""
    full = tmp_path / "full"
    full.touch()
    write = "if [ -e %s ] && [ $4 -ge %d ]; then cat > /dev/null; echo 'ENOSPC full' >&2; exit 1; fi; cat > /dev/null" % (full, SIZE // 2)
    running = process.start(["nbdkit", "-f", "-U", tmp_path / "nbd", "eval", "get_size=echo %d" % SIZE, "can_write=exit 0",
                             "pwrite=" + write, "pread=dd if=/dev/zero bs=$3 count=1 status=none"])
    try:
        process.wait_until((tmp_path / "nbd").exists, 20, "nbdkit to listen")
        yield full
    finally:
        process.end(running)


@pytest.mark.parametrize("action", ["stop", "enospc"])
def test_a_job_waits_for_room(daemon, web, server, tmp_path, action):
    options = ["--mode", "push-direct", "--disks", "vdb", "--target", "nbd+unix:///?socket=%s" % (tmp_path / "nbd")]
    web.io("vdb", "write -P 7 0 %d" % SIZE)
    job = daemon.ctl("start", "--vm", "web", *options, "--on-target-error", action)
    job = daemon.wait_job(job["id"], lambda one: one["state"] == "paused", "to be paused")
    assert job["error"]["code"] == "no-space" and "resume" in job["error"]["message"]
    assert "resume" in job["actions"]
    daemon.ctl("resume", job["id"])
    job = daemon.wait_job(job["id"], lambda one: one["state"] == "paused" and one["error"], "to be paused again")
    server.unlink()
    daemon.ctl("resume", job["id"])
    job = daemon.wait_job(job["id"], lambda one: one["ended_at"], "to end")
    assert (job["state"], job["error"]) == ("completed", None)


def test_a_job_that_waits_can_be_cancelled(daemon, web, server, tmp_path):
    web.io("vdb", "write -P 7 0 %d" % SIZE)
    job = daemon.ctl("start", "--vm", "web", "--mode", "push-direct", "--disks", "vdb", "--target",
                     "nbd+unix:///?socket=%s" % (tmp_path / "nbd"), "--on-target-error", "stop")
    daemon.wait_job(job["id"], lambda one: one["state"] == "paused", "to be paused")
    daemon.ctl("cancel", job["id"])
    job = daemon.wait_job(job["id"], lambda one: one["ended_at"], "to end")
    assert job["state"] == "cancelled"
