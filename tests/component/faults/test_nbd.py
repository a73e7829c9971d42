# SPDX-License-Identifier: LGPL-2.1-or-later
"""Targets on an NBD server that misbehaves: the guest goes on meanwhile, and the job ends."""

import signal
import time

import pytest

import process
import sweep
from scene import VM, assert_same
from vm import MIB

SIZE = 4 * MIB


class Nbd:
    def __init__(self, folder, *arguments):
        self.folder, self.socket = folder, folder / "nbd.sock"
        self.uri = "nbd+unix:///?socket=%s" % self.socket
        self.process = process.start(["nbdkit", "--foreground", "--exit-with-parent", "--unix", self.socket, *arguments])
        process.wait_until(self.socket.exists, 10, "nbdkit to listen")

    def content(self):
        path = self.folder / "nbd.raw"
        process.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", self.uri, path])
        return path.read_bytes()


@pytest.fixture
def nbd(tmp_path):
    servers = []

    def start(*arguments):
        servers.append(Nbd(tmp_path, *arguments))
        return servers[-1]
    yield start
    for server in servers:
        process.kill(server.process)


@pytest.fixture
def scene(make_scene):
    """One that knows a stall after 6 s instead of a minute."""
    scene = make_scene(sizes={"vda": SIZE, "vdb": 2 * MIB}, stall=6, busy_guest=False)
    scene.vm.write("vda", 0, SIZE, 77)
    scene.backup()
    return scene


def to_nbd(server):
    return ("--disks", "vda", "--target", server.uri, "--format", "raw")


def finish(scene, job, seconds=60):
    """Waits for the end while the guest writes. None of its writes may wait for the target."""
    slowest, until = 0, time.monotonic() + seconds
    while True:
        now = scene.job(job)
        if now["state"] in ("completed", "failed", "cancelled", "partial"):
            return now, slowest
        assert time.monotonic() < until, "the job does not end: %s\n%s" % (now, scene.daemon.tail(40))
        before = time.monotonic()
        scene.vm.scribble_all()
        slowest = max(slowest, time.monotonic() - before)
        time.sleep(0.05)


def check(scene, *jobs):
    """@jobs went to an NBD server."""
    scene.elsewhere |= {job["backup_id"] for job in jobs if job["state"] == "completed"}
    scene.proxy.arm()
    scene.check_clean()
    scene.check_next()
    scene.check_contents()


def test_content_of_an_nbd_target(scene, nbd):
    server = nbd("memory", str(SIZE))
    job, _slowest = finish(scene, scene.begin(*to_nbd(server)))
    assert job["state"] == "completed", job["error"]
    assert_same(server.content(), scene.pits["vda"], "the NBD target")
    check(scene, job)


@pytest.mark.parametrize("size, export, words", [
    (SIZE, "nope", "does not give export 'nope'"),
    (SIZE // 2, "", "has %d bytes, the disk %d" % (SIZE // 2, SIZE)),
    (SIZE * 2, "", "has %d bytes, the disk %d" % (SIZE * 2, SIZE))])
def test_target_that_does_not_fit(scene, nbd, size, export, words):
    server = nbd("--filter=exportname", "memory", str(size), "exportname=", "exportname-strict=true")
    job, _slowest = finish(scene, scene.begin("--disks", "vda", "--target", server.uri.replace("///", "///" + export)))
    assert job["state"] == "failed" and words in job["error"]["message"], job["error"]
    check(scene, job)


@pytest.mark.parametrize("error, code", [("EIO", "failed"), ("ENOSPC", "no-space")])
def test_target_with_errors(scene, nbd, error, code):
    server = nbd("--filter=error", "memory", str(SIZE), "error-pwrite=" + error, "error-pwrite-rate=30%", "error-zero=" + error, "error-zero-rate=30%")
    job, _slowest = finish(scene, scene.begin(*to_nbd(server)))
    assert (job["state"], job["error"]["code"]) == ("failed", code), job["error"]
    check(scene, job)


def test_slow_target(scene, nbd):
    server = nbd("--filter=delay", "memory", str(SIZE), "delay-write=300ms", "delay-zero=300ms")
    job, slowest = finish(scene, scene.begin(*to_nbd(server)))
    assert job["state"] == "completed", job["error"]
    assert_same(server.content(), scene.pits["vda"], "the NBD target")
    assert slowest < 2
    check(scene, job)


def hung(scene, nbd):
    server = nbd("--filter=rate", "memory", str(SIZE), "rate=4M")
    job = scene.begin(*to_nbd(server))
    scene.wait_job(job, lambda job: job["state"] == "running" and job["bytes_transferred"] > 0, "to copy")
    server.process.send_signal(signal.SIGSTOP)
    return job


def test_hung_target_fails_by_itself(scene, nbd):
    job = hung(scene, nbd)
    began = time.monotonic()
    job, slowest = finish(scene, job)
    assert job["state"] == "failed" and job["error"]["message"]
    assert time.monotonic() - began < 30 and slowest < 2
    check(scene, job)


def test_cancel_with_a_hung_target(scene, nbd):
    job = hung(scene, nbd)
    scene.ctl("cancel", job["id"])
    began = time.monotonic()
    job, slowest = finish(scene, job)
    assert job["state"] == "cancelled" and time.monotonic() - began < 30 and slowest < 2
    check(scene, job)


def test_target_that_hangs_as_it_is_closed(scene, nbd, tmp_path):
    """QEMU's main loop waits for the flush, and the guest with it: not for long."""
    server = nbd("eval", "get_size=echo %d" % SIZE, "can_write=exit 0", "can_flush=exit 0", "pread=dd if=/dev/zero count=$3 iflag=count_bytes status=none",
                 "pwrite=cat > /dev/null", "flush=sleep 3600")
    job, slowest = finish(scene, scene.begin(*to_nbd(server)))
    assert job["state"] == "failed" and job["error"]["message"], job
    assert slowest < 20, slowest
    check(scene, job)


def test_target_dies(scene, nbd):
    server = nbd("--filter=rate", "memory", str(SIZE), "rate=4M")
    job = scene.begin(*to_nbd(server))
    scene.wait_job(job, lambda job: job["state"] == "running", "to copy")
    process.kill(server.process)
    job, slowest = finish(scene, job)
    assert job["state"] == "failed" and slowest < 2
    check(scene, job)


def test_other_disk_meanwhile(scene, nbd):
    """A job on vdb while vda's goes to a slow target; then one while vda's target hangs."""
    server = nbd("--filter=rate", "memory", str(SIZE), "rate=1M")
    slow = scene.begin(*to_nbd(server))
    scene.wait_job(slow, lambda job: job["state"] == "running", "to copy")
    scene.vm.scribble_all(3)
    other = scene.backup("--disks", "vdb")
    assert [(disk["name"], disk["level"]) for disk in other["disks"]] == [("vdb", "incremental")]
    refused = scene.daemon.run("start", "--vm", VM, "--disks", "vda")
    assert refused.status == 5 and slow["id"] in refused.err, refused
    assert scene.job(slow)["state"] == "running"
    server.process.send_signal(signal.SIGSTOP)
    third = scene.begin("--disks", "vdb")
    done, slowest = finish(scene, slow, 100)
    third = scene.wait_end(third, 100)
    if third["state"] == "completed":
        scene.contents[third["backup_id"]] = {"vdb": scene.pits["vdb"]}
    assert done["state"] == "failed", done
    assert slowest < 45
    check(scene, done)
