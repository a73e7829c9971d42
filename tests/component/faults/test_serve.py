# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks that are served while their backups are deleted."""

import os
import shutil
import signal
import subprocess
import time

import pytest

import process
from scene import VM, assert_same
from vm import MIB


def read(scene, served):
    """All of it, through a connection of its own."""
    path = scene.folder / "served.raw"
    process.run(["nbdcopy", served["uri"], path])
    content = path.read_bytes()
    path.unlink()
    return content


def delete(scene, backup):
    job = scene.wait_end(scene.ctl("backup", "delete", backup))
    assert job["state"] == "completed", job
    return scene.contents.pop(backup)


def test_an_image_that_is_served_stays(make_scene):
    scene = make_scene()
    first, second = scene.backup()["backup_id"], scene.check_next()["backup_id"]
    served = scene.ctl("serve", second, "--disk", "vda")
    for backup in (first, second):  # any number at once
        scene.ctl("serve", "stop", scene.ctl("serve", backup, "--disk", "vda")["id"])
    # Neither it, nor what it stands on.
    for backup in (second, first):
        refused = scene.daemon.run("backup", "delete", backup)
        assert refused.status == 5 and "backupctl serve stop " + served["id"] in refused.err, refused
    assert_same(read(scene, served), scene.contents[second]["vda"], "what is served")
    # The job that begins is no delete that waits for the serve's end.
    assert scene.ctl("list", "--vm", VM)["items"][0]["kind"] == "backup"
    scene.ctl("serve", "stop", served["id"])
    delete(scene, first)
    # What had been an increment stands for itself now.
    served = scene.ctl("serve", second, "--disk", "vda")
    assert_same(read(scene, served), scene.contents[second]["vda"], "what is served")
    assert scene.daemon.run("backup", "delete", second).status == 5
    scene.ctl("serve", "stop", served["id"])
    delete(scene, second)


THIEF = """#!/bin/sh
# The first time, another program takes the port before the server has it.
real=%(real)s
for word; do case $word in --port=*) port=${word#--port=} ;; esac; done
if [ -n "$port" ] && [ ! -e %(marker)s ]; then
    /usr/bin/python3 -c "
import os, socket, time
taken = socket.create_server(('127.0.0.1', $port))
open('%(marker)s.new', 'w').write('%%d %%d' %% (os.getpid(), $port))
os.rename('%(marker)s.new', '%(marker)s')
time.sleep(60)" </dev/null >/dev/null 2>&1 &
    while [ ! -e %(marker)s ]; do sleep 0.05; done
fi
exec "$real" "$@"
"""


@pytest.mark.parametrize("pull, server", [(True, "nbdkit"), (False, "qemu-nbd")])
def test_a_port_that_is_taken_meanwhile(make_scene, tmp_path, pull, server):
    """What is told to be free need not be so when the server comes for it; and who listens there need not be the server."""
    bin, marker = tmp_path / "bin", tmp_path / "thief"
    bin.mkdir()
    (bin / server).write_text(THIEF % {"real": shutil.which(server), "marker": marker})
    (bin / server).chmod(0o755)
    scene = make_scene(pull=pull, sizes={"vda": 4 * MIB, "vdb": 2 * MIB})
    backup = scene.backup()["backup_id"]
    assert scene.daemon.end() == 0
    scene.daemon.environment["PATH"] = "%s:%s" % (bin, os.environ["PATH"])
    scene.daemon.start()
    served = scene.ctl("serve", backup, "--disk", "vda", "--listen", "tcp:127.0.0.1:0")
    thief, port = (int(word) for word in marker.read_text().split())
    try:
        assert ":%d/" % port not in served["uri"]
        assert_same(read(scene, served), scene.contents[backup]["vda"], "what is served")
        # A port that was asked for is not exchanged for another.
        refused = scene.daemon.run("serve", backup, "--disk", "vdb", "--listen", "tcp:127.0.0.1:%d" % port)
        assert refused.status == 5 and str(port) in refused.err, refused
        assert [item["id"] for item in scene.ctl("serve", "list")["items"]] == [served["id"]]
    finally:
        os.kill(thief, signal.SIGKILL)
    scene.ctl("serve", "stop", served["id"])
    assert os.listdir(scene.daemon.state / "serve") == []


def test_what_is_being_deleted_is_not_served(make_scene):
    """The delete waits for a backup that is under way."""
    scene = make_scene(sizes={"vda": 4 * MIB, "vdb": 2 * MIB})
    first, second = scene.backup()["backup_id"], scene.check_next()["backup_id"]
    slow = scene.begin("--level", "full", "--speed", "100K")
    scene.wait_job(slow, lambda job: job["state"] == "running", "to run")
    job = scene.ctl("backup", "delete", first)
    refused = scene.daemon.run("serve", second, "--disk", "vda")
    assert refused.status == 5 and job["id"] in refused.err, refused
    scene.ctl("cancel", slow["id"])
    assert scene.wait_end(job)["state"] == "completed"
    scene.contents.pop(first)
    scene.note(scene.wait_end(slow))
    scene.check_contents()


def test_a_reader_of_packs_keeps_what_it_reads(make_scene):
    """The backup goes to the trash, and from there only when nobody reads any more."""
    scene = make_scene(sizes={"vda": 4 * MIB, "vdb": 2 * MIB}, pull=True, trash_days=0)
    scene.vm.write_data("vda", 0, scene.vm.random.randbytes(2 * MIB))
    backup = scene.backup()["backup_id"]
    served = scene.ctl("serve", backup, "--disk", "vda")
    content = delete(scene, backup)["vda"]
    time.sleep(1.2)
    job = scene.ctl("repo", "gc", "default", "--wait")
    assert "another process reads" in job["reason"], job
    assert_same(read(scene, served), content, "what is served")
    assert scene.daemon.run("serve", backup, "--disk", "vda").status == 4
    scene.ctl("serve", "stop", served["id"])
    job = scene.ctl("repo", "gc", "default", "--wait")
    assert job["bytes_transferred"] > MIB, job["reason"]  # the guest has zeroed some of it
    assert subprocess.run(["nbdinfo", served["uri"]], capture_output=True).returncode != 0
