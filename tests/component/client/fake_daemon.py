# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon that answers what a test tells it to, on a unix socket, and keeps what it was asked."""
import http.server
import json
import os
import socket
import socketserver
import threading

STEP = {'completed': 'done', 'running': 'copy'}


def job(state='running', ident='01JOB', **more):
    disk = {'name': 'vda', 'level': 'full', 'reason': 'the first one', 'state': state, 'size': 4096,
            'bytes_total': 4096, 'bytes_transferred': 1024, 'bytes_zero': 0, 'bytes_stored': 0,
            'target': '/r/vda.qcow2', 'error': None}
    answer = {'id': ident, 'kind': 'backup', 'vm': 'web01', 'state': state, 'mode': 'push', 'repository': 'default',
              'created_at': '2026-11-23T02:52:00Z', 'started_at': '2026-11-23T02:52:01Z', 'ended_at': None,
              'step': STEP.get(state), 'speed': 0, 'bytes_total': 4096, 'bytes_transferred': 1024, 'bytes_zero': 0,
              'bytes_stored': 0, 'rate': 512, 'eta_seconds': 6, 'backup_id': None, 'actions': ['cancel', 'pause'],
              'error': None, 'disks': [disk], 'steps': [{'name': 'plan', 'state': 'done'}]}
    answer.update(more)
    return answer


def export(state='ready', ident='01EXPORT', **more):
    disk = {'name': 'vda', 'uri': 'nbd+unix:///vda?socket=/run/nbd', 'export_name': 'vda', 'size': 1 << 30,
            'dirty_context': 'qemu:dirty-bitmap:bkd-1', 'level': 'differential', 'reason': 'as asked', 'error': None}
    answer = {'id': ident, 'vm': 'web01', 'state': state, 'checkpoint_id': None, 'created_at': '2026-11-23T02:52:00Z',
              'point_in_time': '2026-11-23T02:52:01Z', 'expires_at': '2026-11-24T02:52:00Z', 'ended_at': None,
              'error': None, 'disks': [disk]}
    answer.update(more)
    return answer


def problem(status, code, detail, **more):
    return status, dict({'type': 'about:blank', 'title': 'x', 'status': status, 'code': code, 'detail': detail}, **more)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def address_string(self):
        return 'unix'

    def answer(self):
        length = int(self.headers.get('Content-Length') or 0)
        body = self.rfile.read(length) if length else b''
        fake = self.server.fake
        with fake.lock:
            fake.requests.append((self.command, self.path, json.loads(body) if body else None))
            fake.headers.append(dict(self.headers))
            key = self.command + ' ' + self.path.split('?')[0]
            found = fake.routes.get(self.command + ' ' + self.path, fake.routes.get(key))
            if isinstance(found, list):
                found = found.pop(0) if len(found) > 1 else found[0]
        if found is None:
            found = problem(404, 'not-found', 'no route ' + key)
        if callable(found):
            return found(self)
        self.send_json(found)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def send_json(self, found):
        status, value = found if isinstance(found, tuple) else (200, found)
        if not isinstance(value, bytes):
            value = b'' if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json' if status < 300 else 'application/problem+json')
        self.send_header('Content-Length', str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    def start_events(self):
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.send_header('Connection', 'close')
        self.end_headers()
        self.close_connection = True

    def send_event(self, ident, value, kind='job', bare=False):
        if not bare:
            value = {'id': ident, 'type': kind, 'at': '2026-11-23T02:52:00Z', 'vm': None, 'job': None, 'body': value}
        self.wfile.write(f'id: {ident}\nevent: {kind}\ndata: {json.dumps(value)}\n\n'.encode())
        self.wfile.flush()

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def get_request(self):
        request, _ = super().get_request()
        self.fake.connections.append(request)
        return request, ('unix', 0)

    def handle_error(self, request, client_address):
        pass  # the client went away; that is what many tests are about


class FakeDaemon:
    def __init__(self, path):
        self.path = str(path)
        self.routes = {}
        self.requests = []
        self.headers = []
        self.connections = []
        self.lock = threading.Lock()
        self.server = None
        self.start()

    def start(self):
        self.server = Server(self.path, Handler)
        self.server.fake = self
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        if self.server is None:
            return
        self.server.shutdown()
        self.server.server_close()
        self.server = None
        os.unlink(self.path)
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.connections = []

    def asked(self, method=None):
        with self.lock:
            return [r for r in self.requests if method is None or r[0] == method]
