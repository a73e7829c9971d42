# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pause, resume, speed and cancel of the jobs that work on a repository of type dedup: each takes effect within a second, and
nothing is left of a job that is cancelled."""

import os
import time

import pytest

import process
from scene import assert_same, show
from vm import MIB

SLOW = "2M"


@pytest.fixture
def store(make_scene):
    """A scene with one backup of 16 MiB that cannot be compressed, and a second repository."""
    scene = make_scene(sizes={"vda": 16 * MIB, "vdb": 2 * MIB}, busy_guest=False, pull=True)
    scene.vm.write_data("vda", 0, scene.vm.random.randbytes(16 * MIB))
    scene.ctl("repo", "add", "offsite", "--path", scene.folder / "offsite")
    scene.kept = scene.backup()["backup_id"]
    scene.out = scene.folder / "out"
    return scene


JOBS = {
    "restore": lambda scene: ("restore", scene.kept, "--disk", "vda", "--output", scene.out),
    "restore to qcow2": lambda scene: ("restore", scene.kept, "--disk", "vda", "--output", scene.out, "--format", "qcow2"),
    "restore of both": lambda scene: ("restore", scene.kept, "--output", scene.out),
    "verify": lambda scene: ("verify", scene.kept),
    "verify of all": lambda scene: ("repo", "verify", "default"),
    "copy": lambda scene: ("backup", "copy", scene.kept, "--to", "offsite"),
}


def begin(scene, kind):
    job = scene.ctl(*JOBS[kind](scene), "--speed", SLOW)
    return scene.wait_job(job, lambda job: job["state"] == "running" and job["bytes_transferred"] > 0, "to read something")


def moved(scene, job, seconds=1.0):
    """Bytes in that time."""
    before = scene.job(job)["bytes_transferred"]
    time.sleep(seconds)
    return scene.job(job)["bytes_transferred"] - before


def left_overs(scene):
    """Whatever a job might have left: files that are to become outputs, and temporary files in the repositories."""
    found = [path for path in scene.folder.rglob("*") if path.name.endswith(".part")]
    for repository in (scene.daemon.state / "default", scene.folder / "offsite"):
        found += [path for path in repository.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]
    return [str(path) for path in found]


@pytest.mark.parametrize("kind", ["restore", "restore to qcow2", "verify", "copy"])
def test_pause_speed_resume(store, kind):
    job = begin(store, kind)
    assert {"cancel", "pause", "speed"} <= set(job["actions"]), job["actions"]
    assert 0 < moved(store, job, 2) < 9 * MIB, "the limit is 2 MiB a second"
    store.ctl("pause", job["id"])
    time.sleep(1)
    assert store.job(job)["state"] == "paused" and moved(store, job) == 0
    store.ctl("speed", job["id"], "4K")
    store.ctl("resume", job["id"])
    time.sleep(0.7)
    assert moved(store, job) <= MIB, "one request, at 4 KiB a second"
    store.ctl("speed", job["id"], "0")
    started = time.monotonic()
    ended = store.wait_end(job)
    assert ended["state"] == "completed" and time.monotonic() - started < 15, show(ended)
    assert ended["bytes_transferred"] == ended["bytes_total"] > 0
    if kind == "restore":
        assert_same(store.out.read_bytes(), store.contents[store.kept]["vda"], "what was restored")
    if kind == "copy":
        store.contents[ended["backup_id"]] = store.contents[store.kept]
        store.check_content(ended["backup_id"])
    assert left_overs(store) == []


@pytest.mark.parametrize("kind, paused", [(kind, False) for kind in JOBS] + [("restore", True), ("verify", True), ("copy", True)])
def test_cancel(store, kind, paused):
    job = begin(store, kind)
    if paused:
        store.ctl("pause", job["id"])
        time.sleep(0.7)
    asked = time.monotonic()
    status, _ = store.ask("POST", "/v1/jobs/%s/cancel" % job["id"])
    assert status == 200
    process.wait_until(lambda: store.job(job)["state"] == "cancelled", 10, "the job to be cancelled")
    # The sanitized daemon and other tests share the processor: a second, and some for that.
    assert time.monotonic() - asked < 2
    assert left_overs(store) == []
    assert not store.out.exists() or os.listdir(store.out) == []
    assert [backup["id"] for backup in store.get("/v1/backups")["items"]] == [store.kept]
    # What it had in hand is free, and whole.
    ended = store.wait_end(store.ctl(*JOBS[kind](store), "--speed", "0"))
    assert ended["state"] == "completed", show(ended)


def test_cancel_of_gc(store):
    """However far it has got."""
    for _ in range(3):
        store.vm.write_data("vda", 0, store.vm.random.randbytes(4 * MIB))
        last = store.backup("--level", "full")["backup_id"]
    assert store.wait_end(store.ctl("backup", "delete", last))["state"] == "completed"
    del store.contents[last]
    for _ in range(3):
        job = store.ctl("repo", "gc", "default")
        store.daemon.run("cancel", job["id"])
        ended = store.wait_end(job, 5)
        assert ended["state"] in ("cancelled", "completed"), show(ended)
    assert left_overs(store) == []
    store.check_contents()


def test_of_a_dedup_repository_compression_is_no_choice(store):
    refused = store.daemon.run("start", "--vm", "web01", "--compress")
    assert refused.status == 2 and "--compression" in refused.err, refused
