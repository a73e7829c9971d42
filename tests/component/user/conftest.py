# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: a daemon as a user runs it, and a real QEMU without a guest."""

import pathlib
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

import pytest  # noqa: E402

import daemon as daemon_module  # noqa: E402
import machine  # noqa: E402


@pytest.fixture
def tmp_path():
    """Instead of pytest's own, whose paths are long for sockets."""
    with tempfile.TemporaryDirectory(prefix="backupd-user-") as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def daemon(tmp_path):
    """Ends without a complaint: with sanitizers, a leak is one."""
    running = daemon_module.Daemon(tmp_path / "daemon").start().use_qcow2()
    try:
        yield running
    finally:
        status = running.end()
        print("--- log of backupd:\n%s" % running.tail(200))
    assert status == 0, "backupd ended with status %d: %s" % (status, running.tail(200))


@pytest.fixture
def web(daemon, tmp_path):
    """The VM "web" with the disks vda (qcow2) and vdb (raw), known to the daemon. Nothing may be left in it."""
    vda = machine.make_image(tmp_path / "vda.qcow2")
    vdb = machine.make_image(tmp_path / "vdb.raw", form="raw")
    machine.fill(vda)
    running = machine.Machine(tmp_path / "vm", machine.disk(vda) + machine.disk(vdb, "vdb", "raw"))
    running.images = {"vda": vda, "vdb": vdb}
    try:
        running.start()
        daemon.ctl("vm", "add", "web", "--qmp", running.qmp)
        yield running
        # A request that was accepted may still be at work.
        for _ in range(200):
            if all(job["ended_at"] for job in daemon.ctl("list", "--vm", "web")["items"]):
                break
            time.sleep(0.1)
        assert not running.leftovers()
        checkpoints = daemon.ctl("checkpoint", "list", "--vm", "web")["items"]
        known = {disk["bitmap"] for checkpoint in checkpoints for disk in checkpoint["disks"]}
        assert running.bitmaps() <= known, "bitmaps that no checkpoint knows of"
    finally:
        running.stop()
