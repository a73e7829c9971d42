# SPDX-License-Identifier: LGPL-2.1-or-later
"""A man in the middle of the daemon's QMP connection: counts the commands, and does something to one of them."""

import json
import os
import re
import socket
import threading

# Parts of the handshake: no fault of theirs is told from a connection that does not come about.
UNCOUNTED = ("qmp_capabilities", "query-qmp-schema")
# What makes a point in time.
INSTANT = ("stop", "qom-set", "cont", "transaction")
LARGE = 1 << 16


class Command:
    """One command as the daemon sent it, with the file descriptors that came along."""

    def __init__(self, line, fds):
        self.line, self.fds = line, fds
        message = json.loads(line)
        self.name = message.get("execute") or message.get("exec-oob")
        self.id = message.get("id")
        self.arguments = message.get("arguments") or {}

    @property
    def kind(self):
        """What makes it another kind of command than others: names without numbers, and the actions of a transaction."""
        actions = ",".join(sorted({action["type"] for action in self.arguments.get("actions", [])}))
        text = " ".join(str(self.arguments.get(key, "")) for key in ("driver", "node-name", "value", "id", "job-id"))
        text = re.sub(r"bkd-[0-9a-f]{6}-\d+-", "", text)
        return " ".join([self.name, actions] + re.sub(r"\b([a-z]+)\d\b", r"\1", text).split())


class Fault:
    """Something that happens to the n-th command (from 1) after arm()."""

    def __init__(self, n):
        self.n = n
        self.command = None
        self.happened = threading.Event()

    def strike(self, connection, command):
        """Returns True when the connection goes on."""
        raise NotImplementedError


class Refuse(Fault):
    """The command is answered with an error, and never comes to QEMU; so are the next, up to @times."""

    def __init__(self, n, times=1):
        super().__init__(n)
        self.last = n + times - 1

    def strike(self, connection, command):
        for fd in command.fds:
            os.close(fd)
        connection.answer({"error": {"class": "GenericError", "desc": "injected failure"}, "id": command.id})
        return True


class Cut(Fault):
    """QEMU carries the command out, but the connection breaks before its answer."""

    def strike(self, connection, command):
        connection.deliver(command, mute=True)
        return False


class CutBefore(Fault):
    """The connection breaks before the command comes to QEMU."""

    def strike(self, connection, command):
        return False


class Hold(Fault):
    """The command waits until the test says what becomes of it: let_go("pass"), "drop" (and the connection with it), or
    "deliver": QEMU carries it out, and the connection ends."""

    def __init__(self, n):
        super().__init__(n)
        self.decided = threading.Event()
        self.decision = None

    def let_go(self, decision):
        self.decision = decision
        self.decided.set()

    def strike(self, connection, command):
        self.decided.wait(120)
        if self.decision == "pass":
            connection.deliver(command, wait=command.name in INSTANT)
            return True
        if self.decision == "deliver":
            connection.deliver(command, mute=True)
        return False


class Connection:
    """One client of the proxy, and its own connection to QEMU."""

    def __init__(self, proxy, client):
        self.proxy, self.client = proxy, client
        self.server = socket.socket(socket.AF_UNIX)
        self.write_lock = threading.Lock()
        self.answered = threading.Condition()
        self.wanted, self.mute = None, False
        self.gone = False

    def run(self):
        try:
            self.server.connect(str(self.proxy.upstream))
            threading.Thread(target=self.run_down, daemon=True).start()
            self.run_up()
        except OSError:
            pass
        self.close()

    def close(self):
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with self.answered:
            self.gone = True
            self.answered.notify_all()

    def run_up(self):
        """From the daemon to QEMU, command by command."""
        buffer, fds = b"", []
        while True:
            data, passed, _flags, _address = socket.recv_fds(self.client, LARGE, 8)
            if not data:
                return
            fds += passed
            buffer += data
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                takes_fds = b'"add-fd"' in line or b'"getfd"' in line
                command = Command(line + b"\n", fds if takes_fds else [])
                if takes_fds:
                    fds = []
                if not self.proxy.handle(self, command):
                    return

    def run_down(self):
        """From QEMU to the daemon."""
        buffer = b""
        while True:
            try:
                data = self.server.recv(LARGE)
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            buffer += data
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                self.pass_down(line + b"\n")

    def pass_down(self, line):
        with self.answered:
            if self.wanted is not None and json.loads(line).get("id") == self.wanted:
                self.wanted = None
                self.answered.notify_all()
            if self.mute:
                return
        with self.write_lock:
            try:
                self.client.sendall(line)
            except OSError:
                pass

    def answer(self, message):
        with self.write_lock:
            self.client.sendall(json.dumps(message).encode() + b"\r\n")

    def deliver(self, command, wait=False, mute=False):
        """Hands the command to QEMU. With @mute the daemon hears nothing any more."""
        wait = wait or mute
        with self.answered:
            self.mute = self.mute or mute
            if wait:
                self.wanted = command.id
        socket.send_fds(self.server, [command.line], command.fds)
        for fd in command.fds:
            os.close(fd)
        with self.answered:
            if wait:
                self.answered.wait_for(lambda: self.wanted is None or self.gone, 60)


class Proxy:
    """Listens at @path and connects each client to @upstream. @before is called before each command that passes, so that
    the guest can do something just then."""

    def __init__(self, path, upstream, before=None, patient=True):
        self.path, self.upstream, self.before, self.patient = path, upstream, before, patient
        self.lock = threading.Lock()
        self.fault, self.count, self.kinds = None, 0, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listen()
        self.connections = []
        threading.Thread(target=self.serve, daemon=True).start()

    def listen(self):
        """Called in QEMU's process, its clients have that for their peer, as they would without a proxy."""
        self.listener.listen(8)

    def serve(self):
        while True:
            try:
                client, _address = self.listener.accept()
            except OSError:
                return
            connection = Connection(self, client)
            self.connections.append(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()

    def arm(self, fault=None):
        """Counts anew; @fault strikes once its command comes."""
        with self.lock:
            self.fault, self.count, self.kinds = fault, 0, []
        return fault

    def handle(self, connection, command):
        if command.name in UNCOUNTED:
            connection.deliver(command)
            return True
        with self.lock:
            self.count += 1
            self.kinds.append(command.kind)
            fault = self.fault if self.fault and self.fault.n <= self.count <= getattr(self.fault, "last", self.fault.n) else None
        if self.before:
            self.before(command)
        if fault is None:
            # Else what the guest writes at the next command might overtake this one in QEMU.
            connection.deliver(command, wait=self.patient and command.name in INSTANT)
            return True
        fault.command = command
        fault.happened.set()
        return fault.strike(connection, command)
