# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done to a VM between two backups: snapshots, other disks, other sizes, other names, another QEMU. Increments go on
where they can; else that disk is read whole, and says why. What comes back is right in any case."""

import pathlib

import pytest

import process
import vm as vm_module
from scene import Daemon
from vm import MIB

VM = "web01"


class Machine(vm_module.Vm):
    """Disks may be on any image, under any node name, and come and go between two starts."""

    def __init__(self, folder):
        super().__init__(folder, {"vda": 4 * MIB, "vdb": 2 * MIB})
        self.paths = {disk: self.image(disk) for disk in self.model}
        self.nodes = {disk: disk + "-node" for disk in self.model}
        self.more = []

    def arguments(self):
        yield from ["qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "64", "-machine", "q35", *self.more]
        for path in (self.qmp, self.own):
            yield from ["-qmp", "unix:%s,server=on,wait=off" % path]
        for disk in self.model:
            yield from ["-blockdev", "driver=qcow2,node-name=%s,discard=unmap,file.driver=file,file.filename=%s" % (self.nodes[disk], self.paths[disk])]
            yield from ["-device", "virtio-blk-pci,id=%s,drive=%s" % (disk, self.nodes[disk])]

    def add_disk(self, disk, size):
        self.paths[disk], self.nodes[disk] = self.folder / (disk + ".qcow2"), disk + "-node"
        process.run(["qemu-img", "create", "-q", "-f", "qcow2", self.paths[disk], size])
        self.model[disk] = bytearray(size)

    def rename_disk(self, old, new):
        for table in (self.paths, self.nodes, self.model):
            table[new] = table.pop(old)

    def resize(self, disk, size):
        content = self.model[disk]
        content[size:] = bytes(max(0, size - len(content)))


class Place:
    """Daemon and machine; repositories "vault" (dedup, pulled into) and "plain" (qcow2, pushed into)."""

    def __init__(self, folder):
        self.folder = folder
        self.vm = Machine(folder)
        self.daemon = Daemon(folder / "d")
        self.ctl = self.daemon.ctl
        self.name = VM
        self.restores = 0

    def start(self, repository):
        self.repository = repository
        self.vm.start()
        self.vm.scribble_all(12)
        self.daemon.configure(scratch_reserve="1M")
        self.daemon.start()
        self.ctl("repo", "add", "vault", "--path", self.folder / "vault")
        self.ctl("repo", "add", "plain", "--type", "qcow2", "--path", self.folder / "plain")
        self.ctl("vm", "add", VM, "--qmp", self.vm.qmp)
        self.daemon.wait_vm(VM, "running")
        return self

    def restart(self):
        self.vm.stop()
        self.vm.start()
        self.daemon.wait_vm(self.name, "running")

    def backup(self):
        """Backs up all disks, restores them and compares. Returns {disk: (level, reason)}."""
        job = self.ctl("start", "--vm", self.name, "--repo", self.repository, "--wait")
        assert job["state"] == "completed", job
        self.restores += 1
        output = self.folder / ("r%d" % self.restores)
        self.ctl("restore", job["backup_id"], "--output", output, "--format", "raw", "--wait")
        for disk, content in self.vm.snapshot().items():
            file = output if len(self.vm.model) == 1 else output / (disk + ".raw")
            assert file.read_bytes() == content, "disk %s of %s is not what it was" % (disk, job["id"])
        return {disk["name"]: (disk["level"], disk["reason"]) for disk in job["disks"]}

    def check(self, **levels):
        """The next backup has these levels; ("full", "text of the reason") for one that says why."""
        self.vm.scribble_all(3)
        found = self.backup()
        assert set(found) == set(levels), found
        for disk, wanted in levels.items():
            level, reason = wanted if isinstance(wanted, tuple) else (wanted, "")
            assert found[disk][0] == level and reason in found[disk][1], found

    def check_shut_off(self, **levels):
        self.vm.stop()
        self.daemon.wait_vm(self.name, "shut off")
        found = self.backup()
        assert {disk: level for disk, (level, _) in found.items()} == levels, found


@pytest.fixture(params=["vault", "plain"])
def place(tmp_path, request):
    made = Place(tmp_path)
    try:
        yield made.start(request.param)
    finally:
        status = made.daemon.end()
        made.daemon.end_storage_daemons()
        made.vm.stop()
        print("--- log of backupd:\n%s" % made.daemon.tail(100))
    assert status == 0


def snapshot(place, disk):
    overlay = place.folder / (disk + "-overlay.qcow2")
    place.vm.execute("blockdev-snapshot-sync", node_name=place.vm.nodes[disk], snapshot_file=str(overlay), snapshot_node_name=disk + "-overlay", format="qcow2")
    return overlay


def commit(place, disk):
    """The overlay's content goes back into its base, which the device is attached to again."""
    place.vm.execute("block-commit", job_id="commit", device=disk + "-overlay")
    place.vm.monitor.wait_event("BLOCK_JOB_READY")
    place.vm.execute("block-job-complete", device="commit")
    place.vm.monitor.wait_event("BLOCK_JOB_COMPLETED")


def test_external_snapshot_and_back(place):
    place.check(vda="full", vdb="full")
    snapshot(place, "vda")
    place.check(vda=("full", "bitmap of checkpoint"), vdb="incremental")
    place.check(vda="incremental", vdb="incremental")
    place.vm.scribble_all(2)
    commit(place, "vda")
    place.check(vda=("full", "bitmap of checkpoint"), vdb="incremental")
    place.check(vda="incremental", vdb="incremental")
    place.check_shut_off(vda="incremental", vdb="incremental")


def test_external_snapshot_that_was_merged_before_the_next_backup(place):
    place.check(vda="full", vdb="full")
    snapshot(place, "vda")
    place.vm.scribble_all(4)
    commit(place, "vda")
    place.check(vda="incremental", vdb="incremental")


def test_overlay_made_while_it_is_shut_off(place):
    place.check(vda="full", vdb="full")
    place.vm.stop()
    overlay = place.folder / "over.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", place.vm.paths["vda"], "-F", "qcow2", overlay])
    place.vm.paths["vda"] = overlay
    place.vm.start()
    place.daemon.wait_vm(VM, "running")
    place.check(vda=("full", "bitmap of checkpoint"), vdb="incremental")
    place.check(vda="incremental", vdb="incremental")
    place.check_shut_off(vda="incremental", vdb="incremental")


def test_disks_come_and_go(place):
    place.check(vda="full", vdb="full")
    place.vm.add_disk("vdc", MIB)
    place.restart()
    place.check(vda="incremental", vdb="incremental", vdc=("full", "first backup of this disk"))
    away = place.vm.model.pop("vdb")
    place.restart()
    place.check(vda="incremental", vdc="incremental")
    place.check(vda="incremental", vdc="incremental")
    place.vm.model["vdb"] = away
    place.restart()
    place.check(vda="incremental", vdc="incremental", vdb="incremental")


def test_disk_is_plugged_in_while_it_runs(place):
    place.vm.more = ["-device", "virtio-scsi-pci,id=scsi"]
    place.restart()
    place.check(vda="full", vdb="full")
    image = place.folder / "vdc.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", image, MIB])
    place.vm.execute("blockdev-add", driver="qcow2", node_name="vdc-node", file={"driver": "file", "filename": str(image)})
    place.vm.execute("device_add", driver="scsi-hd", id="vdc", drive="vdc-node", bus="scsi.0")
    found = place.ctl("start", "--vm", VM, "--repo", place.repository, "--wait")
    assert {disk["name"]: disk["level"] for disk in found["disks"]} == {"vda": "incremental", "vdb": "incremental", "vdc": "full"}


def test_resize(place):
    place.check(vda="full", vdb="full")
    place.vm.execute("block_resize", node_name="vda-node", size=6 * MIB)
    place.vm.resize("vda", 6 * MIB)
    place.vm.write("vda", 5 * MIB, 65536, 7)
    place.check(vda="incremental", vdb="incremental")
    place.vm.execute("block_resize", node_name="vda-node", size=3 * MIB)
    place.vm.resize("vda", 3 * MIB)
    place.check(vda=("full", "shrank"), vdb="incremental")
    place.vm.execute("block_resize", node_name="vda-node", size=4 * MIB)
    place.vm.resize("vda", 4 * MIB)
    place.check(vda="incremental", vdb="incremental")


def test_resize_while_it_is_shut_off(place):
    place.check(vda="full", vdb="full")
    place.vm.stop()
    process.run(["qemu-img", "resize", "-q", "-f", "qcow2", place.vm.paths["vda"], 5 * MIB])
    place.vm.resize("vda", 5 * MIB)
    place.daemon.wait_vm(VM, "shut off")
    found = place.backup()
    assert {level for level, _ in found.values()} == {"incremental"}, found
    place.vm.start()
    place.daemon.wait_vm(VM, "running")
    place.check(vda="incremental", vdb="incremental")


def test_nodes_and_devices_get_other_names(place):
    place.check(vda="full", vdb="full")
    place.vm.nodes["vda"] = "another-node"
    place.restart()
    place.check(vda="incremental", vdb="incremental")
    place.vm.rename_disk("vdb", "data")
    place.restart()
    place.check(vda="incremental", data=("full", "first backup of this disk"))
    place.check(vda="incremental", data="incremental")


@pytest.mark.parametrize("files_too", [False, True])
def test_disks_exchange_their_names(place, files_too):
    """A checkpoint's bitmaps on two disks must not be taken for one another's."""
    place.check(vda="full", vdb="full")
    place.vm.stop()
    place.vm.scribble_all = lambda times=1: None
    for table in (place.vm.paths, place.vm.model):
        table["vda"], table["vdb"] = table["vdb"], table["vda"]
    for disk in ("vda", "vdb") if files_too else ():
        moved = place.folder / ("moved-%s.qcow2" % disk)
        place.vm.paths[disk] = place.vm.paths[disk].rename(moved)
    place.vm.start()
    place.daemon.wait_vm(VM, "running")
    place.check(vda="full", vdb="full")
    place.check(vda="incremental", vdb="incremental")


def test_image_is_moved(place):
    place.check(vda="full", vdb="full")
    place.vm.stop()
    place.vm.paths["vda"] = place.vm.paths["vda"].rename(place.folder / "elsewhere.qcow2")
    place.vm.start()
    place.daemon.wait_vm(VM, "running")
    place.check(vda="incremental", vdb="incremental")
    place.check_shut_off(vda="incremental", vdb="incremental")


def test_image_is_replaced_by_an_older_copy(place):
    """With the bitmaps of its time: the changes since then are in none of them."""
    place.check(vda="full", vdb="full")
    place.vm.stop()
    copy = (place.vm.paths["vda"].read_bytes(), bytearray(place.vm.model["vda"]))
    place.vm.start()
    place.daemon.wait_vm(VM, "running")
    place.check(vda="incremental", vdb="incremental")
    place.vm.stop()
    place.vm.paths["vda"].write_bytes(copy[0])
    place.vm.model["vda"] = copy[1]
    place.vm.start()
    place.daemon.wait_vm(VM, "running")
    place.check(vda=("full", "its image was replaced"), vdb="incremental")


def test_vm_gets_another_name(place):
    place.check(vda="full", vdb="full")
    place.ctl("vm", "remove", VM)
    place.ctl("vm", "add", "web02", "--qmp", place.vm.qmp)
    place.name = "web02"
    place.daemon.wait_vm("web02", "running")
    place.check(vda=("full", "first backup of this disk"), vdb=("full", "first backup of this disk"))
    place.check(vda="incremental", vdb="incremental")


def migrate(place, qmp):
    """To another QEMU on this machine, on the same images, that the daemon finds at the socket @qmp."""
    old = place.vm.process, place.vm.monitor
    channel = place.folder / "channel"
    place.vm.own, place.vm.qmp = place.folder / "own2.qmp", qmp
    place.vm.more = ["-incoming", "unix:%s" % channel]
    monitor = place.vm.monitor
    place.vm.start()
    monitor.execute("migrate", uri="unix:%s" % channel)
    process.wait_until(lambda: monitor.execute("query-migrate")["status"] == "completed", 30, "the migration to end")
    process.end(old[0])
    monitor.close()
    place.vm.more = []
    process.wait_until(lambda: place.vm.execute("query-status")["status"] == "running", 10, "the guest to run")


def test_migration_to_another_qemu_on_this_machine(place):
    place.check(vda="full", vdb="full")
    migrate(place, place.folder / "vm2.qmp")
    place.ctl("vm", "remove", VM)
    place.ctl("vm", "add", VM, "--qmp", place.vm.qmp)
    place.daemon.wait_vm(VM, "running")
    place.check(vda=("full", "no checkpoint any more"), vdb=("full", "no checkpoint any more"))
    place.check(vda="incremental", vdb="incremental")


def test_migration_behind_the_same_socket(place):
    """As a manager does that gives the VM's next QEMU the socket of the last."""
    place.check(vda="full", vdb="full")
    socket = place.vm.qmp
    migrate(place, place.folder / "vm2.qmp")
    socket.unlink(missing_ok=True)
    socket.symlink_to(place.vm.qmp)
    place.daemon.wait_vm(VM, "running", 40)
    place.check(vda="incremental", vdb="incremental")
    place.check_shut_off(vda="incremental", vdb="incremental")
