# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: a guest that writes, a daemon that knows it as "web01", and what must hold after every test."""

import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True

import pytest  # noqa: E402

import daemon as daemon_module  # noqa: E402
import guest as guest_module  # noqa: E402
import image  # noqa: E402
import process  # noqa: E402

VM = "web01"


@pytest.fixture
def tmp_path():
    """Instead of pytest's own, which keeps the disks of the last runs, and whose paths are long for sockets."""
    with tempfile.TemporaryDirectory(prefix="backupd-e2e-") as folder:
        yield pathlib.Path(folder)


@pytest.fixture(scope="session")
def built():
    folder = guest_module.build()
    return folder, guest_module.accelerator(folder)


@pytest.fixture
def guest(tmp_path, built):
    """Booted, and writing about two steps a second. vda has enough on it to make a slow backup slow."""
    virtual_machine = guest_module.Guest(tmp_path / "vm", *built, ballast={"vda": 24 << 20, "vdb": 4 << 20}, pause=0.1)
    try:
        yield virtual_machine.start()
    finally:
        virtual_machine.stop()


@pytest.fixture
def daemon(tmp_path):
    """Runs, and ends without a complaint: with sanitizers, a leak is one."""
    running = daemon_module.Daemon(tmp_path / "daemon").start().use_qcow2()
    try:
        yield running
    finally:
        status = running.end()
        running.end_storage_daemons()
        sys.stdout.write("--- log of backupd:\n%s\n" % running.tail(200))
    assert status == 0, "backupd ended with status %d: %s" % (status, running.tail())


@pytest.fixture
def site(daemon, guest, tmp_path):
    """Daemon and guest, introduced to each other. Afterwards nothing of ours may be left in QEMU but the bitmaps of
    checkpoints, and the guest must not have noticed anything."""
    daemon.ctl("vm", "add", VM, "--qmp", guest.qmp)
    yield Site(daemon, guest, tmp_path)
    guest.check()
    process.wait_until(lambda: not guest.leftovers(), 20, "QEMU to be clean; it still has %s" % guest.leftovers())
    known = {}
    for checkpoint in daemon.ctl("checkpoint", "list", "--vm", VM)["items"]:
        for disk in checkpoint["disks"]:
            if disk["bitmap"]:
                known.setdefault(disk["name"], set()).add(disk["bitmap"])
    for disk, bitmaps in guest.bitmaps().items():
        stray = bitmaps - known.get(disk, set())
        assert not stray, "disk %s has bitmaps that no checkpoint knows of: %s" % (disk, stray)


class Site:
    """What tests do over and over again."""

    def __init__(self, daemon, guest, folder):
        self.daemon, self.guest, self.folder = daemon, guest, folder
        self.ctl, self.run = daemon.ctl, daemon.run
        self.restores = 0

    def backup(self, *options, status=0):
        """start --wait: the job at its end, with the last step that was safe in the guest before as job["synced"]."""
        synced = self.guest.synced()
        job = self.ctl("start", "--vm", VM, *options, "--wait", status=status)
        job["synced"] = synced
        return job

    def slow_backup(self, *options, speed="256K"):
        """start, and return as soon as it copies. It would take minutes: the test does something to it meanwhile.
        The point in time lies between the steps job["synced"] and job["copying"]."""
        synced = self.guest.synced()
        job = self.ctl("start", "--vm", VM, *options, "--speed", speed)
        job = self.daemon.wait_job(job["id"], lambda job: job["state"] == "running" and job["bytes_transferred"] > 0, "to copy something")
        job.update(synced=synced, copying=self.guest.synced() + 1)
        return job

    def restore(self, backup, form="raw"):
        """Restores into a new folder and checks everything there. Returns {disk: image.Content}."""
        self.restores += 1
        folder = self.folder / ("restore-%d" % self.restores)
        self.ctl("restore", backup, "--output", folder, "--format", form, "--wait")
        contents = {}
        for disk, file in self._restored(backup, folder, form):
            image.check_format(file, form)
            contents[disk] = image.check_content(file, form, disk, self.guest.writing)
        return contents

    def _restored(self, backup, output, form):
        """A backup of one disk is restored to that path itself, one of several to files in a folder there."""
        disks = [disk["name"] for disk in self.ctl("backup", "show", backup)["disks"]]
        if len(disks) == 1:
            return [(disks[0], output)]
        assert sorted(file.name for file in output.iterdir()) == ["%s.%s" % (disk, form) for disk in disks]
        return [(disk, output / ("%s.%s" % (disk, form))) for disk in disks]

    def check_restored(self, job, form="raw"):
        """Restores the backup of @job: both disks, of one point in time, not older than when the job was started."""
        contents = self.restore(job["backup_id"], form)
        image.check_order(contents, job["synced"])
        return contents


def levels(job):
    return {disk["name"]: disk["level"] for disk in job["disks"]}


def disk_of(job, name):
    return next(disk for disk in job["disks"] if disk["name"] == name)
