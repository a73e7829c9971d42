# SPDX-License-Identifier: LGPL-2.1-or-later
"""--wait and watch: progress, results, and a daemon that goes away meanwhile."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from fake_daemon import job, problem


def done(state='completed', **more):
    end = job(state, bytes_transferred=4096, ended_at='2026-11-23T02:53:00Z', actions=[], **more)
    end['disks'][0]['bytes_transferred'] = 4096
    return end


def started(daemon, *jobs):
    """The job is accepted, and each GET gives the next of @jobs, the last one for ever."""
    daemon.routes['POST /v1/jobs'] = (202, job('queued'))
    daemon.routes['GET /v1/jobs/01JOB'] = list(jobs)


def events(*values, first=1, then=None):
    def answer(handler):
        handler.start_events()
        for n, value in enumerate(values):
            handler.send_event(first + n, value)
        if then:
            then(handler)
    return answer


def hang(handler):
    select.select([handler.connection], [], [], 60)


START = ['start', '--vm', 'web01', '--wait']


def test_a_pull_tells_what_is_different_and_new(daemon, ctl):
    started(daemon, done(mode='pull', bytes_different=2048, bytes_new=1024))
    result = ctl(*START)
    assert result.returncode == 0
    assert '100%  4.0 KiB of 4.0 KiB; 2.0 KiB different, 1.0 KiB new' in result.stderr
    started(daemon, done(mode='pull', repository=None))
    assert 'different' not in ctl(*START).stderr


def test_follows_events_to_the_end(daemon, ctl):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(job(step='prepare'), job(), done(), then=hang)
    before = time.monotonic()
    result = ctl(*START)
    assert time.monotonic() - before < 4
    assert (result.returncode, result.stdout) == (0, '01JOB\n')
    assert re.search(r'^backupctl: job 01JOB: running \(copy\)  25%  1.0 KiB of 4.0 KiB  512 B/s  ETA 0:06$', result.stderr, re.M)
    assert 'running (prepare)' in result.stderr
    assert result.stderr.splitlines()[-1].startswith('backupctl: job 01JOB: completed')
    assert daemon.asked('GET')[0][1] == '/v1/events?job=01JOB'


def test_events_may_be_the_job_itself(daemon, ctl):
    def answer(handler):
        handler.start_events()
        handler.send_event(1, done(), bare=True)
        hang(handler)
    started(daemon, job())
    daemon.routes['GET /v1/events'] = answer
    before = time.monotonic()
    assert ctl(*START).returncode == 0
    assert time.monotonic() - before < 4


@pytest.mark.parametrize('bad', [b'event: lost\ndata: {"after":7}\n\n', b'event: job\ndata: {"id":"01JOB"}\n\n'])
def test_after_an_event_of_no_use_the_job_is_read(daemon, ctl, bad):
    def answer(handler):
        handler.start_events()
        handler.wfile.write(bad)
        hang(handler)
    started(daemon, job(), done())
    daemon.routes['GET /v1/events'] = answer
    before = time.monotonic()
    assert ctl(*START).returncode == 0
    assert time.monotonic() - before < 4


def test_repeats_no_plain_line(daemon, ctl):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(*[job(bytes_transferred=n) for n in range(40)], done())
    result = ctl(*START)
    assert result.stderr.count('running (copy)') == 1


RESULTS = [('completed', None, 0), ('partial', None, 3), ('partial', 'no-space', 3), ('cancelled', None, 8),
           ('failed', None, 1), ('failed', 'from-the-future', 1)]
RESULTS += [('failed', code, leave) for code, leave in [
    ('failed', 1), ('invalid', 2), ('not-found', 4), ('conflict', 5), ('unreachable', 6), ('denied', 7), ('corrupt', 9),
    ('no-space', 10)]]


@pytest.mark.parametrize('state,code,leave', RESULTS)
def test_ends_with_the_result(daemon, ctl, state, code, leave):
    error = {'code': code, 'message': 'because'} if code else None
    end = done(state, error=error)
    if state != 'completed':
        end['disks'][0]['error'] = {'code': 'failed', 'message': 'vda went bad'}
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(end)
    result = ctl(*START, '--quiet')
    assert (result.returncode, result.stdout) == (leave, '01JOB\n')
    if state == 'completed':
        assert result.stderr == ''
        return
    lines = result.stderr.splitlines()
    assert lines[0] == "backupctl: disk 'vda': vda went bad"
    assert lines[1].startswith(f'backupctl: job 01JOB: {state}: ') and len(lines) == 2
    assert error is None or lines[1].endswith(': because')


def test_watch_ends_as_wait_does(daemon, ctl):
    started(daemon, job(), job(), done('cancelled'))
    daemon.routes['GET /v1/events'] = events()
    assert ctl('watch', '01JOB').returncode == 8
    daemon.routes['GET /v1/jobs/01JOB'] = done()
    result = ctl('watch', '01JOB')
    assert (result.returncode, result.stdout) == (0, '')
    assert ctl('watch', 'nobody').returncode == 4


@pytest.mark.parametrize('end,leave', [(done(), 0), (done('partial'), 3)])
def test_json_is_one_document_at_the_end(daemon, ctl, end, leave):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(job(), end)
    for words in (START, ['watch', '01JOB'], ['restore', 'b', '--output', '/o', '--wait']):
        result = ctl('--json', *words)
        assert result.returncode == leave
        assert json.loads(result.stdout) == end


def test_reconnects_where_it_was(daemon, ctl):
    started(daemon, job())
    lost = events(then=lambda handler: handler.wfile.write(b'event: lost\ndata: {}\n\n'))
    daemon.routes['GET /v1/events'] = [events(job(), job(), first=41), lost, events(done(), first=43)]
    assert ctl(*START).returncode == 0
    asked = [(r[1], h.get('Last-Event-ID')) for r, h in zip(daemon.requests, daemon.headers) if 'events' in r[1]]
    assert asked == [('/v1/events?job=01JOB', None)] + [('/v1/events?job=01JOB', '42')] * 2


def test_an_end_that_no_event_told_is_found(daemon, ctl):
    # The job ends between the answer to the POST and the opening of the stream, which then stays silent.
    started(daemon, done())
    daemon.routes['GET /v1/events'] = events(then=hang)
    before = time.monotonic()
    assert ctl(*START).returncode == 0
    assert time.monotonic() - before < 4


def test_a_silent_stream_is_not_believed(daemon, ctl):
    started(daemon, job(), done())
    daemon.routes['GET /v1/events'] = events(then=hang)
    before = time.monotonic()
    assert ctl(*START).returncode == 0
    assert 4 < time.monotonic() - before < 9


def test_works_without_events(daemon, ctl):
    started(daemon, job())
    begin = time.monotonic()
    daemon.routes['GET /v1/jobs/01JOB'] = lambda handler: handler.send_json(done() if time.monotonic() - begin > 3 else job())
    daemon.routes['GET /v1/events'] = problem(500, 'failed', 'no events today')
    assert ctl(*START).returncode == 0
    assert 4 < len(daemon.asked('GET')) < 20


@pytest.mark.parametrize('bad', [
    b'data: not json\n\n', b'event: job\ndata: {"id": 7}\n\n', b'event: job\ndata: {"id":"01JOB","kind":"x","state":"new"}\n\n',
    b'\n\n\n:comment\nretry: 1\nid\ndata\n\n', b'\x00\xff\xfe\n\n', b'event: vm\ndata: {"name": "web01"}\n\n', b'data: ' + b'x' * 70000],
    ids=range(7))
def test_passes_over_bad_events(daemon, ctl, bad):
    def answer(handler):
        handler.start_events()
        handler.raw(bad)
    started(daemon, job(), job(), done())
    daemon.routes['GET /v1/events'] = answer
    result = ctl(*START)
    assert (result.returncode, result.stdout) == (0, '01JOB\n')


def test_events_of_other_types_do_not_count(daemon, ctl):
    def answer(handler):
        handler.start_events()
        handler.send_event(1, done(), kind='backup')
    started(daemon, job(), job(), done('partial'))
    daemon.routes['GET /v1/events'] = answer
    assert ctl(*START).returncode == 3


def test_events_of_other_jobs_do_not_count(daemon, ctl):
    started(daemon, job(), job(), done('partial'))
    daemon.routes['GET /v1/events'] = events(done(ident='01OTHER'))
    assert ctl(*START).returncode == 3


def test_an_event_may_come_in_pieces(daemon, ctl):
    text = ('id: 1\r\nevent: job\r\ndata: ' + json.dumps(done()) + '\r\n\r\n').encode()

    def answer(handler):
        handler.start_events()
        for n in range(0, len(text), 100):
            handler.wfile.write(text[n:n + 100])
            handler.wfile.flush()
            time.sleep(0.01)
        hang(handler)
    started(daemon, job())
    daemon.routes['GET /v1/events'] = answer
    before = time.monotonic()
    assert ctl(*START).returncode == 0
    assert time.monotonic() - before < 4


def test_survives_a_restart_of_the_daemon(daemon, ctl):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(job(), first=41, then=hang)
    child = ctl.spawn(*START, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == '01JOB\n'
    while not any('events' in r[1] for r in daemon.asked('GET')):
        time.sleep(0.02)
    daemon.stop()
    time.sleep(1.5)
    assert child.poll() is None
    daemon.routes['GET /v1/events'] = events(done(), first=1)
    daemon.start()
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, '')
    assert err.count('backupd is away; waiting for it') == 1


def test_gives_up_on_a_daemon_that_stays_away(daemon, ctl):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(job(), then=hang)
    child = ctl.spawn(*START, '--json', env={'BACKUPCTL_TIMEOUT': '1'}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any('events' in r[1] for r in daemon.asked('GET')):
        time.sleep(0.02)
    daemon.stop()
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (6, '')
    assert 'cannot reach backupd' in err.splitlines()[-1]


def test_ends_when_the_job_is_gone(daemon, ctl):
    started(daemon, job(), problem(404, 'not-found', 'no job 01JOB'))
    daemon.routes['GET /v1/events'] = events()
    before = time.monotonic()
    result = ctl(*START)
    assert time.monotonic() - before < 5
    assert result.returncode == 4
    assert result.stderr.splitlines()[-1] == 'backupctl: no job 01JOB'


@pytest.mark.parametrize('words', [START, ['watch', '01JOB'], ['--json', 'watch', '01JOB']])
def test_ctrl_c_leaves_the_job_alone(daemon, ctl, words):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(job(), then=hang)
    child = ctl.spawn(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any('events' in r[1] for r in daemon.asked('GET')):
        time.sleep(0.02)
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err.splitlines()[-1] == "backupctl: job 01JOB goes on; see 'backupctl watch 01JOB'"
    assert not any('cancel' in r[1] for r in daemon.asked())


# --- on a terminal ---

def on_terminal(ctl, words, columns=100, rows=24, env=None):
    """Runs with a terminal as stdout and stderr; what was written to it, and the exit status."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
    child = ctl.spawn(*words, env=dict({'TERM': 'xterm'}, **(env or {})), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    out = b''
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        out += part
    os.close(master)
    return out.decode(), child.wait(timeout=60)


class Screen:
    """As much of a terminal as the bars use."""

    def __init__(self, text):
        self.lines, self.row, self.column = [''], 0, 0
        for token in re.findall(r'\x1b\[(\d*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n])', text):
            self.take(*token)

    def take(self, number, letter, cr, lf, char):
        if cr:
            self.column = 0
        elif lf:
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append('')
        elif char:
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[:self.column] + char + line[self.column + 1:]
            self.column += 1
        elif letter == 'A':
            self.row -= int(number)
            assert self.row >= 0
        elif letter == 'K':
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif letter == 'J':
            del self.lines[self.row + 1:]
            self.lines[self.row] = self.lines[self.row][:self.column]


def two_disks(state, transferred, **more):
    value = job(state, bytes_transferred=transferred, **more)
    value['disks'] = [dict(value['disks'][0], name=name, bytes_transferred=transferred, state=state) for name in ('vda', 'vdb')]
    return value


def test_draws_a_bar_for_each_disk(daemon, ctl):
    started(daemon, two_disks('running', 0))
    daemon.routes['GET /v1/events'] = events(two_disks('running', 1024), two_disks('running', 2048), two_disks('completed', 4096))
    text, leave = on_terminal(ctl, START)
    assert leave == 0
    lines = Screen(text).lines
    assert lines[0] == '01JOB'
    assert re.match(r'backup 01JOB  completed \(done\)  100%  4.0 KiB of 4.0 KiB', lines[1])
    assert re.match(r'  vda  \[█+\]  100%  4.0 KiB of 4.0 KiB  completed', lines[2])
    assert re.match(r'  vdb  \[█+\]  100%', lines[3])
    assert lines[4:] == ['']
    half = [line for line in text.split('\n') if ' 50%' in line and 'vda' in line][0]
    assert half.count('█') == half.count('░') > 0


def test_bars_show_rate_and_time_left(daemon, ctl):
    def slowly(handler):
        handler.start_events()
        for n in range(9):
            handler.send_event(n, two_disks('running', n * 100))
            time.sleep(0.5)
        handler.send_event(99, two_disks('completed', 4096))
    started(daemon, two_disks('running', 0))
    daemon.routes['GET /v1/events'] = slowly
    text, _ = on_terminal(ctl, START)
    assert re.search(r'  vda  \[.*\]  .*of 4.0 KiB  \d+ B/s  ETA 0:\d\d', text)


@pytest.mark.parametrize('columns', [30, 50, 80, 200])
def test_bars_fit_the_terminal(daemon, ctl, columns):
    started(daemon, two_disks('running', 0))
    daemon.routes['GET /v1/events'] = events(two_disks('running', 1024), two_disks('completed', 4096))
    text, _ = on_terminal(ctl, START, columns=columns)
    lines = re.sub(r'\x1b\[\d*[A-Za-z]', '', text).replace('\r', '').split('\n')
    assert max(map(len, lines)) < columns


def test_more_disks_than_rows(daemon, ctl):
    def many(transferred, state='running'):
        value = job(state)
        value['disks'] = [dict(value['disks'][0], name=f'vd{n}', bytes_transferred=transferred) for n in range(30)]
        return value
    started(daemon, many(0))
    daemon.routes['GET /v1/events'] = events(many(1), many(2), many(3, 'completed'))
    text, _ = on_terminal(ctl, START, rows=10)
    assert Screen(text).lines.count('') == 1
    assert len(Screen(text).lines) <= 10


def test_no_bars_for_a_dumb_terminal(daemon, ctl):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(done())
    text, _ = on_terminal(ctl, START, env={'TERM': 'dumb'})
    assert '\033' not in text and 'job 01JOB: running (copy)' in text


def test_bars_in_ascii(daemon, ctl):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(done())
    text, _ = on_terminal(ctl, START, env={'LC_ALL': 'C'})
    assert '[####' in text and text.isascii()


def test_quiet_draws_nothing(daemon, ctl):
    started(daemon, job())
    daemon.routes['GET /v1/events'] = events(done())
    text, _ = on_terminal(ctl, START + ['--quiet'])
    assert text == '01JOB\r\n'


def test_colour_only_where_it_is_wanted(daemon, ctl):
    daemon.routes['GET /v1/jobs'] = {'items': [job(), done('failed')], 'next': None}
    text, _ = on_terminal(ctl, ['list'])
    assert '\033[36mrunning' in text and '\033[31mfailed' in text
    for env in ({'NO_COLOR': '1'}, {'TERM': 'dumb'}):
        text, _ = on_terminal(ctl, ['list'], env=env)
        assert '\033' not in text


def test_tables_shrink_to_the_terminal(daemon, ctl):
    wide = job(vm='日本語' * 20)
    daemon.routes['GET /v1/jobs'] = {'items': [wide], 'next': None}
    text, _ = on_terminal(ctl, ['list'], columns=80, env={'NO_COLOR': '1'})
    heading, row = text.split('\r\n')[:2]
    width = sum(2 if ord(c) > 0x3000 else 1 for c in row)
    assert width <= 80 and '…' in row
    assert heading.index('STATE') == sum(2 if ord(c) > 0x3000 else 1 for c in row[:row.index('running')])
    assert '日本語' * 20 in ctl('list').stdout


def test_json_on_a_terminal_is_indented(daemon, ctl):
    daemon.routes['GET /v1/jobs/01JOB'] = job()
    text, _ = on_terminal(ctl, ['--json', 'status', '01JOB'])
    assert '\n  "id"' in text
    assert json.loads(text) == job()
