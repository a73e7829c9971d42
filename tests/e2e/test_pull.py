# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pulls of a writing guest into a deduplicating repository, and what comes back from them."""

import pytest

import image
import process
from conftest import VM, disk_of, levels

BOTH_FULL = {"vda": "full", "vdb": "full"}
BOTH_INCREMENTAL = {"vda": "incremental", "vdb": "incremental"}


@pytest.fixture
def vault(site):
    """Backups go to "vault", a repository as it is made when nothing else is said."""
    site.ctl("repo", "add", "vault", "--path", site.folder / "vault")
    site.repository = "vault"
    plain = site.backup
    site.backup = lambda *options, status=0: plain("--repo", "vault", *options, status=status)
    slow = site.slow_backup
    site.slow_backup = lambda *options, speed="256K": slow("--repo", "vault", *options, speed=speed)
    return site


def stored(site):
    return sum(path.stat().st_blocks * 512 for path in (site.folder / "vault" / "packs").iterdir())


def test_full_and_incremental_come_back_as_they_were(vault):
    full = vault.backup()
    assert (full["state"], full["error"], full["mode"], levels(full)) == ("completed", None, "pull", BOTH_FULL)
    assert full["reason"] == "repository 'vault' is of type dedup"
    after_full = stored(vault)
    vault.guest.wait_steps(5)
    increment = vault.backup()
    assert (increment["state"], levels(increment)) == ("completed", BOTH_INCREMENTAL)
    assert all(disk["reason"] for disk in increment["disks"])
    for name in BOTH_FULL:
        disk = disk_of(increment, name)
        assert 0 < disk["bytes_transferred"] == disk["bytes_total"] < disk_of(full, name)["bytes_transferred"] // 2
        assert 0 < disk["bytes_different"] <= disk["bytes_total"]
        assert 0 < disk["bytes_new"]
    assert stored(vault) - after_full < after_full // 2
    vault.guest.wait_steps(3)

    before = vault.check_restored(full)
    after = vault.check_restored(increment, "qcow2")
    assert after["vda"].step >= before["vda"].step + 5
    vault.check_restored(increment)


def test_every_backup_is_whole(vault):
    """Older ones may go, and a disk that is read whole takes nearly nothing."""
    first = vault.backup()
    vault.guest.wait_steps(2)
    second = vault.backup()
    vault.ctl("backup", "delete", first["backup_id"], "--wait")
    vault.ctl("backup", "show", first["backup_id"], status=4)
    vault.check_restored(second)
    before = stored(vault)
    again = vault.backup("--level", "full")
    assert levels(again) == BOTH_FULL
    assert stored(vault) - before < 8 << 20, "what was there already was stored again"
    assert all(disk["parent"] is None for disk in vault.ctl("backup", "show", again["backup_id"])["disks"])
    vault.check_restored(again)


def test_push_does_not_go_there(vault):
    refused = vault.run("start", "--vm", VM, "--repo", "vault", "--mode", "push")
    assert refused.status == 2 and "use mode pull" in refused.err, refused
    refused = vault.run("start", "--vm", VM, "--mode", "pull")
    assert refused.status == 2 and "of type qcow2" in refused.err, refused
    plan = vault.ctl("start", "--vm", VM, "--repo", "vault", "--dry-run")
    assert plan["mode"] == "pull" and {disk["level"] for disk in plan["disks"]} == {"full"}


def test_cancelled_pull_costs_nothing(vault):
    vault.backup()
    vault.guest.wait_steps(2)
    job = vault.slow_backup("--level", "full")
    vault.ctl("cancel", job["id"])
    vault.ctl("watch", job["id"], status=8)
    increment = vault.backup()
    assert levels(increment) == BOTH_INCREMENTAL
    vault.check_restored(increment)


def test_pull_is_paused_and_goes_on(vault):
    job = vault.slow_backup("--level", "full")
    paused = vault.ctl("pause", job["id"])
    assert paused["state"] == "paused"
    vault.guest.wait_seconds(1.5)
    before = vault.ctl("status", job["id"])["bytes_transferred"]
    vault.guest.wait_seconds(2)
    assert vault.ctl("status", job["id"])["bytes_transferred"] == before
    vault.ctl("resume", job["id"])
    vault.ctl("speed", job["id"], "0")
    vault.ctl("watch", job["id"])
    done = vault.ctl("status", job["id"])
    done["synced"] = job["synced"]
    vault.check_restored(done)


def test_daemon_killed_while_it_reads(vault):
    """Our reader is gone, so the job is undone, and the next one gets all that the guest wrote."""
    vault.backup()
    vault.guest.wait_steps(2)
    job = vault.slow_backup("--level", "full")
    vault.daemon.kill()
    vault.guest.wait_steps(2)
    vault.daemon.start()
    failed = vault.daemon.wait_job(job["id"], lambda job: job["ended_at"], "to end")
    assert failed["state"] == "failed" and "start the backup again" in failed["error"]["message"]
    vault.daemon.wait_vm(VM, "running")
    process.wait_until(lambda: not vault.guest.leftovers(), 20, "QEMU to be clean; it still has %s" % vault.guest.leftovers())
    increment = vault.backup()
    assert levels(increment) == BOTH_INCREMENTAL
    vault.check_restored(increment)


def test_checkpoints_survive_a_restart_of_the_vm(vault):
    vault.backup()
    vault.guest.wait_steps(2)
    vault.guest.stop()
    vault.guest.start()
    vault.daemon.wait_vm(VM, "running")
    increment = vault.backup()
    assert levels(increment) == BOTH_INCREMENTAL
    vault.check_restored(increment)


def test_repository_is_found_again_by_another_daemon(vault):
    """With nothing but its folder."""
    job = vault.backup()
    wanted = vault.restore(job["backup_id"])
    vault.ctl("repo", "remove", "vault")
    vault.ctl("backup", "show", job["backup_id"], status=4)
    vault.ctl("repo", "add", "found", "--path", vault.folder / "vault")
    assert vault.restore(job["backup_id"]) == wanted


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_pull_to_a_target_of_its_own(site, form):
    target = site.folder / ("target." + form)
    job = site.backup("--mode", "pull", "--disks", "vda", "--target", target, "--format", form)
    assert (job["state"], job["mode"], job["repository"]) == ("completed", "pull", None)
    image.check_format(target, form)
    assert image.check_content(target, form, "vda", site.guest.writing).step >= job["synced"]


def test_trash_pin_verify_and_gc(vault):
    first, second = vault.backup(), vault.backup()
    assert vault.ctl("verify", first["backup_id"], "--wait")["state"] == "completed"
    assert vault.ctl("repo", "verify", "vault", "--wait")["state"] == "completed"
    assert vault.ctl("backup", "pin", first["backup_id"]).get("pinned")
    vault.ctl("backup", "delete", first["backup_id"], "--wait", status=5)
    assert not vault.ctl("backup", "unpin", first["backup_id"]).get("pinned")
    vault.ctl("backup", "delete", first["backup_id"], "--wait")
    assert vault.ctl("repo", "gc", "vault", "--wait")["state"] == "completed"
    assert vault.ctl("backup", "undelete", first["backup_id"])["id"] == first["backup_id"]
    vault.check_restored(first)
    vault.check_restored(second)


def test_damage_is_found_and_healed(vault):
    first = vault.backup()
    pack = max((vault.folder / "vault" / "packs").iterdir(), key=lambda path: path.stat().st_size)
    with open(pack, "r+b") as file:
        file.seek(pack.stat().st_size // 2)
        there = file.read(64)
        file.seek(pack.stat().st_size // 2)
        file.write(bytes(byte ^ 0xff for byte in there))
    failed = vault.ctl("repo", "verify", "vault", "--wait", status=9)
    assert first["backup_id"] in failed["error"]["message"] and "offset" in failed["error"]["message"]
    assert vault.ctl("backup", "show", first["backup_id"])["damaged"]
    output = vault.folder / "damaged.raw"
    for disk in BOTH_FULL:
        result = vault.run("restore", first["backup_id"], "--disk", disk, "--output", output, "--wait", "--force")
        assert result.status in (0, 9), result
    healing = vault.backup()
    assert "full" in levels(healing).values() and any("heals" in disk["reason"] for disk in healing["disks"])
    vault.check_restored(healing)


def test_copy_to_another_repository(vault):
    job = vault.backup()
    vault.ctl("repo", "add", "second", "--path", vault.folder / "second")
    copied = vault.ctl("backup", "copy", job["backup_id"], "--to", "second", "--wait")
    assert copied["state"] == "completed"
    vault.check_restored(job)
    vault.ctl("repo", "remove", "vault")
    assert [item["id"] for item in vault.ctl("backup", "list")["items"]] == [copied["backup_id"]]
    assert vault.ctl("backup", "show", copied["backup_id"])["copy_of"] == job["backup_id"]
    vault.check_restored(dict(job, backup_id=copied["backup_id"]))


def test_encrypted_repository(site):
    secret = site.folder / "secret"
    secret.write_text("correct horse battery staple\n")
    site.ctl("repo", "add", "safe", "--path", site.folder / "safe", "--passphrase-file", secret)
    job = site.backup("--repo", "safe")
    site.check_restored(job)
    assert site.daemon.end() == 0
    secret.write_text("wrong\n")
    site.daemon.start()
    assert site.ctl("repo", "show", "safe")["state"] == "locked"
    site.daemon.wait_vm(VM, "running")
    assert site.run("start", "--vm", VM, "--repo", "safe").status == 7
    secret.write_text("correct horse battery staple\n")
    increment = site.backup("--repo", "safe")
    assert levels(increment) == BOTH_INCREMENTAL
    site.check_restored(increment)


def test_restore_to_an_nbd_server(vault):
    job = vault.backup("--disks", "vda")
    copy, socket = vault.folder / "copy.raw", vault.folder / "nbd.sock"
    with open(copy, "wb") as file:
        file.write(b"old" * 100000)
        file.truncate(disk_of(job, "vda")["size"])
    server = process.start(["qemu-nbd", "--persistent", "--format=raw", "--socket=%s" % socket, copy])
    try:
        process.wait_until(socket.exists, 20, "qemu-nbd to listen")
        restored = vault.ctl("restore", job["backup_id"], "--disk", "vda", "--output", "nbd+unix:///?socket=%s" % socket, "--wait")
        assert restored["state"] == "completed"
    finally:
        process.end(server)
    assert image.check_content(copy, "raw", "vda", vault.guest.writing).step >= job["synced"]
