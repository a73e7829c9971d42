# SPDX-License-Identifier: LGPL-2.1-or-later
"""A daemon that is not well, or not ours: each answer ends in one line and a sensible exit status, in bounded time."""
import json
import time

import pytest
from fake_daemon import job

HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'


def body(text):
    return (200, text if isinstance(text, bytes) else text.encode())


LISTS = [
    (body('hello'), 'not JSON'),
    (body('{"items": ['), 'not JSON'),
    (body('{"items": []}{}'), 'not JSON'),
    (body(b'{"items": ["\xff"]}'), 'not JSON'),
    (body('[' * 100000), 'not JSON'),
    (body('null'), 'not JSON (null)'),
    (body('[]'), 'must be an object'),
    (body('"x"'), 'must be an object'),
    (body('{}'), '/items: must be an array'),
    (body('{"items": {}}'), '/items: must be an array'),
    (body('{"items": null}'), '/items: must be an array'),
    (body('{"items": [7]}'), '/items/0'),
    (body('{"items": [{"name": "a"}, {"name": 7}]}'), '/items/1/name: must be a string'),
    (body('{"items": [{}]}'), '/name: is required'),
    (body('{"items": [{"name": "a", "jobs": "x"}]}'), '/jobs: must be an array'),
    (body('{"items": [{"name": "a"}], "next": "same"}'), 'has no end'),
    (body('{"items": [], "next": "x"}'), 'has no end'),
]


@pytest.mark.parametrize('answer,holds', LISTS, ids=range(len(LISTS)))
def test_lists_that_are_none(daemon, ctl, answer, holds):
    daemon.routes['GET /v1/vms'] = answer
    result = ctl('vm', 'list')
    assert (result.returncode, result.stdout) == (1, '')
    assert holds in result.stderr and result.stderr.count('\n') == 1


@pytest.mark.parametrize('text', ['{}', '{"id": 1}', '[]', '{"id":"a","kind":"b","state":"dancing"}',
                                  '{"id":"a","kind":"b","state":"queued","speed":-1}', '{"id":"a","kind":"b","state":"queued","disks":7}'])
def test_jobs_that_are_none(daemon, ctl, text):
    daemon.routes['GET /v1/jobs/j'] = daemon.routes['POST /v1/jobs'] = daemon.routes['POST /v1/jobs/j/cancel'] = body(text)
    for words in (['status', 'j'], ['watch', 'j'], ['start', '--vm', 'v'], ['start', '--vm', 'v', '--wait', '--json'], ['cancel', 'j']):
        result = ctl(*words)
        assert (result.returncode, result.stdout) == (1, ''), words
        assert 'is not understood' in result.stderr and result.stderr.count('\n') == 1


def test_unknown_members_are_passed_over(daemon, ctl):
    daemon.routes['GET /v1/jobs/j'] = dict(job(), new={'x': [1]})
    assert ctl('status', 'j').returncode == 0
    assert json.loads(ctl('--json', 'status', 'j').stdout)['new'] == {'x': [1]}


@pytest.mark.parametrize('status,leave', [(500, 1), (502, 6), (503, 6), (404, 4), (302, 1), (418, 1), (401, 7)])
def test_pages_of_html(daemon, ctl, status, leave):
    daemon.routes['GET /v1/vms'] = (status, b'<html>\n<body>it broke</body></html>')
    result = ctl('vm', 'list')
    assert (result.returncode, result.stdout) == (leave, '')
    assert f'answered {status} ' in result.stderr and 'is it backupd that listens there?' in result.stderr
    assert 'html' not in result.stderr and result.stderr.count('\n') == 1


@pytest.mark.parametrize('value', [[], 'x', 7, {'code': 7, 'detail': []}, {'detail': None}, {}])
def test_problems_that_are_none(daemon, ctl, value):
    daemon.routes['GET /v1/vms'] = (409, value)
    result = ctl('vm', 'list')
    assert result.returncode == 5 and result.stderr.count('\n') == 1


RAW = [
    (b'', 6), (b'SSH-2.0-OpenSSH_9.2\r\n', 6), (b'\x00' * 1000, 6), (b'HTTP/1.1 200', 6),
    (HEAD + b'Content-Length: 100\r\n\r\n{"items": []}', 6),
    # libsoup takes an end between two chunks, and a size that is none, for the end; the JSON tells.
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\n9\r\n{"items":\r\n', 1),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\nzz\r\n{"items": []}\r\n', 1),
    (HEAD + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"items', 6),
    (HEAD + b'Content-Encoding: gzip\r\n\r\nnot gzip at all', 1),
    (HEAD + b'Content-Length: -5\r\n\r\n{"items": []}', None),
]


@pytest.mark.parametrize('data,leave', RAW, ids=range(len(RAW)))
def test_answers_that_break_off(daemon, ctl, data, leave):
    daemon.routes['GET /v1/vms'] = lambda handler: handler.raw(data)
    result = ctl('vm', 'list')
    if leave is None:  # no HTTP, but readable: only that it ends is asked for
        assert result.returncode in (0, 1, 6)
        return
    assert (result.returncode, result.stdout) == (leave, '')
    assert result.stderr.startswith('backupctl: ') and result.stderr.count('\n') == 1


def test_an_answer_without_end(daemon, ctl):
    taken = []

    def flood(handler):
        handler.wfile.write(HEAD + b'\r\n')
        while True:
            handler.wfile.write(b' ' * (1 << 20))
            taken.append(1)
    daemon.routes['GET /v1/vms'] = flood
    result = ctl('vm', 'list')
    assert result.returncode == 1 and 'more than 64 MiB' in result.stderr
    assert 60 < len(taken) < 80


def test_an_event_without_end(daemon, ctl):
    taken = []

    def flood(handler):
        handler.start_events()
        handler.wfile.write(b'data: ')
        while True:
            handler.wfile.write(b'x' * (1 << 20))
            taken.append(1)
    daemon.routes['GET /v1/jobs/01JOB'] = [job(), job(), job('completed')]
    daemon.routes['GET /v1/events'] = flood
    assert ctl('watch', '01JOB').returncode == 0
    assert 10 < len(taken) < 40


@pytest.mark.parametrize('before', [b'', HEAD, HEAD + b'Content-Length: 10\r\n\r\n{'])
def test_a_daemon_that_never_answers(daemon, ctl, before):
    def sleep(handler):
        handler.wfile.write(before)
        time.sleep(8)
    daemon.routes['GET /v1/vms'] = sleep
    start = time.monotonic()
    result = ctl('vm', 'list', env={'BACKUPCTL_TIMEOUT': '1'})
    assert time.monotonic() - start < 6
    assert result.returncode == 6
    assert 'gave no answer within 1 s' in result.stderr


EVIL = 'a\x1b]0;pwned\x07\r\n\x9b31m\u202e\u2028\x7fb'
SAFE = 'a\\x1b]0;pwned\\x07\\x0d\\n\\x9b31m\\u202e\\u2028\\x7fb'


def harmless(text):
    return all(c == '\n' or (c.isprintable() and not 0x7f <= ord(c) < 0xa0) for c in text)


def test_control_characters_do_not_reach_the_terminal(daemon, ctl):
    evil = job(vm=EVIL, step=EVIL, reason=EVIL, ident=EVIL, error={'code': EVIL, 'message': EVIL}, actions=[EVIL])
    evil['disks'][0].update(name=EVIL, state=EVIL, target=EVIL, reason=EVIL, error={'code': EVIL, 'message': EVIL})
    daemon.routes['GET /v1/jobs'] = {'items': [evil], 'next': None}
    daemon.routes['GET /v1/jobs/j'] = daemon.routes['POST /v1/jobs/j/pause'] = evil
    daemon.routes['POST /v1/jobs'] = (409, {'code': 'conflict', 'detail': EVIL, 'pointer': EVIL})
    daemon.routes['POST /v1/vms'] = (201, {'name': EVIL, 'reason': EVIL, 'state': EVIL, 'classes': {EVIL: EVIL}})
    for words in (['list'], ['status', 'j'], ['pause', 'j'], ['start', '--vm', 'v'], ['vm', 'add', 'v', '--qmp', '/q']):
        result = ctl(*words)
        assert SAFE in result.stdout + result.stderr, words
        assert harmless(result.stdout) and harmless(result.stderr), words
    result = ctl('--json', 'status', 'j')
    assert json.loads(result.stdout)['vm'] == EVIL
    assert '\x1b' not in result.stdout and '\x7f' not in result.stdout and '\x9b' not in result.stdout


def test_progress_is_harmless_too(daemon, ctl):
    evil = job(ident='j', step=EVIL)
    evil['disks'][0].update(name=EVIL, state=EVIL)
    end = job('failed', ident='j', error={'code': 'corrupt', 'message': EVIL})
    end['disks'][0].update(name=EVIL, error={'code': 'corrupt', 'message': EVIL})
    daemon.routes['GET /v1/jobs/j'] = [evil, evil, end]
    daemon.routes['GET /v1/events'] = (500, {})
    from test_wait import on_terminal
    result = ctl('watch', 'j')
    assert result.returncode == 9 and harmless(result.stderr)
    daemon.routes['GET /v1/jobs/j'] = [evil, evil, end]
    text, _ = on_terminal(ctl, ['watch', 'j'])
    assert ']0;pwned' in text and '\x1b]' not in text and '\x07' not in text and '\x9b' not in text


def test_an_event_id_can_not_make_headers(daemon, ctl):
    def answer(handler):
        handler.start_events()
        handler.raw(b'id: 7\rX-Evil: 1\nevent: job\ndata: ' + json.dumps(job()).encode() + b'\n\n')
    daemon.routes['GET /v1/jobs/01JOB'] = [job(), job(), job(), job(), job('completed')]
    daemon.routes['GET /v1/events'] = answer
    result = ctl('watch', '01JOB')
    assert result.returncode == 0 and all(line.startswith('backupctl: ') for line in result.stderr.splitlines())
    assert sum('events' in r[1] for r in daemon.asked()) == 2
    assert not any('X-Evil' in h or 'Last-Event-ID' in h for h in daemon.headers)


def test_is_not_led_elsewhere(daemon, ctl):
    def redirect(handler):
        handler.raw(b'HTTP/1.1 302 Found\r\nLocation: http://localhost/v1/elsewhere\r\nContent-Length: 0\r\n\r\n')
    daemon.routes['GET /v1/vms'] = redirect
    assert ctl('vm', 'list').returncode == 1
    assert [r[1] for r in daemon.asked()] == ['/v1/vms']
