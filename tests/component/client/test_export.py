# SPDX-License-Identifier: LGPL-2.1-or-later
"""export begin and export end: what is waited for, what is printed, how it ends."""
import json
import signal
import subprocess
import time

import pytest
from fake_daemon import export, problem
from test_wait import on_terminal

BEGIN = ['export', 'begin', '--vm', 'web01']


def begun(daemon, *states):
    daemon.routes['POST /v1/exports'] = (202, export('beginning', disks=[]))
    daemon.routes['GET /v1/exports/01EXPORT'] = list(states)


def ended(daemon, *states):
    daemon.routes['POST /v1/exports/01E/end'] = (202, export('ending'))
    daemon.routes['GET /v1/exports/01EXPORT'] = list(states)


def test_begin_says_all_that_was_typed(daemon, ctl):
    begun(daemon, export())
    result = ctl(*BEGIN, '--disks', 'vda,vdb', '--since', '01C', '--listen', 'tcp:0.0.0.0:10809', '--tls', '/tls',
                 '--timeout', '2h', '--id', 'me')
    assert result.returncode == 0
    assert daemon.asked()[0] == ('POST', '/v1/exports', {
        'vm': 'web01', 'disks': ['vda', 'vdb'], 'since': '01C', 'listen': 'tcp:0.0.0.0:10809', 'tls': '/tls',
        'timeout_seconds': 7200, 'id': 'me'})


@pytest.mark.parametrize('typed,seconds', [('90', 90), ('90s', 90), ('15m', 900), ('1d', 86400), ('007h', 25200)])
def test_timeouts(daemon, ctl, typed, seconds):
    begun(daemon, export())
    assert ctl(*BEGIN, '--timeout', typed).returncode == 0
    assert daemon.asked()[0][2]['timeout_seconds'] == seconds


def test_begin_waits_and_prints_the_id_alone(daemon, ctl):
    begun(daemon, export('beginning'), export('beginning'), export())
    result = ctl(*BEGIN)
    assert (result.returncode, result.stdout, result.stderr) == (0, '01EXPORT\n', '')
    assert len(daemon.asked()) == 4


def test_begin_prints_the_export_as_json(daemon, ctl):
    begun(daemon, export('beginning'), export())
    assert json.loads(ctl('--json', *BEGIN).stdout) == export()


def test_on_a_terminal_the_addresses_follow_uncut(daemon, ctl):
    long = 'nbd+unix:///vda?socket=/run/' + 'x' * 90
    begun(daemon, export(disks=[dict(export()['disks'][0], uri=long)]))
    text, status = on_terminal(ctl, BEGIN)
    assert status == 0
    assert text.splitlines()[0].strip() == '01EXPORT'
    assert long in text and 'qemu:dirty-bitmap:bkd-1' in text


def test_a_begin_that_fails(daemon, ctl):
    failed = export('failed', error={'code': 'no-space', 'message': 'scratch is full'})
    failed['disks'][0]['error'] = {'code': 'no-space', 'message': 'no room for vda'}
    begun(daemon, export('beginning'), failed)
    result = ctl(*BEGIN)
    assert (result.returncode, result.stdout) == (10, '')
    assert result.stderr == ("backupctl: disk 'vda': no room for vda\n"
                             'backupctl: export 01EXPORT has failed: scratch is full\n')
    begun(daemon, failed)
    result = ctl('--json', *BEGIN)
    assert result.returncode == 10 and json.loads(result.stdout) == failed


def test_a_begin_that_somebody_else_ends(daemon, ctl):
    begun(daemon, export('ending'), export('ended'))
    result = ctl(*BEGIN)
    assert (result.returncode, result.stdout) == (8, '')


def test_a_begin_that_is_refused(daemon, ctl):
    daemon.routes['POST /v1/exports'] = problem(422, 'invalid', 'must be unix or tcp:HOST:PORT', pointer='/listen')
    result = ctl(*BEGIN, '--listen', 'x')
    assert (result.returncode, result.stderr) == (2, 'backupctl: /listen: must be unix or tcp:HOST:PORT\n')


def test_a_daemon_that_is_away_for_a_moment(daemon, ctl):
    begun(daemon, (503, None), (503, None), export())
    assert ctl(*BEGIN).returncode == 0


def test_a_daemon_that_stays_away(daemon, ctl):
    begun(daemon, (503, None))
    start = time.monotonic()
    result = ctl(*BEGIN, env={'BACKUPCTL_TIMEOUT': '1'})
    assert result.returncode == 6 and 2 <= time.monotonic() - start < 10


def test_an_export_that_is_forgotten_meanwhile(daemon, ctl):
    begun(daemon, problem(404, 'not-found', 'no export'))
    assert ctl(*BEGIN).returncode == 4
    assert len(daemon.asked()) == 2


def test_ctrl_c_ends_the_waiting(daemon, ctl):
    begun(daemon, export('beginning'))
    child = ctl.spawn(*BEGIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(daemon.asked()) < 3:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out) == (130, '')
    assert "export 01EXPORT goes on; see 'backupctl export show 01EXPORT'" in err


@pytest.mark.parametrize('option,result', [('--success', 'success'), ('--failed', 'failed')])
def test_end_waits(daemon, ctl, option, result):
    ended(daemon, export('ending'), export('ended', checkpoint_id='01C' if result == 'success' else None))
    told = ctl('export', 'end', '01E', option)
    assert (told.returncode, told.stderr) == (0, '')
    assert ('--since 01C' in told.stdout) == (result == 'success')
    assert daemon.asked()[0] == ('POST', '/v1/exports/01E/end', {'result': result})
    assert len(daemon.asked()) == 3
    ended(daemon, export('ended'))
    assert json.loads(ctl('--json', 'export', 'end', '01E', option).stdout) == export('ended')
    assert ctl('--quiet', 'export', 'end', '01E', option).stdout == ''


def test_a_success_that_does_not_come_off(daemon, ctl):
    failed = export('failed', error={'code': 'unreachable', 'message': 'QEMU has gone'})
    ended(daemon, failed)
    result = ctl('export', 'end', '01E', '--success')
    assert (result.returncode, result.stdout) == (6, '')
    assert result.stderr == 'backupctl: export 01EXPORT has failed: QEMU has gone\n'
    ended(daemon, export('failed', error={'code': 'cancelled', 'message': 'it was cancelled'}))
    assert ctl('export', 'end', '01E', '--success').returncode == 8


def test_a_success_of_some_disks(daemon, ctl):
    partly = export('ended', error={'code': 'partial', 'message': 'some disks failed: vda'})
    partly['disks'][0]['error'] = {'code': 'failed', 'message': 'it broke'}
    ended(daemon, partly)
    result = ctl('export', 'end', '01E', '--success')
    assert (result.returncode, result.stdout) == (3, '')
    assert result.stderr == "backupctl: disk 'vda': it broke\nbackupctl: export 01EXPORT has ended: some disks failed: vda\n"


def test_a_failure_that_is_as_asked(daemon, ctl):
    ended(daemon, export('failed', error={'code': 'cancelled', 'message': 'as asked'}))
    assert ctl('export', 'end', '01E', '--failed').returncode == 0
    ended(daemon, export('failed', error={'code': 'unreachable', 'message': 'QEMU has gone'}))
    assert ctl('export', 'end', '01E', '--failed').returncode == 6


def test_an_export_that_can_not_be_ended(daemon, ctl):
    daemon.routes['POST /v1/exports/01E/end'] = problem(409, 'conflict', 'export 01EXPORT is ending already')
    result = ctl('export', 'end', '01E', '--failed')
    assert (result.returncode, result.stderr) == (5, 'backupctl: export 01EXPORT is ending already\n')
