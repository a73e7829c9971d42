# SPDX-License-Identifier: LGPL-2.1-or-later
"""backupctl doctor: a healthy set, and each broken thing made on purpose, on a QEMU whose guest never starts."""

import os
import signal
import subprocess
import time

import pytest

import process
from qmp import Qmp

VM = "web01"


class Machine:
    """A QEMU with one qcow2 disk: .qmp for the daemon, .spy for us."""

    def __init__(self, folder):
        self.qmp, self.spy, self.image = folder / "qmp.sock", folder / "spy.sock", folder / "vda.qcow2"
        process.run(["qemu-img", "create", "-q", "-f", "qcow2", self.image, "64M"])
        self.start()

    def start(self):
        for path in (self.qmp, self.spy):
            path.unlink(missing_ok=True)
        self.process = process.start(["qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-S",
                                      "-blockdev", "driver=qcow2,node-name=disk,file.driver=file,file.filename=%s" % self.image,
                                      "-device", "virtio-blk-pci,id=vda,drive=disk",
                                      "-qmp", "unix:%s,server=on,wait=off" % self.qmp, "-qmp", "unix:%s,server=on,wait=off" % self.spy])
        process.wait_until(lambda: self.spy.exists() and self.qmp.exists(), 30, "QEMU to listen")
        self.nodes()  # it answers when it has opened the image

    def ask(self, command, **arguments):
        with Qmp(self.spy) as qmp:
            return qmp.execute(command, **arguments)

    def nodes(self):
        return {node["node-name"] for node in self.ask("query-named-block-nodes", flat=True)}

    def kill(self):
        process.kill(self.process)


@pytest.fixture
def machine(tmp_path):
    running = Machine(tmp_path)
    try:
        yield running
    finally:
        running.kill()


def diagnose(daemon, *options, status=0):
    diagnosis = daemon.ctl("doctor", *options, status=status)
    for finding in diagnosis["findings"]:
        assert (finding["state"] == "ok") == (finding["fix"] is None), finding
    assert (diagnosis["state"] == "problem") == (status == 1), diagnosis
    return diagnosis["findings"]


def of(findings, subject, check):
    return [finding for finding in findings if (finding["subject"], finding["check"]) == (subject, check)]


def test_healthy(daemon, machine):
    daemon.ctl("vm", "add", VM, "--qmp", machine.qmp)
    before = machine.nodes()
    findings = diagnose(daemon, "--vm", VM)
    for subject, check in (("daemon", "answers"), ("daemon", "clock"), ("daemon", "qemu-img"), ("repository default", "folder"), ("VM " + VM, "socket"),
                           ("VM " + VM, "connection"), ("VM " + VM, "features"), ("VM " + VM, "disk vda")):
        assert [finding["state"] for finding in of(findings, subject, check)] == ["ok"], (subject, check, findings)
    assert "has opened a file" in of(findings, "VM " + VM, "scratch")[0]["detail"]
    assert machine.nodes() == before
    shown = daemon.run("doctor")
    assert shown.status == 0 and "ok       VM web01: scratch: QEMU has opened" in shown.out, shown
    assert daemon.run("doctor", "--vm", "nobody").status == 4


def test_left_by_a_killed_daemon_goes(daemon, machine):
    daemon.ctl("vm", "add", VM, "--qmp", machine.qmp)
    before = machine.nodes()
    machine.ask("blockdev-add", driver="null-co", node_name="bkd-doctor-sf")
    diagnose(daemon, "--vm", VM)
    assert machine.nodes() == before


def test_scratch_is_a_file(daemon, machine):
    daemon.ctl("vm", "add", VM, "--qmp", machine.qmp)
    scratch = daemon.state / "scratch"
    scratch.rmdir()
    scratch.write_text("in the way")
    before = machine.nodes()
    findings = diagnose(daemon, status=1)
    assert of(findings, "daemon", "scratch folder")[0]["state"] == "problem"
    assert str(scratch) in of(findings, "VM " + VM, "scratch")[0]["fix"]
    assert machine.nodes() == before
    scratch.unlink()
    scratch.mkdir()
    diagnose(daemon)


def test_missing_socket_and_busy_monitor(daemon, machine, tmp_path):
    daemon.ctl("vm", "add", "gone", "--qmp", tmp_path / "gone.sock")
    with Qmp(machine.qmp):
        daemon.ctl("vm", "add", VM, "--qmp", machine.qmp)
        findings = diagnose(daemon, status=1)
        assert "no socket" in of(findings, "VM gone", "socket")[0]["detail"]
        assert of(findings, "VM " + VM, "socket")[0]["state"] == "ok"
        assert "second monitor" in of(findings, "VM " + VM, "connection")[0]["fix"], findings
    daemon.ctl("vm", "remove", "gone")


def test_hung_vm_holds_up_nobody_else(daemon, machine):
    daemon.ctl("vm", "add", VM, "--qmp", machine.qmp)
    diagnose(daemon)
    os.kill(machine.process.pid, signal.SIGSTOP)
    try:
        findings = diagnose(daemon, status=1)
        assert of(findings, "daemon", "scratch folder")[0]["state"] == "ok"
        assert "within 12 seconds" in of(findings, "VM " + VM, "answers")[0]["detail"], findings
    finally:
        os.kill(machine.process.pid, signal.SIGCONT)


def test_daemon_ends_meanwhile(daemon, machine):
    """Cleanly, and with no worker left that uses what is gone."""
    daemon.ctl("vm", "add", VM, "--qmp", machine.qmp)
    diagnose(daemon)
    os.kill(machine.process.pid, signal.SIGSTOP)
    try:
        asking = process.start([daemon.backupctl, "--host", daemon.address, "doctor"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            assert daemon.end() == 0, daemon.tail()
            assert asking.wait(30) != 0
        finally:
            process.kill(asking)
    finally:
        os.kill(machine.process.pid, signal.SIGCONT)


def test_bitmaps(daemon, machine):
    """One that a crash has left in use."""
    machine.ask("block-dirty-bitmap-add", node="disk", name="foreign", persistent=True)
    machine.ask("quit")
    machine.process.wait(30)
    machine.start()
    machine.kill()  # bitmaps in the image are marked in use while QEMU has it open for writing
    machine.start()
    daemon.ctl("vm", "add", VM, "--qmp", machine.qmp)
    told = [finding for finding in of(diagnose(daemon), "VM " + VM, "disk vda") if "'foreign'" in finding["detail"]]
    assert [finding["state"] for finding in told] == ["warning"] and "block-dirty-bitmap-remove" in told[0]["fix"], told


def test_no_daemon(daemon, tmp_path):
    nowhere = daemon.run("doctor", host="unix:%s" % (tmp_path / "nobody.sock"))
    assert nowhere.status == 1 and "do: start it" in nowhere.out, nowhere
    file = tmp_path / "file"
    file.write_text("")
    assert "is no socket" in daemon.run("doctor", host="unix:%s" % file).out
    daemon.kill()
    killed = daemon.run("--json", "doctor")
    assert killed.status == 1 and killed.json["state"] == "problem" and killed.json["version"] is None, killed
    assert "systemctl restart backupd" in killed.json["findings"][0]["fix"]
    daemon.start()
    diagnose(daemon)
