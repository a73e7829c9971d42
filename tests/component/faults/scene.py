# SPDX-License-Identifier: LGPL-2.1-or-later
"""Daemon, proxy and VM, with a book of what each backup must bring back."""

import http.client
import json
import os
import pathlib
import shutil
import socket

import daemon as daemon_module
import process
import proxy as proxy_module
import vm as vm_module
from vm import MIB

VM = "web01"
ENDED = ("completed", "partial", "failed", "cancelled")
LONG = os.environ.get("BACKUPD_TEST_LONG") == "1"


class Daemon(daemon_module.Daemon):
    """With a configuration and an environment of the test's."""

    def __init__(self, folder):
        super().__init__(folder)
        self.config = self.folder / "backupd.conf"
        self.scratch = self.state / "scratch"
        self.environment = {}

    def configure(self, **keys):
        self.config.write_text("[daemon]\n" + "".join("%s = %s\n" % (key.replace("_", "-"), value) for key, value in keys.items()))

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            arguments = [self.backupd, "--config", self.config, "--state-dir", self.state, "--listen", self.address, "--verbose"]
            self.process = process.start(arguments, stdout=log, stderr=log, env=dict(daemon_module.environment(), **self.environment))
        if wait:
            process.wait_until(self._answers, 30, "backupd to listen")
        return self


class Scene:
    def __init__(self, folder, sizes=None, form="qcow2", scratch=None, reserve="1M", busy_guest=True, stall=None, pull=False, trash_days=None):
        self.folder = pathlib.Path(folder)
        self.vm = vm_module.Vm(self.folder, sizes or {"vda": 4 * MIB, "vdb": 2 * MIB + 512}, form)
        self.daemon = Daemon(self.folder / "d")
        keys = {"scratch_reserve": reserve}
        if trash_days is not None:
            keys["trash_days"] = trash_days
        if scratch:
            keys["scratch_dir"] = self.daemon.scratch = scratch
        if stall:
            self.daemon.environment["BACKUPD_NBD_STALL"] = str(stall)
        self.daemon.configure(**keys)
        self.socket = self.folder / "proxy.qmp"
        self.busy_guest = busy_guest
        self.pull = pull    # into a repository of type dedup
        self.pits = {}      # of the run at hand: {disk: content}
        self.contents = {}  # {backup: {disk: content}}
        self.elsewhere = set()  # backups to targets of their own
        self.restores = 0
        self.proxy = None

    def start(self):
        self.proxy = proxy_module.Proxy(self.socket, self.vm.qmp, self.before_command, self.busy_guest)
        self.vm.as_child = self.proxy.listen
        self.vm.start()
        self.vm.scribble_all(8)
        self.daemon.start()
        if not self.pull:
            self.daemon.use_qcow2()
        self.ctl("vm", "add", VM, "--qmp", self.socket)
        self.wait_vm()
        return self

    def close(self):
        """Returns the daemon's exit status."""
        status = self.daemon.end()
        self.daemon.end_storage_daemons()
        if self.proxy:
            self.proxy.close()
        self.vm.stop()
        return status

    def ctl(self, *arguments, status=0):
        return self.daemon.ctl(*arguments, status=status)

    def get(self, path):
        """GET of the REST interface; much quicker than a process of backupctl."""
        status, answer = self.ask("GET", path)
        assert status == 200, "%s: %s" % (path, answer)
        return answer

    def ask(self, method, path, body=None):
        """Returns the HTTP status and the document."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        try:
            connection.sock.connect(self.daemon.address[len("unix:"):])
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        return response.status, json.loads(answer)

    def job(self, job):
        return self.get("/v1/jobs/" + job["id"])

    def wait_vm(self):
        self.daemon.wait_vm(VM, "running", 40)

    # --- the guest ---

    def before_command(self, command):
        """Runs in the proxy's thread before each command: notes the points in time, and writes between commands, but not
        between the parts of one instant."""
        if command.name == "qom-set" and "-c" in command.arguments["value"]:
            disk = command.arguments["path"].split("/")[3]
            self.pits[disk] = bytes(self.vm.model[disk])
            return
        if command.name == "transaction":
            for action in command.arguments["actions"]:
                device = action["data"].get("device", "") if action["type"] == "blockdev-backup" else ""
                if device.endswith("-node"):
                    if not self.pits.get("direct"):
                        self.guest_writes()
                    self.pits.update(self.vm.snapshot(), direct=True)
                    return
        if command.name != "cont":
            self.guest_writes()

    def guest_writes(self):
        if self.busy_guest and self.vm.monitor is not None:
            self.vm.scribble_all()

    # --- backups ---

    def begin(self, *options):
        """start, without waiting. Returns the job."""
        self.pits = {}
        return self.ctl("start", "--vm", VM, *options)

    def wait_end(self, job, seconds=60):
        return self.wait_job(job, lambda job: job["state"] in ENDED, "to end", seconds)

    def wait_job(self, job, condition, what, seconds=60):
        def seen():
            now = self.job(job)
            return now if condition(now) else None
        return process.wait_until(seen, seconds, "job %s: %s" % (job["id"], what))

    def note(self, job):
        """Remembers what the backup of a job that has ended must hold; the job must say the truth about it."""
        listed = {backup["id"]: backup for backup in self.get("/v1/backups?limit=1000")["items"]}
        if job["state"] == "completed" and job["repository"] is None:
            self.elsewhere.add(job["backup_id"])
        elif job["state"] in ("completed", "partial"):
            backup = listed[job["backup_id"]]
            assert backup["state"] == job["state"]
            whole = {disk["name"] for disk in backup["disks"] if disk["state"] == "completed"}
            assert whole and (job["state"] == "partial") == (len(whole) < len(backup["disks"]))
            self.contents.setdefault(job["backup_id"], {disk: self.pits[disk] for disk in whole})
        else:
            assert job["error"]["code"] and job["error"]["message"], job
            assert job["state"] != "cancelled" or job["error"]["code"] == "cancelled", job
        assert set(listed) == set(self.contents) | self.elsewhere, "the catalog lists other backups than there are"
        return job

    def backup(self, *options, state="completed"):
        job = self.note(self.wait_end(self.begin(*options)))
        assert job["state"] == state, show(job)
        return job

    # --- what must hold ---

    def known_bitmaps(self):
        """{disk: [names, oldest first]} by the catalog."""
        known = {}
        for checkpoint in self.get("/v1/checkpoints?vm=" + VM)["items"]:
            for disk in checkpoint["disks"]:
                assert disk["state"] == "committed", "checkpoint %s is %s" % (checkpoint["id"], disk["state"])
                known.setdefault(disk["name"], []).append(disk["bitmap"])
        return known

    def provisional(self):
        return [item["id"] for item in self.get("/v1/checkpoints?vm=" + VM)["items"]
                if any(disk["state"] != "committed" for disk in item["disks"])]

    def check_clean(self, seconds=20, bitmaps=True):
        """Nothing is left of what was, but backups and their checkpoints. After the death of a QEMU the catalog knows of
        more of these than there are bitmaps."""
        process.wait_until(lambda: not self.vm.leftovers(), seconds, "QEMU to be clean; it has %s\n%s" % (self.vm.leftovers(), self.daemon.tail(60)))
        process.wait_until(lambda: not self.provisional(), seconds, "undone checkpoints: %s\n%s" % (self.provisional(), self.daemon.tail(60)))
        self.vm.check_guest()
        known, there = self.known_bitmaps(), self.vm.bitmaps()
        for disk in self.vm.model:
            names = [name for name in known.get(disk, []) if bitmaps or name in there.get(disk, {})]
            assert set(there.get(disk, {})) == set(names), "bitmaps of %s: QEMU has %s, the catalog %s\n%s" % (
                disk, sorted(there.get(disk, {})), names, self.daemon.tail(60))
            for name in names:
                entry = there[disk][name]
                assert not entry.get("inconsistent") and not entry["busy"]
                assert entry["recording"] == (name == names[-1]), "bitmap %s of %s: recording is %s" % (name, disk, entry["recording"])
        assert not set(there) - set(self.vm.model), "bitmaps on strange nodes: %s" % there
        self.check_files()

    def check_files(self):
        assert os.listdir(self.daemon.scratch) == []
        if self.pull:
            self.check_packs()
            return
        folder = self.daemon.state / "repository"
        if not folder.exists():
            folder = next((path.parent for path in self.daemon.state.rglob(VM) if path.is_dir()), self.daemon.state / "qcow2")
        there = {path.name for path in (folder / VM).iterdir()} if (folder / VM).exists() else set()
        assert there == set(self.contents), "folders of backups that are none: %s" % (there ^ set(self.contents))
        temporary = [str(path) for path in folder.rglob(".*")]
        assert not temporary, "temporary files are left: %s" % temporary

    def check_packs(self):
        folder = self.daemon.state / "default" / "backups" / VM
        # What a crash left of a file that was being written is hidden, and goes with the next gc.
        there = {path.name for path in folder.iterdir() if path.name[0] != "."} if folder.exists() else set()
        assert there == set(self.contents), "backups that are none: %s" % (there ^ set(self.contents))

    def check_content(self, backup):
        """Restores a backup and compares it with what the disks held."""
        self.restores += 1
        folder = self.folder / ("restore-%d" % self.restores)
        wanted = self.contents[backup]
        job = self.wait_end(self.ctl("restore", backup, "--disk", ",".join(wanted), "--output", folder, "--format", "raw"))
        assert job["state"] == "completed", show(job)
        if folder.is_dir():
            found = {path.stem: path.read_bytes() for path in folder.iterdir()}
        else:
            found = {disk: folder.read_bytes() for disk in wanted}
        assert set(found) == set(wanted)
        for disk, content in wanted.items():
            assert_same(found[disk], content, "backup %s, disk %s" % (backup, disk))
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()

    def check_contents(self, through_daemon=2):
        """All backups; the last ones by a restore, the others by qemu-img, which is faster."""
        backups = list(self.contents)
        if self.pull:
            through_daemon = len(backups)
        for backup in backups[:-through_daemon]:
            self.check_images(backup)
        for backup in backups[-through_daemon:]:
            self.check_content(backup)

    def check_images(self, backup):
        """The images in the repository, without a restore."""
        if self.pull:
            self.check_content(backup)
            return
        for disk in self.get("/v1/backups/" + backup)["disks"]:
            if disk["state"] != "completed":
                continue
            path = self.folder / "content.raw"
            process.run(["qemu-img", "convert", "-O", "raw", disk["file"], path])
            assert_same(path.read_bytes(), self.contents[backup][disk["name"]], "backup %s, disk %s" % (backup, disk["name"]),
                        now=self.vm.model[disk["name"]], before=self.before(backup).get(disk["name"], b""))
            path.unlink()

    def before(self, backup):
        """Content of the backup before @backup."""
        backups = [{}] + list(self.contents.values())
        return backups[list(self.contents).index(backup)]

    def check_next(self, level="incremental"):
        """The next backup works, and is of that level."""
        self.vm.scribble_all()
        job = self.backup()
        found = {disk["name"]: disk["level"] for disk in job["disks"]}
        assert set(found.values()) == {level}, "levels %s: %s\n%s" % (found, [disk["reason"] for disk in job["disks"]], self.daemon.tail(60))
        return job

    def check_disks(self):
        """The guest's own disks hold what the guest wrote; QEMU must have ended."""
        for disk, content in self.vm.model.items():
            path = self.folder / "disk.raw"
            process.run(["qemu-img", "convert", "-f", self.vm.form, "-O", "raw", self.vm.image(disk), path])
            assert_same(path.read_bytes(), bytes(content), "the guest's own disk %s" % disk)
            path.unlink()


def assert_same(found, wanted, what, **others):
    """@others: contents of other times, of which the message tells whether it is one of them at the first difference."""
    if found == wanted:
        return
    at = next((i for i in range(min(len(found), len(wanted))) if found[i] != wanted[i]), None)
    bad = [i for i in range(0, len(wanted), 65536) if found[i:i + 65536] != wanted[i:i + 65536]]
    like = [name for name, content in others.items() if at is not None and content[at:at + 512] == found[at:at + 512]]
    raise AssertionError("%s is wrong: %d of %d bytes, first at %s, clusters %s, there like %s" % (what, len(found), len(wanted), at, bad[:20], like))


def show(value):
    return json.dumps(value, indent=1)
