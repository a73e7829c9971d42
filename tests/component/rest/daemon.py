# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon to be tested, and clients as simple as HTTP allows."""
import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=20):
        super().__init__('localhost', timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.type = response.headers.get('Content-Type')
        self.bytes = response.read()
        self.json = json.loads(self.bytes) if self.bytes else None


class Daemon:
    """Runs $BACKUPD in @folder; @options go to its command line."""

    def __init__(self, folder, options=(), environment=None, listen=True):
        self.folder = str(folder)
        self.socket = os.path.join(self.folder, 'sock')
        self.log = os.path.join(self.folder, 'log')
        arguments = [os.environ['BACKUPD'], '--state-dir', os.path.join(self.folder, 'state'), *options]
        if listen:
            arguments += ['--listen', 'unix:' + self.socket]
        self.doors = arguments.count('--listen') or 1
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(environment or {})}, preexec_fn=die_with_parent)

    def text(self):
        with open(self.log, encoding='utf-8') as log:
            return log.read()

    def wait_ready(self):
        deadline = time.monotonic() + 20
        while self.text().count('listening on') < self.doors:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.02)
        return self

    def end(self):
        """Ends it as systemd does. Its status also tells of memory errors and leaks, where that is built in."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        try:
            status = self.process.wait(20)
        finally:
            self.process.kill()
        return status

    def tcp_port(self):
        for line in self.text().splitlines():
            if "'tcp:" in line:
                return int(line.rstrip("'").rsplit(':', 1)[1])
        raise AssertionError(self.text())

    def ask(self, method, path, body=None, headers=None, text=None):
        connection = UnixConnection(self.socket)
        headers = dict(headers or {})
        if body is not None:
            text = json.dumps(body)
        if text is not None:
            headers.setdefault('Content-Type', 'application/json')
        connection.request(method, path, text, headers)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def get(self, path, **more):
        return self.ask('GET', path, **more)

    def post(self, path, body=None, **more):
        return self.ask('POST', path, body, **more)

    def raw(self, data=b''):
        """A socket with @data sent."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        client.connect(self.socket)
        client.sendall(data)
        return client


def read_answer(client):
    """All until the other side closes, as (status, body)."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, response.read()


class Events:
    """A subscriber to /v1/events."""

    def __init__(self, daemon, query='', headers=None):
        self.connection = UnixConnection(daemon.socket)
        self.connection.request('GET', '/v1/events' + query, headers=headers or {})
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()

    def next(self):
        """The next event, as (name, id, data); None at the end of the stream."""
        name = number = data = None
        for line in iter(self.response.readline, b''):
            key, _, value = line.decode().rstrip('\n').partition(': ')
            if key == 'event':
                name = value
            elif key == 'id':
                number = int(value)
            elif key == 'data':
                data = json.loads(value)
            elif key == '' and name:
                return name, number, data
        return None

    def close(self):
        self.response.close()
        self.connection.close()
