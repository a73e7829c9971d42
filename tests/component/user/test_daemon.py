# SPDX-License-Identifier: LGPL-2.1-or-later
"""What happens to the daemon itself: clients that come and go, ends, starts."""

import signal
import socket
import subprocess

import daemon as daemon_module


def connect(daemon, data=b""):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(daemon.address[len("unix:"):])
    client.sendall(data)
    return client


def test_it_ends_well_while_clients_come_and_go(tmp_path):
    """The last answers are on their way when the daemon ends: nothing of them may be used after it is freed."""
    for number in range(10):
        daemon = daemon_module.Daemon(tmp_path / str(number)).start()
        clients = [connect(daemon, b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n" if i % 3 else b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
                   for i in range(60)]
        daemon.process.send_signal(signal.SIGTERM)
        for client in clients:
            client.close()
        assert daemon.end() == 0, daemon.tail(200)


def test_told_twice_it_still_ends_in_order(tmp_path):
    """Some send the signal again and again until the process is gone."""
    for number in range(5):
        daemon = daemon_module.Daemon(tmp_path / str(number)).start()
        while daemon.process.poll() is None:
            daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.returncode == 0, daemon.tail(200)


def test_an_empty_state_directory_is_no_directory(tmp_path):
    done = subprocess.run([daemon_module.program("BACKUPD", "daemon/backupd"), "--state-dir", ""], cwd=tmp_path,
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "--state-dir" in done.stderr
    assert list(tmp_path.iterdir()) == []
