# SPDX-License-Identifier: LGPL-2.1-or-later
"""A QMP client of a few lines: for looking at QEMU from beside the daemon, never through it."""

import json
import socket


class QmpError(Exception):
    pass


class Qmp:
    """One connection. Events are kept in .events, in order, as QEMU sent them."""

    def __init__(self, path, timeout=30):
        self.events = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.stream = self.socket.makefile("r", encoding="utf-8")
        self._receive()  # the greeting
        self.execute("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def _receive(self):
        line = self.stream.readline()
        if not line:
            raise QmpError("QEMU closed the QMP connection")
        return json.loads(line)

    def execute(self, command, **arguments):
        names = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.socket.sendall(json.dumps({"execute": command, "arguments": names}).encode() + b"\n")
        while True:
            answer = self._receive()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError("%s: %s" % (command, answer["error"]["desc"]))
            else:
                return answer["return"]

    def wait_event(self, name):
        """The first event of that name, seen already or still to come; takes it out of .events."""
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            answer = self._receive()
            if "event" in answer:
                self.events.append(answer)
