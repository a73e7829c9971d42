# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people type and what comes back: output, exit statuses, the verbs of a job."""

import daemon as daemon_module
from conftest import VM, levels


def test_start_prints_the_id_alone(site):
    started = site.run("start", "--vm", VM)
    assert started.status == 0, started
    identifier = started.out.strip()
    assert started.out == identifier + "\n" and " " not in identifier and identifier
    assert site.run("watch", identifier).status == 0
    job = site.ctl("status", identifier)
    assert (job["id"], job["kind"], job["vm"], job["state"]) == (identifier, "backup", VM, "completed")
    assert site.ctl("status", identifier[:-2])["id"] == identifier
    assert [entry["id"] for entry in site.ctl("list", "--vm", VM)["items"]] == [identifier]


def test_own_id_is_taken_once(site):
    assert site.backup("--id", "nightly.2026-11-23")["id"] == "nightly.2026-11-23"
    site.ctl("start", "--vm", VM, "--id", "nightly.2026-11-23", status=5)
    site.ctl("start", "--vm", VM, "--id", "no spaces", status=2)


def test_vm_shows_its_disks(site):
    vm = site.ctl("vm", "show", VM)
    assert vm["state"] == "running"
    disks = {disk["name"]: disk for disk in vm["disks"]}
    assert set(disks) == {"vda", "vdb"}
    assert all(disk["selected"] and disk["incremental"] and disk["format"] == "qcow2" for disk in disks.values())
    assert [entry["name"] for entry in site.ctl("vm", "list")["items"]] == [VM]


def test_dry_run_leaves_nothing(site):
    plan = site.ctl("start", "--vm", VM, "--dry-run")
    assert levels(plan) == {"vda": "full", "vdb": "full"}
    assert site.ctl("list")["items"] == []
    assert site.ctl("backup", "list")["items"] == []
    assert (site.guest.leftovers(), site.guest.bitmaps()) == (set(), {})
    site.backup()
    again = site.ctl("start", "--vm", VM, "--dry-run")
    assert levels(again) == {"vda": "incremental", "vdb": "incremental"}
    assert len(site.ctl("list")["items"]) == 1


def test_errors_name_what_there_is(site):
    missing = site.run("start", "--vm", VM, "--disks", "vdz")
    assert missing.status == 4 and "vda" in missing.err and "vdb" in missing.err, missing
    unknown = site.run("start", "--vm", "nobody")
    assert unknown.status == 4 and VM in unknown.err, unknown
    assert len(unknown.err.splitlines()) == 1, unknown
    assert site.run("start", "--vm", VM, "--level", "sometimes").status == 2
    assert site.run("frobnicate").status == 2
    site.ctl("status", "nothing", status=4)
    increment = site.run("start", "--vm", VM, "--level", "incremental")
    assert increment.status == 2 and increment.err.strip(), increment


def test_unreachable(site, tmp_path):
    assert site.run("list", host="unix:%s" % (tmp_path / "nobody.sock")).status == 6
    site.ctl("vm", "add", "off", "--qmp", tmp_path / "off.sock")
    assert {vm["name"]: vm["state"] for vm in site.ctl("vm", "list")["items"]}["off"] in ("connecting", "unreachable")
    site.ctl("start", "--vm", "off", status=6)
    site.ctl("vm", "remove", "off")


def test_busy_disk_is_a_conflict_and_another_is_not(site):
    busy = site.slow_backup("--disks", "vda")
    refused = site.run("start", "--vm", VM)
    assert refused.status == 5 and busy["id"] in refused.err, refused
    assert site.backup("--disks", "vdb")["state"] == "completed"
    site.ctl("vm", "remove", VM, status=5)
    site.ctl("cancel", busy["id"])
    assert site.run("watch", busy["id"]).status == 8


def test_cancel_costs_nothing(site):
    """Neither the earlier backup, nor the next increment, nor a change in it."""
    first = site.backup()
    site.guest.wait_steps(20)
    cancelled = site.slow_backup(speed="64K")
    assert levels(cancelled) == {"vda": "incremental", "vdb": "incremental"}
    assert "cancel" in cancelled["actions"]
    site.guest.wait_steps(2)
    site.ctl("cancel", cancelled["id"])
    site.ctl("watch", cancelled["id"], status=8)
    assert site.ctl("status", cancelled["id"])["state"] == "cancelled"
    site.ctl("cancel", cancelled["id"], status=5)
    assert [backup["id"] for backup in site.ctl("backup", "list")["items"]] == [first["backup_id"]]
    increment = site.backup()
    assert levels(increment) == {"vda": "incremental", "vdb": "incremental"}
    site.check_restored(increment)
    site.check_restored(first)


def test_pause_resume_speed(site):
    job = site.slow_backup()
    paused = site.ctl("pause", job["id"])
    assert (paused["state"], "resume" in paused["actions"]) == ("paused", True)
    site.ctl("pause", job["id"], status=5)
    before = site.daemon.job(job["id"])["bytes_transferred"]
    site.guest.wait_seconds(3)
    # What was on its way when it was paused may still arrive: one request, not three seconds of copying.
    assert site.daemon.job(job["id"])["bytes_transferred"] <= before + (2 << 20)
    assert site.ctl("resume", job["id"])["state"] == "running"
    assert site.ctl("speed", job["id"], "0")["speed"] == 0
    site.ctl("watch", job["id"])
    done = site.daemon.job(job["id"])
    assert (done["state"], done["actions"]) == ("completed", [])
    done["synced"] = job["synced"]
    site.check_restored(done)


def test_relative_paths_on_the_command_line(tmp_path, monkeypatch):
    """They start here, and are still right when the daemon has gone elsewhere."""
    monkeypatch.chdir(tmp_path)
    running = daemon_module.Daemon(".")
    assert running.address == "unix:backupd.sock"
    running.start()
    assert running.ctl("vm", "list")["items"] == []
    monkeypatch.chdir("/")
    elsewhere = running.run("repo", "list", host="unix:%s" % (tmp_path / "backupd.sock"))
    assert elsewhere.status == 0 and str(tmp_path / "state") in elsewhere.out, elsewhere
    monkeypatch.chdir(tmp_path)
    assert running.end() == 0
