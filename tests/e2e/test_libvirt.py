# SPDX-License-Identifier: LGPL-2.1-or-later
"""Domains of libvirt: a libvirtd of our own, domains that run, and what becomes of them and their backups."""

import filecmp
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import sys
import types

import pytest

import daemon as daemon_module
import guest as guest_module
import image
import libvirtd as libvirtd_module
import process

pytestmark = pytest.mark.skipif(not libvirtd_module.can_have_namespaces(), reason="this host gives no user namespaces to run a libvirtd in")

VM = "db"
FULL = {"vda": "full", "vdb": "full", "vdc": "full"}
INCREMENT = {"vda": "incremental", "vdb": "incremental", "vdc": "full"}  # vdc is raw: libvirt does not track it


@pytest.fixture(scope="module")
def libvirtd():
    with tempfile.TemporaryDirectory(prefix="backupd-virt-") as folder:
        running = libvirtd_module.Libvirtd(pathlib.Path(folder) / "l")
        try:
            yield running.start()
        finally:
            running.end()


@pytest.fixture
def domain(libvirtd, request):
    number = len(libvirtd.domains)
    libvirtd.domains.append(request.node.name)
    made = libvirtd_module.Domain(libvirtd, "db%d" % number, big=getattr(request, "param", 24)).define().start()
    yield made
    subprocess.run(["virsh", "-q", "-c", libvirtd.uri, "destroy", made.name], capture_output=True)


@pytest.fixture
def plain_daemon(tmp_path):
    running = daemon_module.Daemon(tmp_path / "daemon").start()
    try:
        yield running
    finally:
        status = running.end()
        print("--- log of backupd:\n%s" % running.tail(200))
    assert status == 0, "backupd ended with status %d: %s" % (status, running.tail())


class Site:
    def __init__(self, daemon, domain, folder):
        self.daemon, self.domain, self.folder = daemon, domain, folder
        self.ctl, self.run, self.libvirtd = daemon.ctl, daemon.run, domain.libvirtd
        self.count = 0

    def backup(self, *options, status=0):
        return self.ctl("start", "--vm", VM, *options, "--wait", status=status)

    def slow(self, *options):
        job = self.ctl("start", "--vm", VM, "--level", "full", "--speed", "1M", *options)
        return self.daemon.wait_job(job["id"], lambda job: job["state"] == "running" and job["bytes_transferred"] > 0, "to copy something")

    def now(self):
        self.count += 1
        return self.domain.content(self.folder / ("content-%d" % self.count))

    def check(self, job, expected):
        """The backup of @job holds what was on the disks then."""
        assert job["state"] == "completed", job["error"]
        self.count += 1
        folder = self.folder / ("restore-%d" % self.count)
        self.ctl("restore", job["backup_id"], "--output", folder, "--format", "raw", "--wait")
        for disk in job["disks"]:
            path = folder / (disk["name"] + ".raw") if len(job["disks"]) > 1 else folder
            assert filecmp.cmp(path, expected / (disk["name"] + ".raw"), shallow=False), "disk %s is not what it was" % disk["name"]

    def change(self, value):
        """A little on each disk: data, zeroes, and at a new place."""
        self.domain.write("vda", "write -P %d 8M 64k" % value, "write -P %d %dk 64k" % (value, 21 * 1024 + 64 * (value % 16)), "write -z %dM 128k" % (value % 8))
        self.domain.write("vdb", "write -P %d 1M 64k" % value)
        self.domain.write("vdc", "write -P %d 0 64k" % value)


@pytest.fixture
def site(plain_daemon, domain, tmp_path):
    plain_daemon.ctl("vm", "add", VM, "--libvirt", domain.libvirtd.uri, "--domain", domain.name)
    made = Site(plain_daemon, domain, tmp_path)
    yield made
    if subprocess.run(["virsh", "-q", "-c", domain.libvirtd.uri, "domstate", domain.name], capture_output=True, text=True).stdout.strip() == "running":
        process.wait_until(lambda: not domain.has_job(), 20, "the domain to have no job any more")
    leftovers = [path for place in ("scratch", "exports") for path in (plain_daemon.state / place).glob("**/bkd-*")]
    assert not leftovers


def levels(job):
    return {disk["name"]: disk["level"] for disk in job["disks"]}


# --- which domains there are ---

def test_domains_are_found_and_added(plain_daemon, libvirtd, domain):
    ctl, uri = plain_daemon.ctl, libvirtd.uri
    found = {one["name"]: one for one in ctl("vm", "discover", "--libvirt", uri)["items"]}
    assert found[domain.name]["state"] == "running" and found[domain.name]["vm"] is None
    refused = plain_daemon.run("vm", "add", "nobody", "--libvirt", uri)
    assert refused.status == 4 and domain.name in refused.err, refused
    assert plain_daemon.run("vm", "add", "x", "--libvirt", "qemu+unix:///session?socket=/nonexistent").status == 6
    assert plain_daemon.run("vm", "add", "x", "--libvirt", "nonsense").status == 2
    ctl("vm", "add", VM, "--libvirt", uri, "--domain", domain.name, "--class", "vda=os")
    refused = plain_daemon.run("vm", "add", "again", "--libvirt", uri, "--domain", found[domain.name]["uuid"])
    assert refused.status == 5 and "'%s'" % VM in refused.err, refused
    listed = ctl("vm", "list")["items"][0]
    assert (listed["state"], listed["libvirt"], listed["domain"], listed["uuid"]) == ("running", uri, domain.name, found[domain.name]["uuid"])
    shown = ctl("vm", "show", VM)
    disks = {disk["name"]: disk for disk in shown["disks"]}
    assert {name: (disk["size"], disk["format"], disk["incremental"]) for name, disk in disks.items()} == {
        "vda": (24 << 20, "qcow2", True), "vdb": (8 << 20, "qcow2", True), "vdc": (4 << 20, "raw", False)}
    assert disks["vda"]["class"] == "os" and "qcow2" in disks["vdc"]["reason"]
    ctl("vm", "discover", "--libvirt", uri, "--add")
    assert all(one["vm"] for one in ctl("vm", "discover", "--libvirt", uri)["items"])


def test_states_and_names_are_followed(site):
    site.domain.libvirtd.virsh("suspend", site.domain.name)
    site.daemon.wait_vm(VM, "paused")
    site.domain.libvirtd.virsh("resume", site.domain.name)
    site.daemon.wait_vm(VM, "running")
    site.domain.destroy()
    process.wait_until(lambda: site.ctl("vm", "list")["items"][0]["state"] == "shut off", 10, "the VM to be shut off")
    refused = site.run("start", "--vm", VM)
    assert refused.status == 5 and "start it" in refused.err, refused
    site.libvirtd.virsh("domrename", site.domain.name, site.domain.name + "-new")
    site.domain.name += "-new"
    site.domain.start()
    process.wait_until(lambda: site.ctl("vm", "list")["items"][0]["state"] == "running", 10, "the VM to run")
    assert site.ctl("vm", "show", VM)["domain"] == site.domain.name
    site.backup()
    assert site.ctl("vm", "list")["items"][0]["domain"] == site.domain.name


# --- backups ---

def test_what_is_written_meanwhile_is_not_in_it(site):
    before = site.now()
    job = site.slow()
    site.change(33)
    site.ctl("speed", job["id"], "0")
    site.check(site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end"), before)
    after = site.now()
    increment = site.backup()
    assert levels(increment) == INCREMENT
    site.check(increment, after)


def test_push_full_and_incremental(site):
    site.ctl("repo", "add", "images", "--type", "qcow2", "--path", site.folder / "images")
    first = site.now()
    full = site.backup("--repo", "images")
    assert (full["mode"], levels(full)) == ("push-direct", FULL)
    site.change(49)
    second = site.now()
    increment = site.backup("--repo", "images")
    assert levels(increment) == INCREMENT
    site.check(full, first)
    site.check(increment, second)
    site.change(50)
    third = site.now()
    site.backup("--target", site.folder / "aside")
    for disk in FULL:
        process.run(["qemu-img", "compare", site.folder / "aside" / (disk + ".qcow2"), third / (disk + ".raw")])


def test_disks_in_iothreads_are_pushed_only(plain_daemon, libvirtd, tmp_path):
    domain = libvirtd_module.Domain(libvirtd, "threads", iothread=True).define().start()
    try:
        plain_daemon.ctl("vm", "add", VM, "--libvirt", libvirtd.uri, "--domain", domain.name)
        refused = plain_daemon.run("start", "--vm", VM)
        assert refused.status == 2 and "iothread" in refused.err and "push" in refused.err, refused
        assert plain_daemon.ctl("start", "--vm", VM, "--disks", "vda", "--wait")["state"] == "completed"
        assert plain_daemon.ctl("start", "--vm", VM, "--target", tmp_path / "aside", "--wait")["state"] == "completed"
    finally:
        domain.destroy()


# --- one job a domain ---

def test_second_job_waits_and_says_so(site):
    first = site.slow("--disks", "vda")
    second = site.ctl("start", "--vm", VM, "--disks", "vdb")
    third = site.ctl("start", "--vm", VM)
    for job in second, third:
        job = site.daemon.job(job["id"])
        assert job["state"] == "queued" and first["id"] in job["reason"], job
    site.ctl("speed", first["id"], "0")
    for job in first, second, third:
        assert site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end")["state"] == "completed"


@pytest.mark.parametrize("domain", [1024], indirect=True)
def test_push_is_paused_and_slowed(site):
    """What is big enough is not through before libvirt hears of the speed."""
    job = site.slow("--disks", "vda", "--target", site.folder / "aside.qcow2")
    site.ctl("pause", job["id"])
    site.daemon.wait_job(job["id"], lambda job: job["state"] == "paused", "to be paused")
    time.sleep(3)  # what was under way may still arrive
    before = site.daemon.job(job["id"])["bytes_transferred"]
    time.sleep(3)
    assert site.daemon.job(job["id"])["bytes_transferred"] - before <= 1 << 20
    site.ctl("resume", job["id"])
    site.daemon.wait_job(job["id"], lambda job: job["bytes_transferred"] > before, "to go on")
    site.ctl("cancel", job["id"])
    assert site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end")["state"] == "cancelled"


def test_no_push_to_nbd(site):
    refused = site.run("start", "--vm", VM, "--disks", "vda", "--target", "nbd://localhost:1/x", "--wait")
    assert refused.status == 2 and "use mode pull" in refused.err, refused


def test_job_of_another_program_is_left_alone(site):
    xml = site.folder / "foreign.xml"
    xml.write_text("<domainbackup mode='pull'><server transport='unix' socket='%s'/><disks><disk name='vda' backup='yes' type='file'>"
                   "<scratch file='%s'/></disk></disks></domainbackup>" % (site.folder / "foreign.sock", site.folder / "foreign.scratch"))
    site.libvirtd.virsh("backup-begin", site.domain.name, xml)
    for disks in "vda", "vdb":
        refused = site.run("start", "--vm", VM, "--disks", disks)
        assert refused.status == 5 and "not ours" in refused.err, refused
    assert site.domain.has_job()
    site.libvirtd.virsh("domjobabort", site.domain.name)
    assert site.backup()["state"] == "completed"


# --- checkpoints ---

def test_many_checkpoints_beside_those_of_others(site):
    jobs = []
    for number in range(14):
        site.change(number + 1)
        if number % 4 == 1:
            site.domain.make_checkpoint("virtnbdbackup.%d" % (number // 4))
        jobs.append((site.backup(), site.now()))
        assert levels(jobs[-1][0]) == (INCREMENT if number else FULL), jobs[-1][0]["disks"]
    foreign = [name for name in site.domain.checkpoints() if name.startswith("virtnbdbackup")]
    assert len(foreign) == 4 and len(site.domain.ours()) == 14
    for number in 0, 5, 13:  # the oldest, one in the middle, the newest
        site.ctl("checkpoint", "delete", jobs[number][0]["backup_id"])
    site.ctl("backup", "delete", jobs[7][0]["backup_id"], "--wait")
    assert len(site.domain.ours()) == 10
    assert [name for name in site.domain.checkpoints() if name.startswith("virtnbdbackup")] == foreign
    site.change(99)
    now = site.now()
    last = site.backup()
    assert levels(last) == INCREMENT
    site.check(last, now)
    for number in 3, 11:
        site.check(*jobs[number])


def test_forgotten_checkpoints_are_made_known_again(site):
    site.backup()
    site.change(81)
    site.backup()
    for name in site.domain.ours():
        site.libvirtd.virsh("checkpoint-delete", site.domain.name, name, "--metadata")
    assert site.domain.ours() == []
    site.change(82)
    now = site.now()
    increment = site.backup()
    assert levels(increment) == INCREMENT
    assert len(site.domain.ours()) == 3
    site.check(increment, now)


def test_lost_bitmap_means_full_with_the_reason(site):
    site.backup()
    site.domain.destroy()
    for name in site.domain.ours():
        process.run(["qemu-img", "bitmap", "--remove", site.domain.path("vda"), name])
    site.domain.start()
    now = site.now()
    job = site.backup()
    assert levels(job) == {"vda": "full", "vdb": "incremental", "vdc": "full"}
    assert next(disk for disk in job["disks"] if disk["name"] == "vda")["reason"]
    site.check(job, now)
    site.change(83)
    now = site.now()
    job = site.backup()
    assert levels(job) == INCREMENT
    site.check(job, now)


def test_transient_domain(plain_daemon, libvirtd, tmp_path):
    """libvirt forgets it, and its checkpoints, whenever it is shut off; the bitmaps are in the images all the same."""
    domain = libvirtd_module.Domain(libvirtd, "passing", more="<uuid>9a17a425-d866-4923-804b-eb7ebe6de6f0</uuid>").create()
    try:
        plain_daemon.ctl("vm", "add", VM, "--libvirt", libvirtd.uri, "--domain", domain.name)
        site = Site(plain_daemon, domain, tmp_path)
        site.backup()
        site.change(5)
        site.backup()
        domain.destroy()
        shown = site.ctl("vm", "show", VM)
        assert "no domain" in shown["reason"], shown
        assert site.run("start", "--vm", VM).status == 4
        domain.create()
        assert domain.checkpoints() == []
        site.change(6)
        now = site.now()
        increment = site.backup()
        assert levels(increment) == INCREMENT, increment["disks"]
        site.check(increment, now)
    finally:
        subprocess.run(["virsh", "-q", "-c", libvirtd.uri, "destroy", domain.name], capture_output=True)


# --- exports ---

def test_export_shows_the_disks_and_what_changed(site):
    before = site.now()
    export = site.ctl("export", "begin", "--vm", VM, "--disks", "vda,vdb")
    site.change(7)
    shown = site.ctl("export", "show", export["id"])
    for disk in shown["disks"]:
        process.run(["nbdcopy", disk["uri"], site.folder / ("%s.copy" % disk["name"])])
        assert filecmp.cmp(site.folder / ("%s.copy" % disk["name"]), before / ("%s.raw" % disk["name"]), shallow=False)
    site.ctl("export", "end", export["id"], "--success")
    process.wait_until(lambda: site.ctl("export", "show", export["id"])["state"] == "ended", 20, "the export to end")
    second = site.ctl("export", "begin", "--vm", VM, "--disks", "vdb", "--since", export["id"])
    disk = site.ctl("export", "show", second["id"])["disks"][0]
    dirty = json.loads(process.run(["nbdinfo", "--json", "--map=" + disk["dirty_context"], disk["uri"]]))
    assert [(area["offset"], area["length"]) for area in dirty if area["type"] == 1] == [(1 << 20, 64 << 10)]
    site.ctl("export", "end", second["id"], "--failed")
    process.wait_until(lambda: not site.domain.has_job(), 20, "the export to end")


# --- a domain again ---

@pytest.fixture
def furnished(plain_daemon, libvirtd, tmp_path):
    """With NVRAM, a password for its display, and a CD drive's worth of secrets to keep."""
    more = "<description>kept as it was</description>"
    domain = libvirtd_module.Domain(libvirtd, "furnished%d" % len(libvirtd.domains), more=more, nvram=True)
    libvirtd.domains.append(domain.name)
    xml = domain.xml.read_text().replace("<interface", "<graphics type='vnc' socket='%s' passwd='geheim12'/><interface" % (domain.folder / "vnc"))
    domain.xml.write_text(xml)
    domain.define().start()
    plain_daemon.ctl("vm", "add", VM, "--libvirt", libvirtd.uri, "--domain", domain.name)
    yield Site(plain_daemon, domain, tmp_path)
    for name in (domain.name, "again", "kept"):
        for verb in (["destroy"], ["undefine", "--nvram"]):
            subprocess.run(["virsh", "-q", "-c", libvirtd.uri, verb[0], name, *verb[1:]], capture_output=True)


def identity(libvirtd, name):
    xml = libvirtd.virsh("dumpxml", "--inactive", name)
    return re.search("<uuid>(.*)</uuid>", xml).group(1), re.search("<mac address='(.*)'/>", xml).group(1), xml


@pytest.mark.parametrize("kind", ["dedup", "qcow2"])
def test_backup_becomes_a_domain_again(furnished, kind):
    site, libvirtd = furnished, furnished.libvirtd
    site.ctl("repo", "add", "kept", "--type", kind, "--path", site.folder / "kept")
    before = site.now()
    job = site.backup("--repo", "kept")
    assert "geheim12" not in json.dumps([site.ctl("vm", "show", VM), site.ctl("backup", "show", job["backup_id"]), job])
    again = ["restore", job["backup_id"], "--libvirt", libvirtd.uri, "--wait"]
    refused = site.run(*again, "--define", site.domain.name, "--output", site.folder / "never")
    assert refused.status == 5 and "already" in refused.err, refused
    assert not (site.folder / "never").exists()
    site.ctl(*again, "--define", "again", "--output", site.folder / "again")
    old, new = identity(libvirtd, site.domain.name), identity(libvirtd, "again")
    assert old[0] != new[0] and old[1] != new[1]
    assert "kept as it was" in new[2] and str(site.domain.folder / "vda") not in new[2]
    assert (site.folder / "again/again.nvram").read_bytes() == site.domain.nvram.read_bytes()
    secure = libvirtd.virsh("dumpxml", "--inactive", "--security-info", "again")
    assert "passwd='geheim12'" in secure
    for disk in FULL:
        process.run(["qemu-img", "compare", site.folder / "again" / (disk + ".qcow2"), before / (disk + ".raw")])
    site.domain.destroy()
    libvirtd.virsh("start", "again")
    assert libvirtd.virsh("domstate", "again").strip() == "running"
    libvirtd.virsh("destroy", "again")
    libvirtd.virsh("undefine", "--nvram", "--checkpoints-metadata", site.domain.name)
    site.ctl(*again, "--define", "kept", "--output", site.folder / "kept-files", "--keep-identity")
    assert identity(libvirtd, "kept")[:2] == old[:2]
    libvirtd.virsh("start", "kept")


def test_what_was_no_domain_does_not_become_one(site, tmp_path):
    job = site.backup("--target", tmp_path / "aside")
    refused = site.run("restore", job["backup_id"], "--output", tmp_path / "x", "--define", "x", "--libvirt", site.libvirtd.uri)
    assert refused.status == 2 and "/define" in refused.err, refused
    for wrong in (["--define", "x"], ["--libvirt", site.libvirtd.uri], ["--keep-identity"]):
        refused = site.run("restore", site.backup()["backup_id"], "--output", tmp_path / "x", *wrong)
        assert refused.status == 2, refused


# --- trouble ---

def check_next_increment(site):
    site.change(98)
    after = site.now()
    increment = site.backup()
    assert levels(increment) == INCREMENT, increment["disks"]
    site.check(increment, after)


def restart_libvirtd(site, seconds=1):
    site.libvirtd.kill()
    time.sleep(seconds)
    site.libvirtd.start()


def test_libvirtd_killed_in_a_pull(site):
    """The job in QEMU goes on without it, and so does ours."""
    site.backup()
    site.change(97)
    before = site.now()
    job = site.slow()
    restart_libvirtd(site)
    site.ctl("speed", job["id"], "0")
    job = site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end", 120)
    site.check(job, before)
    check_next_increment(site)


@pytest.mark.parametrize("domain", [256], indirect=True)
def test_libvirtd_killed_in_a_push(site):
    site.backup()
    site.change(97)
    job = site.slow("--disks", "vda", "--target", site.folder / "aside.qcow2")
    restart_libvirtd(site)
    site.ctl("speed", job["id"], "0")
    job = site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end", 120)
    assert job["state"] == "completed" or (job["state"] == "failed" and "libvirt" in job["error"]["message"]), job
    check_next_increment(site)


def test_domain_that_ends_meanwhile(site):
    site.backup()
    site.change(113)
    job = site.slow()
    site.domain.destroy()
    job = site.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end")
    vda = next(disk for disk in job["disks"] if disk["name"] == "vda")
    assert job["state"] in ("failed", "partial") and vda["state"] == "failed" and vda["error"], job
    site.domain.start()
    after = site.now()
    increment = site.backup()
    assert levels(increment)["vdb"] in ("incremental", "full")
    site.check(increment, after)


def test_stopped_libvirtd_stalls_only_its_own(site, tmp_path):
    image = tmp_path / "other.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "16M"])
    other = process.start(["qemu-system-x86_64", "-accel", "tcg", "-S", "-nodefaults", "-display", "none", "-m", "32",
                           "-qmp", "unix:%s,server=on,wait=off" % (tmp_path / "qmp"),
                           "-blockdev", "driver=qcow2,node-name=vda,file.driver=file,file.filename=%s" % image, "-device", "virtio-blk-pci,id=vda,drive=vda"])
    try:
        site.ctl("vm", "add", "other", "--qmp", tmp_path / "qmp")
        process.wait_until(lambda: site.ctl("vm", "show", "other").get("disks"), 20, "the other VM to be connected")
        site.libvirtd.signal(signal.SIGSTOP)
        begun = time.monotonic()
        for _ in range(3):
            assert site.ctl("start", "--vm", "other", "--wait")["state"] == "completed"
        assert time.monotonic() - begun < 15
        refused = site.run("start", "--vm", VM)
        assert refused.status == 6 and "does not answer" in refused.err, refused
        assert site.ctl("vm", "show", VM)["state"] == "unreachable"
        site.libvirtd.signal(signal.SIGCONT)
        site.daemon.wait_vm(VM, "running", 60)
        assert site.backup()["state"] == "completed"
    finally:
        site.libvirtd.signal(signal.SIGCONT)
        process.kill(other)


def test_restarted_daemon(site):
    """A pull is undone when the daemon has been killed; the next backup is an increment."""
    site.backup()
    site.change(121)
    site.slow()
    site.daemon.kill()
    site.daemon.start()
    process.wait_until(lambda: not site.domain.has_job(), 30, "what the killed daemon left to go")
    after = site.now()
    increment = site.backup()
    assert levels(increment) == INCREMENT
    site.check(increment, after)


# --- a guest that writes, with an agent ---

BOOTED = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{built}/vmlinuz</kernel><initrd>{built}/initrd-agent.gz</initrd>
<cmdline>console=ttyS0 loglevel=4 panic=-1 writer_pause=0.05 writer_kib={writing.kib} writer_keep={writing.keep} agent=1</cmdline></os>
<features><acpi/></features><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{disks}
<serial type='file'><source path='{console}'/></serial>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></domain>"""


@pytest.fixture
def booted(libvirtd, built, tmp_path):
    """(name, guest.Guest): the throw-away guest, run by libvirt."""
    guest = guest_module.Guest(tmp_path / "vm", *built, ballast={"vda": 4 << 20, "vdb": 1 << 20}, agent=True)
    guest.process = types.SimpleNamespace(poll=lambda: None)
    guest.console.write_text("")
    disks = "".join(libvirtd_module.DISK.format(name=disk, format="qcow2", path=path, driver=" discard='unmap'") for disk, path in guest.disks.items())
    xml = tmp_path / "booted.xml"
    xml.write_text(BOOTED.format(name="booted", built=built[0], disks=disks, console=guest.console, writing=guest.writing))
    libvirtd.virsh("create", xml)
    try:
        guest.wait_line("guest ready, next step", guest_module.BOOT_SECONDS)
        process.wait_until(lambda: subprocess.run(["virsh", "-q", "-c", libvirtd.uri, "qemu-agent-command", "booted", '{"execute":"guest-ping"}'],
                                                  capture_output=True).returncode == 0, 60, "the agent to answer")
        yield "booted", guest
    finally:
        subprocess.run(["virsh", "-q", "-c", libvirtd.uri, "destroy", "booted"], capture_output=True)


def test_writing_guest_is_frozen_by_its_agent_through_libvirt(plain_daemon, libvirtd, booted, tmp_path):
    name, guest = booted
    plain_daemon.ctl("vm", "add", VM, "--libvirt", libvirtd.uri, "--domain", name)
    for level in "full", "incremental":
        guest.wait_steps(3)
        synced = guest.synced()
        job = plain_daemon.ctl("start", "--vm", VM, "--quiesce", "agent", "--wait")
        assert (job["state"], set(levels(job).values())) == ("completed", {level})
        assert job["quiesce"]["quiesced"] and job["quiesce"]["file_systems"] == 2 and job["quiesce"]["thawed"], job["quiesce"]
        folder = tmp_path / ("restored-" + level)
        plain_daemon.ctl("restore", job["backup_id"], "--output", folder, "--format", "raw", "--wait")
        contents = {disk: image.check_content(folder / (disk + ".raw"), "raw", disk, guest.writing) for disk in ("vda", "vdb")}
        image.check_order(contents, synced)
        for disk in "vda", "vdb":
            assert "needs_recovery" not in process.run(["dumpe2fs", "-h", folder / (disk + ".raw")])
    before = guest.synced()
    process.wait_until(lambda: guest.synced() > before, 30, "the guest to write on")


# What the daemon starts as its thaw guard: the guard, whose reports are noted, and a signal for the daemon as soon as one says "frozen".
WIRETAP = """#!{python}
import os, pathlib, subprocess, sys
folder = pathlib.Path({folder!r})
guard = subprocess.Popen([{guard!r}, *sys.argv[1:]], stdout=subprocess.PIPE)
for line in guard.stdout:
    if b'"frozen"' in line and not (folder / "reports").exists():
        os.kill(int((folder / "pid").read_text()), {number})
    if b'"ready"' not in line:
        with open(folder / "reports", "ab") as reports:
            reports.write(line)
    try:
        os.write(1, line)
    except BrokenPipeError:
        pass
sys.exit(guard.wait())
"""


@pytest.fixture
def tapped_daemon(tmp_path, request):
    """Gets the signal request.param as soon as the guest is frozen, once. .reports(): what the guard said from then on."""
    running = daemon_module.Daemon(tmp_path / "daemon")
    tap = running.folder / "wiretap"
    guard = str(daemon_module.program("THAW_GUARD", "daemon/guard/thaw-guard"))
    tap.write_text(WIRETAP.format(python=sys.executable, folder=str(running.folder), guard=guard, number=int(request.param)))
    tap.chmod(0o755)
    running.wrapper = ["env", "BACKUPD_THAW_GUARD=%s" % tap]
    running.start()
    (running.folder / "pid").write_text(str(running.process.pid))
    running.reports = lambda: [json.loads(line) for line in (running.folder / "reports").read_text().splitlines()] \
        if (running.folder / "reports").exists() else []
    try:
        yield running
    finally:
        running.process.send_signal(signal.SIGCONT) if running.process.poll() is None else None
        running.end()
        print("--- log of backupd:\n%s" % running.tail(200))


@pytest.mark.parametrize("tapped_daemon", [signal.SIGKILL, signal.SIGSTOP], indirect=True)
def test_guest_is_thawed_without_the_daemon(tapped_daemon, libvirtd, booted):
    """By the guard: at once when the daemon is killed, and when it hangs at the limit of ten seconds."""
    name, guest = booted
    tapped_daemon.ctl("vm", "add", VM, "--libvirt", libvirtd.uri, "--domain", name)
    job = tapped_daemon.ctl("start", "--vm", VM, "--quiesce", "agent")
    process.wait_until(lambda: [report["state"] for report in tapped_daemon.reports()] == ["frozen", "thawed"], 60, "the guest to be frozen and thawed")
    killed = tapped_daemon.process.poll() is not None
    frozen, thawed = tapped_daemon.reports()
    assert frozen["file_systems"] == 2 and not thawed.get("held") and thawed["reason"], thawed
    assert thawed["frozen_us"] < 8e6 if killed else 9e6 < thawed["frozen_us"] < 20e6
    said = libvirtd.virsh("qemu-agent-command", name, '{"execute":"guest-fsfreeze-status"}')
    assert json.loads(said)["return"] == "thawed"
    before = guest.synced()
    process.wait_until(lambda: guest.synced() > before, 30, "the guest to write on")
    if killed:
        tapped_daemon.start()
    else:
        tapped_daemon.process.send_signal(signal.SIGCONT)
    ended = tapped_daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end", 120)
    assert ended["state"] == "failed" and ended["quiesce"]["thawed"] and not ended["quiesce"]["quiesced"], ended
    again = tapped_daemon.ctl("start", "--vm", VM, "--quiesce", "agent", "--wait")
    assert again["quiesce"]["quiesced"], again


def test_agent_that_does_not_run_is_no_reason_to_fail(plain_daemon, libvirtd):
    """The domain has a channel for it, but no system in it."""
    domain = libvirtd_module.Domain(libvirtd, "silent")
    channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    domain.xml.write_text(domain.xml.read_text().replace("<interface", channel + "<interface"))
    domain.create()
    try:
        plain_daemon.ctl("vm", "add", VM, "--libvirt", libvirtd.uri, "--domain", domain.name)
        job = plain_daemon.ctl("start", "--vm", VM, "--wait")
        assert not job["quiesce"]["quiesced"] and "agent is not connected" in job["quiesce"]["reason"], job
        failed = plain_daemon.ctl("start", "--vm", VM, "--quiesce", "agent", "--wait", status=1)
        assert "agent is not connected" in failed["error"]["message"] and not domain.has_job(), failed
        assert len(domain.ours()) == 1
    finally:
        domain.destroy()


def test_no_agent_is_no_reason_to_fail(site):
    job = site.backup()
    assert not job["quiesce"]["quiesced"] and "agent is not configured" in job["quiesce"]["reason"]
    failed = site.backup("--quiesce", "agent", status=1)
    assert "agent is not configured" in failed["error"]["message"]
    process.wait_until(lambda: not site.domain.has_job(), 10, "nothing to be left")
