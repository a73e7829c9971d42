# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backups that are read in place: over NBD, and by backup-rescue without a daemon."""

import json
import os
import pathlib
import subprocess

import pytest

import process

RESCUE = os.environ["BACKUP_RESCUE"]


def sh(*command, status=0):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, "%s ended with status %d: %s%s" % (command, done.returncode, done.stdout, done.stderr)
    return done


def children(pid):
    """PIDs of the processes that a process has started, in all of its threads."""
    found = []
    for task in pathlib.Path("/proc/%d/task" % pid).iterdir():
        found += (task / "children").read_text().split()
    return [int(child) for child in found]


@pytest.fixture(params=["dedup", "qcow2"])
def stock(request, site):
    """A backup in a repository of either type, and its disks restored."""
    site.ctl("repo", "add", "stock", "--type", request.param, "--path", site.folder / "stock")
    site.guest.wait_steps(1)
    job = site.ctl("start", "--vm", "web01", "--repo", "stock", "--wait")
    site.ctl("restore", job["backup_id"], "--output", site.folder / "out", "--format", "raw", "--wait")
    site.backup_id, site.kind = job["backup_id"], request.param
    return site


def test_a_disk_is_served(stock):
    served = stock.ctl("serve", stock.backup_id, "--disk", "vda")
    raw = stock.folder / "out" / "vda.raw"
    assert int(sh("nbdinfo", "--size", served["uri"]).stdout) == raw.stat().st_size == served["size"]
    sh("qemu-img", "compare", "-f", "raw", "-F", "raw", served["uri"], raw)
    sh("nbdcopy", served["uri"], stock.folder / "copy.raw")
    sh("cmp", stock.folder / "copy.raw", raw)
    # Read-only, and it knows where nothing is.
    assert json.loads(sh("nbdinfo", "--json", served["uri"]).stdout)["exports"][0]["is_read_only"]
    assert any(row["type"] & 2 for row in json.loads(sh("nbdinfo", "--map", "--json", served["uri"]).stdout))
    other = stock.ctl("serve", stock.backup_id, "--disk", "vdb", "--listen", "tcp:127.0.0.1:0")
    assert other["uri"].startswith("nbd://127.0.0.1:")
    sh("qemu-img", "compare", "-f", "raw", "-F", "raw", other["uri"], stock.folder / "out" / "vdb.raw")
    assert [item["id"] for item in stock.ctl("serve", "list")["items"]] == [served["id"], other["id"]]
    stock.ctl("serve", "stop", served["id"])
    assert [item["id"] for item in stock.ctl("serve", "list")["items"]] == [other["id"]]
    assert subprocess.run(["nbdinfo", served["uri"]], capture_output=True).returncode != 0


def test_what_cannot_be_served_is_told(stock):
    for status, words, said in ((4, (stock.backup_id, "--disk", "vdx"), "it has vda, vdb"),
                                (4, ("NOTHING", "--disk", "vda"), "NOTHING"),
                                (2, (stock.backup_id, "--disk", "vda", "--listen", "tcp:192.0.2.1:0"), "loopback"),
                                (2, (stock.backup_id, "--disk", "vda", "--listen", "nonsense"), "listen")):
        refused = stock.run("serve", *words)
        assert refused.status == status and said in refused.err, refused
    assert stock.ctl("serve", "list")["items"] == []


def test_servers_end_with_the_daemon(stock):
    stock.ctl("serve", stock.backup_id, "--disk", "vda")
    pid = stock.daemon.process.pid
    servers = children(pid)
    assert len(servers) == 1
    stock.daemon.kill()
    process.wait_until(lambda: not pathlib.Path("/proc/%d" % servers[0]).exists() or
                       " Z " in pathlib.Path("/proc/%d/stat" % servers[0]).read_text(), 10, "the server to end")
    stock.daemon.start()
    assert stock.ctl("serve", "list")["items"] == []


def test_rescue_needs_no_daemon(stock):
    repository = stock.folder / "stock"
    if stock.kind == "qcow2":
        assert "another kind" in sh(RESCUE, "list", repository, status=5).stderr
        pytest.skip("qemu-img reads these")
    listed = sh(RESCUE, "list", repository).stdout
    assert stock.backup_id in listed and "web01" in listed and "vda" in listed
    sh(RESCUE, "verify", repository)
    sh(RESCUE, "extract", repository, stock.backup_id[:20], "--output", stock.folder / "saved")
    for disk in ("vda", "vdb"):
        sh("cmp", stock.folder / "saved" / (disk + ".raw"), stock.folder / "out" / (disk + ".raw"))
    again = sh(RESCUE, "extract", repository, stock.backup_id, "--disk", "vda", "--output", stock.folder / "saved" / "vda.raw", status=5)
    assert "--force" in again.stderr
    assert "it has vda, vdb" in sh(RESCUE, "extract", repository, stock.backup_id, "--disk", "no", "--output", "/tmp/x", status=4).stderr
    sh(RESCUE, "list", stock.folder, status=5)
    sh(RESCUE, "list", stock.folder / "nothing", status=4)
    sh(RESCUE, "extract", repository, status=2)


def test_what_is_damaged_is_not_given_out(stock):
    if stock.kind == "qcow2":
        pytest.skip("chains have no checksums")
    pack = sorted((stock.folder / "stock" / "packs").glob("*.pack"))[0]
    with open(pack, "r+b") as file:
        file.seek(8 + 48 + 10)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    repository, out = stock.folder / "stock", stock.folder / "salvaged"
    assert "offset" in sh(RESCUE, "verify", repository, status=9).stdout
    failed = sh(RESCUE, "extract", repository, stock.backup_id, "--output", out, status=9)
    assert "offset" in failed.stderr, failed
    assert not list(out.glob("*.part"))
    sh(RESCUE, "extract", repository, stock.backup_id, "--output", out, "--salvage", "--force", status=9)
    maps = list(out.glob("*.damaged"))
    assert maps
    disk = maps[0].name[:-len(".damaged")]
    saved, whole = (out / disk).read_bytes(), (stock.folder / "out" / disk).read_bytes()
    at, length = (int(word) for word in maps[0].read_text().split()[:2])
    assert saved[:at] == whole[:at] and saved[at + length:] == whole[at + length:]
    assert saved[at:at + length] == bytes(length)
    # Over NBD it is an error at that place alone.
    served = stock.ctl("serve", stock.backup_id, "--disk", disk[:-len(".raw")])
    assert subprocess.run(["nbdcopy", served["uri"], "null:"], capture_output=True).returncode != 0
    # The daemon finds it, and says what it touches.
    verified = stock.run("verify", stock.backup_id, "--wait")
    assert verified.status == 9, verified
    assert stock.ctl("backup", "show", stock.backup_id)["damaged"] is True
