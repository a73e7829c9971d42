# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest agent of a few lines behind a socket like QEMU's: one client at a time, and what nobody has read is for the next."""

import json
import os
import socket
import threading
import time

SYNC, STATUS, FREEZE, THAW = "guest-sync-delimited", "guest-fsfreeze-status", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"
# What is asked for one backup, in order.
COMMANDS = [SYNC, STATUS, FREEZE, STATUS, THAW, STATUS]
MODES = {"pull": ["--repo", "default"], "push": ["--repo", "chains"], "push-direct": ["--repo", "chains", "--mode", "push-direct"]}
ALLOWED_WHILE_FROZEN = ("guest-sync", "guest-sync-delimited", "guest-fsfreeze-status", "guest-fsfreeze-thaw")


class Agent:
    """.frozen   what the guest is
    .commands    (name, time) of all that came in
    .act         {command: [function, ...]}, of which each takes one command in place of the usual. It gets the connection
                 and the command, and returns the reply's object, bytes, or None: nothing is answered.
    """

    def __init__(self, path):
        self.path = str(path)
        self.frozen = False
        self.file_systems = 2
        self.commands, self.act, self.mounts = [], {}, None
        self.thawed_at = self.frozen_at = None
        self.left_over = b""  # of an answer that nobody has read
        self.lock = threading.Lock()
        self.listener = None
        self.clients = []
        self.listen()

    # --- socket ---

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(1)
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def unlisten(self):
        """As when QEMU is gone: whoever is connected is cut off."""
        if self.listener is None:
            return
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.listener = None
        os.unlink(self.path)
        self.cut()

    def cut(self):
        for client in self.clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _serve(self, listener):
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            self.clients = [client]
            try:
                self._converse(client)
            except OSError:
                pass
            client.close()

    def _converse(self, client):
        if self.left_over:
            client.sendall(self.left_over)
            self.left_over = b""
        buffer = b""
        while True:
            data = client.recv(4096)
            if not data:
                return
            buffer += data
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                reply = self._answer(client, json.loads(line.split(b"\xff")[-1]))
                if reply is not None:
                    client.sendall(reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n")

    # --- commands ---

    def _answer(self, client, command):
        name = command["execute"]
        with self.lock:
            self.commands.append((name, time.monotonic()))
            acts = self.act.get(name)
            act = acts.pop(0) if acts else None
        return act(client, command) if act else self.usual(command)

    def usual(self, command):
        name = command["execute"]
        if self.frozen and name not in ALLOWED_WHILE_FROZEN:
            return {"error": {"class": "GenericError", "desc": "Command %s has been disabled: the agent is in frozen state" % name}}
        return getattr(self, "_" + name.replace("-", "_"))(command.get("arguments", {}))

    def _guest_sync_delimited(self, arguments):
        return b"\xff" + json.dumps({"return": arguments["id"]}).encode() + b"\n"

    def _guest_fsfreeze_status(self, _arguments):
        return {"return": "frozen" if self.frozen else "thawed"}

    def _guest_fsfreeze_freeze(self, _arguments):
        self.frozen, self.frozen_at, self.thawed_at = self.file_systems > 0, time.monotonic(), None
        return {"return": self.file_systems}

    def _guest_fsfreeze_freeze_list(self, arguments):
        self.mounts = arguments["mountpoints"]
        return self._guest_fsfreeze_freeze(arguments)

    def _guest_fsfreeze_thaw(self, _arguments):
        count = self.file_systems if self.frozen else 0
        if self.frozen:
            self.thawed_at = time.monotonic()
        self.frozen = False
        return {"return": count}

    # --- for tests ---

    def names(self):
        with self.lock:
            return [name for name, _when in self.commands]

    def short(self):
        """The commands by their last word: sync status freeze ..."""
        return [name.replace("guest-sync-delimited", "sync").rsplit("-", 1)[-1] for name in self.names()]
