# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds of every kind of VM: one spoken to by QMP, a domain of libvirt, and one that is shut off. There is no system in them: what
a guest would write is written by qemu-io, so that what has to be in a backup is known to the byte."""

import filecmp
import pathlib
import re
import subprocess
import tempfile

import pytest

import daemon as daemon_module
import libvirtd as libvirtd_module
import process
from conftest import disk_of, levels
from qmp import Qmp

VM = "any"
DISKS = ("vda", "vdb")
FULL = dict.fromkeys(DISKS, "full")
INCREMENT = dict.fromkeys(DISKS, "incremental")
OURS = "bkd-[0-9a-f]{6}-cp-.*"


# --- the kinds: .add(daemon), .write(disk, command), .path(disk), .bitmaps(disk), .end() ---

class Machine:
    """A QEMU that has the disks vda, of 24 MiB, and vdb, of 8."""

    one_job = False

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        for disk, size, value, written in (("vda", 24, 1, 20), ("vdb", 8, 2, 4)):
            process.run(["qemu-img", "create", "-q", "-f", "qcow2", self.path(disk), "%dM" % size])
            process.run(["qemu-io", "-f", "qcow2", "-c", "write -q -P %d 0 %dM" % (value, written), self.path(disk)])
        monitors = [word for name in ("qmp", "spy") for word in ("-qmp", "unix:%s,server=on,wait=off" % (self.folder / name))]
        disks = [word for disk in DISKS for word in (
            "-blockdev", "driver=qcow2,node-name=%s,file.driver=file,file.filename=%s" % (disk, self.path(disk)),
            "-device", "virtio-blk-pci,id=%s,drive=%s" % (disk, disk))]
        self.process = process.start(["qemu-system-x86_64", "-accel", "tcg", "-S", "-nodefaults", "-display", "none", "-m", "32", *monitors, *disks])

    def add(self, daemon):
        process.wait_until((self.folder / "qmp").exists, 20, "QEMU to listen")
        daemon.ctl("vm", "add", VM, "--qmp", self.folder / "qmp")
        process.wait_until(lambda: daemon.ctl("vm", "show", VM).get("disks"), 20, "the VM to be connected")

    def path(self, disk):
        return self.folder / (disk + ".qcow2")

    def write(self, disk, command):
        with Qmp(self.folder / "spy") as qmp:
            said = qmp.execute("human-monitor-command", command_line="qemu-io -d /machine/peripheral/%s/virtio-backend \"%s\"" % (disk, command))
        assert "rror" not in said and "failed" not in said, said

    def bitmaps(self, disk):
        with Qmp(self.folder / "spy") as qmp:
            node = next(node for node in qmp.execute("query-named-block-nodes") if node["node-name"] == disk)
        return [bitmap["name"] for bitmap in node.get("dirty-bitmaps", []) if re.fullmatch(OURS, bitmap.get("name", ""))]

    def end(self):
        process.end(self.process)


class ShutOff(Machine):
    """Written to by a QEMU that comes and goes: it records in the bitmaps that are in the images, as each does."""

    def add(self, daemon):
        super().add(daemon)
        process.end(self.process)
        daemon.wait_vm(VM, "shut off")

    def write(self, disk, command):
        if command != "flush":
            process.run(["qemu-io", "-f", "qcow2", "-c", command, self.path(disk)])

    def bitmaps(self, disk):
        found = process.run(["qemu-img", "info", "-U", self.path(disk)])
        return re.findall(r"name: (%s)" % OURS, found)


class Domain(libvirtd_module.Domain):
    one_job = True  # libvirt has one a domain

    def __init__(self, libvirtd):
        super().__init__(libvirtd, "kind%d" % len(libvirtd.domains))
        libvirtd.domains.append(self.name)
        self.define().start()

    def add(self, daemon):
        daemon.ctl("vm", "add", VM, "--libvirt", self.libvirtd.uri, "--domain", self.name)

    def bitmaps(self, disk):
        return [name for name in self.ours() if "<disk name='%s' checkpoint='bitmap'" % disk in
                self.libvirtd.virsh("checkpoint-dumpxml", "--no-domain", self.name, name)]

    def end(self):
        subprocess.run(["virsh", "-q", "-c", self.libvirtd.uri, "destroy", self.name], capture_output=True)


@pytest.fixture(scope="module")
def libvirtd():
    if not libvirtd_module.can_have_namespaces():
        pytest.skip("this host gives no user namespaces to run a libvirtd in")
    with tempfile.TemporaryDirectory(prefix="backupd-kinds-") as folder:
        running = libvirtd_module.Libvirtd(pathlib.Path(folder) / "l")
        try:
            yield running.start()
        finally:
            running.end()


@pytest.fixture(params=["qmp", "libvirt", "shut-off"])
def machine(request, tmp_path):
    if request.param == "libvirt":
        made = Domain(request.getfixturevalue("libvirtd"))
    else:
        made = (Machine if request.param == "qmp" else ShutOff)(tmp_path / "vm")
    try:
        yield made
    finally:
        made.end()


# --- what is done to them ---

class Site:
    def __init__(self, daemon, machine, folder):
        self.daemon, self.machine, self.folder, self.ctl = daemon, machine, folder, daemon.ctl
        self.count = 0

    def backup(self, *options, disks="vda,vdb", status=0):
        return self.ctl("start", "--vm", VM, "--disks", disks, *options, "--wait", status=status)

    def slow(self, *options, disks="vda,vdb"):
        job = self.ctl("start", "--vm", VM, "--disks", disks, "--level", "full", "--speed", "1M", *options)
        return self.daemon.wait_job(job["id"], lambda job: job["state"] == "running" and job["bytes_transferred"] > 0, "to copy something")

    def ended(self, job):
        return self.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end", 120)

    def change(self, value):
        """Data over data, data at a new place, and zeroes."""
        self.machine.write("vda", "write -q -P %d 8M 64k" % value)
        self.machine.write("vda", "write -q -P %d %dk 64k" % (value, 21 * 1024 + 64 * (value % 16)))
        self.machine.write("vda", "write -q -z %dM 128k" % (value % 8))
        self.machine.write("vdb", "write -q -P %d 1M 64k" % value)

    def now(self):
        """{disk: raw file} of what is on the disks."""
        self.count += 1
        contents = {disk: self.folder / ("now-%d-%s" % (self.count, disk)) for disk in DISKS}
        for disk, path in contents.items():
            self.machine.write(disk, "flush")
            process.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", self.machine.path(disk), path])
        return contents

    def check(self, job, expected):
        """What is restored from @job is @expected, byte by byte."""
        assert job["state"] == "completed", job
        for disk in job["disks"]:
            self.count += 1
            path = self.folder / ("restored-%d" % self.count)
            self.ctl("restore", job["backup_id"], "--disk", disk["name"], "--output", path, "--format", "raw", "--wait")
            assert filecmp.cmp(path, expected[disk["name"]], shallow=False), "disk %s is not what it was" % disk["name"]

    def check_increment(self, *options, value=200):
        """Nothing has been lost: the next backup is an increment, and right."""
        self.change(value)
        expected = self.now()
        job = self.backup(*options)
        assert levels(job) == INCREMENT, job["disks"]
        self.check(job, expected)


@pytest.fixture
def site(tmp_path, machine):
    """Afterwards the bitmaps that are there are those of checkpoints, and nothing else is left."""
    daemon = daemon_module.Daemon(tmp_path / "daemon").start()
    try:
        machine.add(daemon)
        daemon.ctl("repo", "add", "images", "--type", "qcow2", "--path", tmp_path / "images")
        made = Site(daemon, machine, tmp_path)
        yield made
        for disk in DISKS:
            known = [of["bitmap"] for checkpoint in daemon.ctl("checkpoint", "list", "--vm", VM)["items"]
                     for of in checkpoint["disks"] if of["name"] == disk and of["bitmap"]]
            process.wait_until(lambda: set(machine.bitmaps(disk)) == set(known), 10, "disk %s to have the bitmaps %s, and no others" % (disk, known))
        leftovers = [path for place in ("scratch", "exports") for path in (daemon.state / place).glob("**/bkd-*")]
        assert not leftovers
    finally:
        status = daemon.end()
        daemon.end_storage_daemons()
        print("--- log of backupd:\n%s" % daemon.tail(200))
    assert status == 0, "backupd ended with status %d: %s" % (status, daemon.tail())


REPOSITORIES = pytest.mark.parametrize("repository", ["default", "images"])  # pull, push


@REPOSITORIES
def test_full_and_increment(site, repository):
    first = site.now()
    full = site.backup("--repo", repository)
    assert levels(full) == FULL
    site.change(17)
    second = site.now()
    increment = site.backup("--repo", repository)
    assert levels(increment) == INCREMENT and disk_of(increment, "vda")["bytes_total"] <= 1 << 20
    site.check(full, first)
    site.check(increment, second)


@REPOSITORIES
def test_cancel_costs_nothing(site, repository):
    if repository == "images" and site.machine.one_job:
        pytest.skip("a push of a small disk is through before libvirt lets it be slowed")
    site.backup("--repo", repository)
    site.change(33)
    job = site.slow("--repo", repository)
    site.ctl("cancel", job["id"])
    assert site.ended(job)["state"] == "cancelled"
    site.check_increment("--repo", repository)


def test_failed_target_leaves_nothing(site):
    """One that takes some, and then nothing any more."""
    site.backup()
    before = [site.ctl(kind, "list", "--vm", VM)["items"] for kind in ("backup", "checkpoint")]
    site.change(49)
    socket = site.folder / "nbd"
    server = process.start(["nbdkit", "-f", "-U", socket, "--filter=error", "memory", "24M", "error-pwrite=ENOSPC", "error-pwrite-rate=50%"])
    try:
        process.wait_until(socket.exists, 10, "nbdkit to listen")
        failed = site.backup("--level", "full", "--mode", "pull", "--target", "nbd+unix:///?socket=%s" % socket, disks="vda", status=10)
    finally:
        process.end(server)
    assert failed["state"] == "failed" and failed["error"]["code"] == "no-space", failed
    assert [site.ctl(kind, "list", "--vm", VM)["items"] for kind in ("backup", "checkpoint")] == before
    site.check_increment()


def test_second_job_on_other_disks(site):
    """It runs beside the first one, or waits and says for which; neither costs the other anything."""
    first_content = site.now()
    first = site.slow(disks="vda")
    second = site.ctl("start", "--vm", VM, "--disks", "vdb")
    if site.machine.one_job:
        waiting = site.daemon.job(second["id"])
        assert waiting["state"] == "queued" and first["id"] in waiting["reason"], waiting
    else:
        site.check(site.ended(second), first_content)
        assert site.daemon.job(first["id"])["state"] == "running"
    site.ctl("speed", first["id"], "0")
    site.check(site.ended(first), first_content)
    site.check(site.ended(second), first_content)
    site.check_increment()


def test_many_checkpoints_and_one_less(site):
    """Twelve in a row, one in the middle deleted; then a daemon that knows of them from its catalog alone."""
    jobs = []
    for number in range(12):
        site.change(number + 1)
        expected = site.now()
        jobs.append((site.backup(), expected))
        assert levels(jobs[-1][0]) == (INCREMENT if number else FULL), jobs[-1][0]["disks"]
    site.ctl("checkpoint", "delete", jobs[6][0]["backup_id"])
    site.change(100)
    since = site.ctl("start", "--vm", VM, "--disks", "vda,vdb", "--since", jobs[5][0]["backup_id"], "--dry-run")
    assert {disk["level"] for disk in since["disks"]} <= {"incremental", "differential"}, since
    site.daemon.end()
    site.daemon.start()
    process.wait_until(lambda: site.ctl("vm", "show", VM).get("disks"), 30, "the VM to be known again")
    site.check_increment(value=101)
    for number in 0, 6, 11:
        site.check(*jobs[number])


def test_killed_daemon_costs_nothing(site):
    site.backup()
    site.change(65)
    job = site.slow()
    site.daemon.kill()
    site.daemon.start()
    assert site.ended(job)["state"] == "failed"
    site.check_increment()
