# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exports for programs that are not ours: they end, whatever the reader does, and no dirty bit is lost."""

import json
import subprocess

import process
import sweep
from proxy import Hold
from scene import VM, assert_same, show
from test_kill import kill_daemon, submit_commands
from test_vm_death import check_after_death
from vm import MIB


def begin(scene, *options):
    scene.pits = {}
    export = scene.ctl("export", "begin", "--vm", VM, *options)
    return wait(scene, export, ("ready",))


def wait(scene, export, states, seconds=40):
    def seen():
        now = scene.get("/v1/exports/" + export["id"])
        return now if now["state"] in states + ("ended", "failed") else None
    now = process.wait_until(seen, seconds, "export %s to be %s" % (export["id"], "/".join(states)))
    assert now["state"] in states, show(now)
    return now


def uri(export, disk="vda"):
    return next(entry["uri"] for entry in export["disks"] if entry["name"] == disk)


def read(scene, export):
    """All disks as another program gets them."""
    contents = {}
    for entry in export["disks"]:
        path = scene.folder / "read.raw"
        process.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", entry["uri"], path])
        contents[entry["name"]] = path.read_bytes()
        path.unlink()
    return contents


def check_read(scene, export, contents=None):
    for disk, content in (contents or read(scene, export)).items():
        assert_same(content[:len(scene.pits[disk])], scene.pits[disk], "disk %s of the export" % disk)


def dirty(entry):
    changes = json.loads(process.run(["nbdinfo", "--json", "--map=" + entry["dirty_context"], entry["uri"]]))
    return [(extent["offset"], extent["length"]) for extent in changes if extent["type"] & 1]


def check_after(scene, level="incremental"):
    scene.proxy.arm()
    scene.check_clean()
    scene.check_images(scene.check_next(level)["backup_id"])


def test_reader_gets_the_point_in_time(make_scene):
    scene = make_scene()
    scene.backup()
    export = begin(scene)
    scene.vm.scribble_all(10)
    check_read(scene, export)
    scene.vm.scribble_all(10)
    check_read(scene, export)
    assert scene.ctl("export", "list")["items"][0]["id"] == export["id"]
    ended = scene.ctl("export", "end", export["id"], "--success")
    assert ended["state"] == "ended" and ended["checkpoint_id"]
    assert scene.ctl("export", "list")["items"] == []
    check_after(scene)
    scene.check_contents()


def test_changes_since_a_checkpoint(make_scene):
    """Applied to what was read before, they give what is there now."""
    scene = make_scene()
    first = begin(scene)
    contents = {disk: bytearray(content) for disk, content in read(scene, first).items()}
    scene.vm.scribble_all(5)
    checkpoint = scene.ctl("export", "end", first["id"], "--success")["checkpoint_id"]
    for disk in scene.vm.model:
        scene.vm.zero(disk, MIB, 70000)
    second = begin(scene, "--since", checkpoint)
    scene.vm.scribble_all(5)
    now = read(scene, second)
    changed = {entry["name"]: dirty(entry) for entry in second["disks"]}
    for entry in second["disks"]:
        assert (entry["level"], entry["error"]) == ("differential", None)
        for offset, length in changed[entry["name"]]:
            contents[entry["name"]][offset:offset + length] = now[entry["name"]][offset:offset + length]
    check_read(scene, second, contents)
    scene.ctl("export", "end", second["id"], "--failed")
    third = begin(scene, "--since", checkpoint)
    for entry in third["disks"]:
        again = dirty(entry)
        for offset, length in changed[entry["name"]]:
            assert any(at <= offset and offset + length <= at + size for at, size in again), "%d is not dirty any more" % offset
    scene.ctl("export", "end", third["id"], "--success")
    scene.check_clean()


def test_failed_export_gives_the_changes_back(make_scene):
    scene = make_scene()
    scene.backup()
    scene.vm.scribble_all(4)
    export = begin(scene)
    scene.vm.scribble_all(4)
    failed = scene.ctl("export", "end", export["id"], "--failed")
    assert failed["state"] == "failed" and failed["checkpoint_id"] is None
    check_after(scene)
    scene.check_contents()


def test_cancelled_and_expired_exports(make_scene):
    scene = make_scene()
    scene.backup()
    export = begin(scene)
    scene.ctl("cancel", export["id"])
    wait(scene, export, ("failed",))
    check_after(scene)
    export = begin(scene, "--timeout", "2s")
    failed = wait(scene, export, ("failed",), 20)
    assert "within 2 seconds" in failed["error"]["message"]
    check_after(scene)
    scene.check_contents()


def test_disk_is_busy_while_it_is_exported(make_scene):
    scene = make_scene()
    export = begin(scene, "--disks", "vda")
    refused = scene.daemon.run("start", "--vm", VM, "--disks", "vda")
    assert refused.status == 5 and export["id"] in refused.err, refused
    refused = scene.daemon.run("export", "begin", "--vm", VM)
    assert refused.status == 5 and export["id"] in refused.err, refused
    scene.backup("--disks", "vdb")
    scene.ctl("export", "end", export["id"], "--success")
    scene.check_clean()


def test_export_survives_the_daemon(make_scene):
    """QEMU serves on; a new daemon ends it."""
    scene = make_scene()
    scene.backup()
    export = begin(scene)
    scene.daemon.kill()
    scene.vm.scribble_all(4)
    scene.daemon.start()
    scene.wait_vm()
    export = wait(scene, export, ("ready",))
    check_read(scene, export)
    assert scene.daemon.end() == 0
    scene.daemon.start()
    scene.wait_vm()
    export = wait(scene, export, ("ready",))
    check_read(scene, export)
    assert scene.ctl("export", "end", export["id"], "--success")["state"] == "ended"
    check_after(scene)
    scene.check_contents()


def test_reader_that_hangs_hurts_nobody(make_scene):
    """It takes no reply, while the guest writes, and is cut off at the end."""
    scene = make_scene(sizes={"vda": 24 * MIB, "vdb": 2 * MIB})
    scene.vm.write("vda", 0, 24 * MIB, 3)
    scene.backup()
    export = begin(scene)
    reader = subprocess.Popen(["nbdcopy", "--connections=1", "--requests=64", uri(export), "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        reader.stdout.read(65536)  # and no more: its pipe is full, and then its socket
        for _ in range(5):
            scene.vm.scribble_all(4)
        assert scene.vm.execute("query-status")["status"] == "running"
        assert scene.ctl("export", "end", export["id"], "--failed")["state"] == "failed"
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()
    check_after(scene)
    scene.check_contents()


def test_qemu_dies_while_it_is_read(make_scene):
    scene = make_scene()
    scene.backup()
    export = begin(scene)
    scene.vm.kill()
    scene.vm.start()
    scene.wait_vm()
    wait(scene, export, ("failed",), 90)
    check_after_death(scene, None, "an export")


def test_daemon_is_killed_at_each_command(make_scene):
    """While it begins and while it ends: ended or undone, never half."""
    scene = make_scene()
    scene.backup()
    scene.proxy.arm()
    export = begin(scene)
    scene.ctl("export", "end", export["id"], "--success")
    kinds = list(scene.proxy.kinds)
    numbers = [n for n in sweep.changing(kinds, sweep.each_kind(kinds)) if n > submit_commands(kinds)]
    for number in sweep.share(numbers, 0, 2):
        scene.vm.scribble_all()
        fault = scene.proxy.arm(Hold(number))
        job = begin_and_kill(scene, fault, kill_daemon("deliver" if number % 2 else "drop"))
        try:
            if job:
                now = wait(scene, job, ("ready", "ended", "failed"), 60)
                if now["state"] == "ready":
                    scene.ctl("export", "end", job["id"], "--success")
            check_after(scene)
        except Exception as error:
            raise AssertionError("after a kill at command %d, %s: %s" % (number, kinds[number - 1], error)) from error
    scene.check_contents()


def begin_and_kill(scene, fault, kill):
    """Begins an export, and ends it when it comes to that."""
    made = []

    def start(_scene, *_options):
        status, begun = scene.ask("POST", "/v1/exports", {"vm": VM})
        if status == 202:
            made.append(begun)
            path = "/v1/exports/" + made[0]["id"]
            process.wait_until(lambda: fault.happened.is_set() or scene.get(path)["state"] != "beginning", 40, "the export to be ready")
            if not fault.happened.is_set():
                ending = scene.ask("POST", path + "/end", {"result": "success"})
                assert ending[0] in (202, 409), ending
        return made[0] if made else None

    plain, sweep.start = sweep.start, start
    try:
        kill(scene, fault, ())
    finally:
        sweep.start = plain
    return made[0] if made else None
