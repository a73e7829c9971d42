# SPDX-License-Identifier: LGPL-2.1-or-later
"""backupctl against a daemon that is well: what it asks, what it prints, how it ends."""
import json
import os

import pytest
from fake_daemon import export, job, problem

VM = {'name': 'web01', 'qmp': '/run/q', 'state': 'running', 'qemu_version': '7.2.0', 'jobs': ['01JOB'],
      'classes': {'vda': 'os'}, 'added_at': '2026-11-23T02:52:00Z',
      'disks': [{'name': 'vda', 'aliases': ['drive0'], 'size': 1 << 30, 'format': 'qcow2', 'class': 'os',
                 'selected': True, 'incremental': True}]}
REPO = {'name': 'default', 'type': 'qcow2', 'path': '/r', 'state': 'ok', 'backups': 2, 'bytes_stored': 1536,
        'bytes_free': 1 << 40, 'created_at': '2026-11-23T02:52:00Z'}
BACKUP = {'version': 1, 'id': '01BACKUP', 'vm': 'web01', 'job_id': '01JOB', 'repository': 'default', 'location': '/r/b',
          'state': 'completed', 'mode': 'push', 'point_in_time': '2026-11-23T02:52:00Z', 'guest_running': True,
          'size': 1 << 30, 'bytes_stored': 1 << 20,
          'disks': [{'name': 'vda', 'level': 'full', 'state': 'completed', 'size': 1 << 30}]}
CHECKPOINT = {'id': '01CHECK', 'name': None, 'vm': 'web01', 'backup_id': '01BACKUP', 'created_at': '2026-11-23T02:52:00Z',
              'disks': [{'name': 'vda', 'bitmap': 'bk-1'}]}

SERVE = {'id': '01SERVE', 'backup': '01BACKUP', 'disk': 'vda', 'uri': 'nbd+unix:///?socket=/run/s', 'size': 1 << 30,
         'created_at': '2026-11-23T02:52:00Z'}
DEDUP = {'name': 'nas', 'type': 'dedup', 'path': '/nas', 'chunk_size': 65536, 'compression': 1, 'encryption': 'key-file',
         'key_file': '/k', 'state': 'ok', 'backups': 2, 'bytes_stored': 1 << 20, 'bytes_free': 1 << 40,
         'bytes_logical': 10 << 20, 'bytes_unique': 5 << 19, 'bytes_reclaimable': 1536, 'packs': 7, 'chunks': 40,
         'trash': 3, 'damaged_chunks': 0, 'verified_at': None, 'created_at': '2026-11-23T02:52:00Z'}


def page(*items, following=None):
    return {'items': list(items), 'next': following}


# What is typed, what must be asked (method, path, body), what is answered.
REQUESTS = [
    (['vm', 'add', 'web01', '--qmp', '/run/q'], ('POST', '/v1/vms', {'name': 'web01', 'qmp': '/run/q'}), (201, VM)),
    (['vm', 'add', '--class', 'vda=os,vdb=db', 'web01', '--qmp=/run/q', '--agent', '/run/a', '--class=vdc=x'],
     ('POST', '/v1/vms', {'name': 'web01', 'qmp': '/run/q', 'agent': '/run/a',
                          'classes': {'vda': 'os', 'vdb': 'db', 'vdc': 'x'}}), (201, VM)),
    (['vm', 'list'], ('GET', '/v1/vms', None), page(VM)),
    (['vm', 'show', 'web01'], ('GET', '/v1/vms/web01', None), VM),
    (['vm', 'remove', 'web01'], ('DELETE', '/v1/vms/web01', None), (204, None)),
    (['repo', 'add', 'r', '--path', '/r', '--type', 'qcow2'],
     ('POST', '/v1/repositories', {'name': 'r', 'path': '/r', 'type': 'qcow2'}), (201, REPO)),
    (['repo', 'add', 'r', '--path', '/r', '--chunk-size', '128K', '--compression', '3', '--passphrase-file', '/p'],
     ('POST', '/v1/repositories', {'name': 'r', 'path': '/r', 'chunk_size': 131072, 'compression': 3,
                                   'passphrase_file': '/p'}), (201, REPO)),
    (['repo', 'add', 'r', '--path', '/r', '--class-chunk-size', 'database=64K,media=4M'],
     ('POST', '/v1/repositories', {'name': 'r', 'path': '/r', 'class_chunk_sizes': [{'class': 'database', 'chunk_size': 65536},
                                                                                     {'class': 'media', 'chunk_size': 4194304}]}),
     (201, REPO)),
    (['repo', 'add', 'r', '--path', '/r', '--key-file', '/k'],
     ('POST', '/v1/repositories', {'name': 'r', 'path': '/r', 'key_file': '/k'}), (201, REPO)),
    (['repo', 'verify', 'r', '--speed', '1M', '--id', 'x'],
     ('POST', '/v1/jobs', {'kind': 'verify', 'repository': 'r', 'speed': 1048576, 'id': 'x'}),
     (202, job('queued', kind='verify', vm=None))),
    (['repo', 'gc', 'r', '--id', 'x'], ('POST', '/v1/jobs', {'kind': 'gc', 'repository': 'r', 'id': 'x'}),
     (202, job('queued', kind='gc', vm=None))),
    (['verify', '01B', '--speed', '1M'], ('POST', '/v1/jobs', {'kind': 'verify', 'backup': '01B', 'speed': 1048576}),
     (202, job('queued', kind='verify'))),
    (['serve', '01B', '--disk', 'vda'], ('POST', '/v1/serves', {'backup': '01B', 'disk': 'vda'}), (201, SERVE)),
    (['serve', '--disk', 'vda', '--listen', 'tcp:127.0.0.1:0', '--', 'list'],
     ('POST', '/v1/serves', {'backup': 'list', 'disk': 'vda', 'listen': 'tcp:127.0.0.1:0'}), (201, SERVE)),
    (['serve', 'list'], ('GET', '/v1/serves', None), page(SERVE)),
    (['serve', 'stop', '01S'], ('DELETE', '/v1/serves/01S', None), (204, None)),
    (['export', 'list'], ('GET', '/v1/exports', None), page(export())),
    (['export', 'show', '01E'], ('GET', '/v1/exports/01E', None), export()),
    (['repo', 'list'], ('GET', '/v1/repositories', None), page(REPO)),
    (['repo', 'show', 'r'], ('GET', '/v1/repositories/r', None), REPO),
    (['repo', 'remove', 'r'], ('DELETE', '/v1/repositories/r', None), (204, None)),
    (['start', '--vm', 'web01'], ('POST', '/v1/jobs', {'kind': 'backup', 'vm': 'web01'}), (202, job('queued'))),
    (['start', '--vm', 'web01', '--disks', 'vda,vdb', '--disks=vdc', '--mode', 'push', '--level=incremental', '--since',
      '01C', '--repo', 'r', '--id', 'me', '--speed', '1.5M', '--quiesce', 'agent', '--compress', '--force', '--sync',
      'top', '--on-source-error', 'stop', '--on-target-error', 'enospc', '--format', 'raw'],
     ('POST', '/v1/jobs', {'kind': 'backup', 'vm': 'web01', 'disks': ['vda', 'vdb', 'vdc'], 'mode': 'push',
                           'level': 'incremental', 'since': '01C', 'repository': 'r', 'id': 'me', 'speed': 1572864,
                           'quiesce': 'agent', 'compress': True, 'force': True, 'sync': 'top',
                           'on_source_error': 'stop', 'on_target_error': 'enospc', 'format': 'raw'}),
     (202, job('queued'))),
    (['start', '--vm', 'v', '--target', 'nbd://h:10809/x'],
     ('POST', '/v1/jobs', {'kind': 'backup', 'vm': 'v', 'target': 'nbd://h:10809/x'}), (202, job('queued'))),
    (['start', '--vm', 'v', '--target', 'nbd+unix:///x?socket=/s'],
     ('POST', '/v1/jobs', {'kind': 'backup', 'vm': 'v', 'target': 'nbd+unix:///x?socket=/s'}), (202, job('queued'))),
    (['list'], ('GET', '/v1/jobs?limit=50', None), page(job())),
    (['list', '--vm', 'a&b', '--state', 'failed', '--kind', 'restore', '--limit', '7'],
     ('GET', '/v1/jobs?vm=a%26b&state=failed&kind=restore&limit=7', None), page(job())),
    (['status', '01J'], ('GET', '/v1/jobs/01J', None), job()),
    (['status', 'a/b?c'], ('GET', '/v1/jobs/a%2Fb%3Fc', None), job()),
    (['cancel', '01J'], ('POST', '/v1/jobs/01J/cancel', None), job('cancelled')),
    (['pause', '01J'], ('POST', '/v1/jobs/01J/pause', None), job('paused')),
    (['resume', '01J'], ('POST', '/v1/jobs/01J/resume', None), job('running')),
    (['speed', '01J', '10M'], ('PUT', '/v1/jobs/01J/speed', {'speed': 10485760}), job(speed=10485760)),
    (['speed', '01J', '0'], ('PUT', '/v1/jobs/01J/speed', {'speed': 0}), job()),
    (['backup', 'list', '--vm', 'web01'], ('GET', '/v1/backups?vm=web01', None), page(BACKUP)),
    (['backup', 'list', '--deleted', '--vm', 'web01'], ('GET', '/v1/backups?vm=web01&deleted=true', None),
     page(dict(BACKUP, deleted_at='2026-11-24T02:52:00Z'))),
    (['backup', 'undelete', '01B'], ('POST', '/v1/backups/01B/undelete', None), BACKUP),
    (['backup', 'pin', '01B'], ('POST', '/v1/backups/01B/pin', None), dict(BACKUP, pinned=True)),
    (['backup', 'unpin', '01B'], ('POST', '/v1/backups/01B/unpin', None), BACKUP),
    (['backup', 'copy', '01B', '--to', 'r', '--speed', '1M', '--id', 'x'],
     ('POST', '/v1/jobs', {'kind': 'copy', 'backup': '01B', 'to': 'r', 'speed': 1048576, 'id': 'x'}),
     (202, job('queued', kind='copy'))),
    (['backup', 'show', '01B'], ('GET', '/v1/backups/01B', None), BACKUP),
    (['backup', 'delete', '01B'], ('DELETE', '/v1/backups/01B', None), (202, job('queued', kind='delete'))),
    (['restore', '01B', '--output', '/o', '--disk', 'vda', '--disk', 'vdb', '--format', 'raw', '--force', '--speed', '1K',
      '--id', 'x'],
     ('POST', '/v1/jobs', {'kind': 'restore', 'backup': '01B', 'output': '/o', 'disks': ['vda', 'vdb'], 'format': 'raw',
                           'force': True, 'speed': 1024, 'id': 'x'}), (202, job('queued', kind='restore'))),
    (['checkpoint', 'create', '--vm', 'web01', '--disks', 'vda', '--name', 'n'],
     ('POST', '/v1/checkpoints', {'vm': 'web01', 'disks': ['vda'], 'name': 'n'}), (201, CHECKPOINT)),
    (['checkpoint', 'list', '--vm', 'web01'], ('GET', '/v1/checkpoints?vm=web01', None), page(CHECKPOINT)),
    (['checkpoint', 'delete', '01C'], ('DELETE', '/v1/checkpoints/01C', None), (204, None)),
]


def serve(daemon, request, answer):
    daemon.routes[request[0] + ' ' + request[1]] = answer


@pytest.mark.parametrize('words,request_,answer', REQUESTS, ids=lambda v: ' '.join(v) if isinstance(v, list) else '')
def test_asks_and_prints(daemon, ctl, words, request_, answer):
    serve(daemon, request_, answer)
    result = ctl(*words)
    assert (result.stderr, result.returncode) == ('', 0)
    assert result.stdout.strip()
    assert daemon.asked() == [request_]
    value = answer[1] if isinstance(answer, tuple) else answer
    result = ctl('--json', *words)
    assert (result.stderr, result.returncode) == ('', 0)
    assert json.loads(result.stdout) == (value if value is not None else {})


def test_options_may_stand_anywhere(daemon, ctl):
    daemon.routes['POST /v1/jobs'] = (202, job('queued'))
    for words in (['--vm', 'web01', 'start'], ['start', '--json', '--vm=web01'], ['--json', 'start', '--vm', 'web01', '--']):
        assert ctl(*words).returncode == 0
    assert [r[2] for r in daemon.asked()] == [{'kind': 'backup', 'vm': 'web01'}] * 3
    daemon.routes['GET /v1/jobs/--vm'] = job()
    assert ctl('status', '--', '--vm').returncode == 0


@pytest.mark.parametrize('words,member', [
    (['start', '--vm', 'v', '--target', 'out/x.qcow2'], 'target'), (['restore', 'b', '--output', 'out/x.qcow2'], 'output'),
    (['vm', 'add', 'v', '--qmp', 'out/x.qcow2'], 'qmp'),
    (['repo', 'add', 'r', '--path', '/r', '--key-file', 'out/x.qcow2'], 'key_file'),
    (['repo', 'add', 'r', '--path', '/r', '--passphrase-file', 'out/x.qcow2'], 'passphrase_file'),
    (['export', 'begin', '--vm', 'v', '--tls', 'out/x.qcow2'], 'tls'), (['repo', 'add', 'r', '--path', 'out/x.qcow2'], 'path')])
def test_makes_paths_absolute(daemon, ctl, folder, words, member):
    os.mkdir(folder + '/here')
    ctl(*words, cwd=folder + '/here')
    assert daemon.asked()[0][2][member] == folder + '/here/out/x.qcow2'


def test_start_prints_the_id_alone(daemon, ctl):
    daemon.routes['POST /v1/jobs'] = (202, job('queued', '01JXYZ'))
    assert ctl('start', '--vm', 'v').stdout == '01JXYZ\n'
    assert ctl('restore', 'b', '--output', '/o').stdout == '01JXYZ\n'
    for words in (['verify', 'b'], ['repo', 'verify', 'r'], ['repo', 'gc', 'r'], ['backup', 'copy', 'b', '--to', 'r']):
        assert ctl(*words).stdout == '01JXYZ\n'
    daemon.routes['POST /v1/serves'] = (201, SERVE)
    assert ctl('serve', 'b', '--disk', 'vda').stdout == SERVE['uri'] + '\n'
    daemon.routes['DELETE /v1/backups/b'] = (202, job('queued', '01JXYZ'))
    assert ctl('backup', 'delete', 'b').stdout == '01JXYZ\n'
    daemon.routes['POST /v1/checkpoints'] = (201, CHECKPOINT)
    assert ctl('checkpoint', 'create', '--vm', 'v').stdout == '01CHECK\n'


def test_dry_run_shows_the_plan(daemon, ctl):
    plan = {'vm': 'web01', 'mode': 'push', 'reason': 'the only one', 'repository': 'default',
            'disks': [{'name': 'vda', 'level': 'incremental', 'size': 1 << 30, 'bytes_estimated': 65536,
                       'base_checkpoint': '01C', 'reason': 'checkpoint is intact', 'target': '/r/x'}]}
    daemon.routes['POST /v1/jobs'] = plan
    result = ctl('start', '--vm', 'web01', '--dry-run', '--wait')
    assert result.returncode == 0
    assert daemon.asked()[0][2]['dry_run'] is True
    for text in ('incremental', '64.0 KiB', '01C', 'checkpoint is intact', 'push'):
        assert text in result.stdout
    assert json.loads(ctl('start', '--vm', 'web01', '--dry-run', '--json').stdout) == plan


def test_lists_to_the_end(daemon, ctl):
    daemon.routes['GET /v1/vms'] = page(VM, following='c/1')
    daemon.routes['GET /v1/vms?cursor=c%2F1'] = page(dict(VM, name='web02'), following=17)
    daemon.routes['GET /v1/vms?cursor=17'] = page(dict(VM, name='web03'))
    answer = json.loads(ctl('--json', 'vm', 'list').stdout)
    assert [vm['name'] for vm in answer['items']] == ['web01', 'web02', 'web03']
    assert answer['next'] is None


def test_lists_to_its_limit(daemon, ctl):
    daemon.routes['GET /v1/jobs?limit=3'] = page(job(ident='a'), job(ident='b'), following='x')
    daemon.routes['GET /v1/jobs?limit=1&cursor=x'] = page(job(ident='c'), following='y')
    result = ctl('--quiet', 'list', '--limit', '3')
    assert [line.split()[0] for line in result.stdout.splitlines()] == ['a', 'b', 'c']
    assert json.loads(ctl('--json', 'list', '--limit', '3').stdout)['next'] == 'y'
    daemon.routes['GET /v1/jobs?limit=2'] = page(job(ident='a'), job(ident='b'), job(ident='c'))  # more than asked for
    assert len(ctl('--quiet', 'list', '--limit', '2').stdout.splitlines()) == 2


def test_tables(daemon, ctl):
    daemon.routes['GET /v1/jobs'] = page(job(), job('completed', 'j2', vm=None, step=None))
    lines = ctl('list').stdout.splitlines()
    assert lines[0].split() == ['ID', 'KIND', 'VM', 'STATE', 'STEP', 'DONE', 'SIZE', 'CREATED']
    assert lines[1].split() == ['01JOB', 'backup', 'web01', 'running', 'copy', '25%', '4.0', 'KiB', '2026-11-23', '02:52:00']
    assert lines[2].split()[:5] == ['j2', 'backup', '-', 'completed', '-']
    assert '\033' not in '\n'.join(lines)
    assert ctl('list', env={'TZ': 'Asia/Tokyo'}).stdout.splitlines()[1].endswith('11:52:00')
    assert ctl('--quiet', 'list').stdout.splitlines()[0].startswith('01JOB')
    assert 'KiB' not in ctl('--json', 'list').stdout


def test_status_shows_disks_steps_and_errors(daemon, ctl):
    bad = job('failed', error={'code': 'no-space', 'message': 'the target is full'})
    bad['disks'][0]['error'] = {'code': 'no-space', 'message': 'vda does not fit'}
    daemon.routes['GET /v1/jobs/j'] = bad
    result = ctl('status', 'j')
    assert result.returncode == 0
    for text in ('the target is full (no-space)', 'vda does not fit', 'Steps', 'plan', '25%, 1.0 KiB of 4.0 KiB'):
        assert text in result.stdout


def rows(text):
    """'Label: value' lines as they stand, in their order."""
    return [tuple(part.strip() for part in line.split(':', 1)) for line in text.splitlines()]


def test_a_dedup_repository_shows_what_is_shared(daemon, ctl):
    daemon.routes['GET /v1/repositories/nas'] = DEDUP
    shown = dict(rows(ctl('repo', 'show', 'nas').stdout))
    assert {key: shown[key] for key in ('Logical', 'Unique', 'Stored', 'Deduplication', 'Compression', 'gc would free',
                                        'In the trash', 'Packs', 'Damage', 'Verified', 'Encryption', 'Key file')} == {
        'Logical': '10.0 MiB', 'Unique': '2.5 MiB', 'Stored': '1.0 MiB', 'Deduplication': '4.0 : 1', 'Compression': '2.5 : 1',
        'gc would free': '1.5 KiB', 'In the trash': '3', 'Packs': '7', 'Damage': 'none known', 'Verified': 'never as a whole',
        'Encryption': 'key-file', 'Key file': '/k'}
    assert 'Passphrase file' not in shown
    daemon.routes['GET /v1/repositories/nas'] = dict(DEDUP, damaged_chunks=2, verified_at='2026-11-24T02:52:00Z',
                                                     bytes_logical=0, bytes_unique=0, compression=0)
    shown = dict(rows(ctl('repo', 'show', 'nas').stdout))
    assert shown['Damage'].startswith('2 chunks') and shown['Verified'] == '2026-11-24 02:52:00'
    assert 'Deduplication' not in shown and 'Compression' not in shown
    assert shown['Compression level'] == '1'
    daemon.routes['GET /v1/repositories/nas'] = REPO
    assert 'Deduplication' not in ctl('repo', 'show', 'nas').stdout


def test_marks_of_backups(daemon, ctl):
    daemon.routes['GET /v1/backups'] = page(BACKUP, dict(BACKUP, pinned=True, damaged=True),
                                            dict(BACKUP, verified_at='2026-11-23T02:52:00Z'))
    assert [line.split()[-1] for line in ctl('--quiet', 'backup', 'list').stdout.splitlines()] == ['-', 'damaged,pinned', 'verified']
    daemon.routes['GET /v1/backups/b'] = dict(BACKUP, pinned=True)
    assert 'pinned' in ctl('backup', 'show', 'b').stdout


def test_the_trash_tells_since_when(daemon, ctl):
    daemon.routes['GET /v1/backups'] = page(dict(BACKUP, deleted_at='2026-11-24T03:04:05Z'))
    assert '2026-11-24 03:04:05' in ctl('backup', 'list', '--deleted').stdout


def test_why_an_increment_is_large(daemon, ctl):
    pull = job(mode='pull', bytes_total=3 << 30, bytes_different=2 << 20, bytes_new=1 << 20)
    pull['disks'][0].update(bytes_total=3 << 30, bytes_different=2 << 20, bytes_new=1 << 20)
    daemon.routes['GET /v1/jobs/j'] = pull
    text = ctl('status', 'j').stdout
    assert '3.0 GiB dirty, 2.0 MiB of it different, 1.0 MiB new to the repository' in text
    heading, disk = text.split('Disks\n')[1].splitlines()[:2]
    assert heading.split()[:7] == ['DISK', 'LEVEL', 'STATE', 'DIRTY', 'READ', 'DIFFERENT', 'NEW']
    assert '2.0 MiB' in disk and '1.0 MiB' in disk
    daemon.routes['GET /v1/jobs/j'] = job(mode='push', bytes_different=0, bytes_new=0)
    assert 'dirty' not in ctl('status', 'j').stdout.lower()


def test_gc_tells_what_it_would_free(daemon, ctl):
    daemon.routes['POST /v1/jobs'] = (202, job('queued', kind='gc', vm=None, disks=[]))
    end = job('completed', kind='gc', vm=None, disks=[], bytes_total=3 << 20, bytes_transferred=0)
    daemon.routes['GET /v1/jobs/01JOB'] = end
    daemon.routes['GET /v1/events'] = (500, {})
    result = ctl('--quiet', 'repo', 'gc', 'r', '--dry-run')
    assert (result.returncode, result.stdout, result.stderr) == (0, 'gc would free 3.0 MiB\n', '')
    assert daemon.asked()[0][2] == {'kind': 'gc', 'repository': 'r', 'dry_run': True}
    assert json.loads(ctl('--json', 'repo', 'gc', 'r', '--dry-run').stdout) == end
    daemon.routes['GET /v1/jobs/01JOB'] = job('failed', kind='gc', disks=[], error={'code': 'unreachable', 'message': 'no disk'})
    result = ctl('repo', 'gc', 'r', '--dry-run')
    assert (result.returncode, result.stdout) == (6, '')


CODES = [('failed', 500, 1), ('invalid', 400, 2), ('invalid', 422, 2), ('partial', 500, 3), ('not-found', 404, 4),
         ('conflict', 409, 5), ('unreachable', 502, 6), ('denied', 403, 7), ('denied', 401, 7), ('cancelled', 500, 8),
         ('corrupt', 500, 9), ('no-space', 507, 10)]


@pytest.mark.parametrize('code,status,leave', CODES)
def test_exit_status_is_that_of_the_code(daemon, ctl, code, status, leave):
    daemon.routes['GET /v1/vms'] = problem(status, code, 'it is so')
    for words in (['vm', 'list'], ['--json', 'vm', 'list']):
        result = ctl(*words)
        assert (result.returncode, result.stdout, result.stderr) == (leave, '', 'backupctl: it is so\n')


def test_names_the_member_at_fault(daemon, ctl):
    daemon.routes['POST /v1/jobs'] = problem(422, 'invalid', 'must not be so', pointer='/disks/1')
    assert ctl('start', '--vm', 'v').stderr == 'backupctl: /disks/1: must not be so\n'
    daemon.routes['POST /v1/jobs'] = problem(422, 'invalid', '/disks/1: must not be so', pointer='/disks/1')
    assert ctl('start', '--vm', 'v').stderr == 'backupctl: /disks/1: must not be so\n'


def test_an_unknown_code_counts_by_its_status(daemon, ctl):
    daemon.routes['GET /v1/vms'] = problem(409, 'from-the-future', 'busy in a new way')
    assert ctl('vm', 'list').returncode == 5


def test_says_when_the_daemon_is_away(ctl, folder):
    result = ctl('vm', 'list')
    address = 'unix:' + folder + '/s'
    assert result.returncode == 6
    assert result.stderr == (f'backupctl: cannot reach backupd at {address}: No such file or directory; '
                             'is it running? (systemctl start backupd)\n')
    import socket
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(folder + '/s')
    result = ctl('vm', 'list')
    assert result.returncode == 6
    assert 'Connection refused; is it running?' in result.stderr
    result = ctl('--host', 'http://127.0.0.1:1', 'vm', 'list')
    assert result.returncode == 6
    assert 'http://127.0.0.1:1: Connection refused' in result.stderr


def test_speaks_http(daemon, ctl):
    import http.server
    import threading
    from fake_daemon import Handler
    daemon.routes['GET /v1/vms'] = page(VM)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.fake = daemon
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    result = ctl('--host', f'http://127.0.0.1:{server.server_port}', 'vm', 'list')
    server.shutdown()
    server.server_close()
    assert (result.returncode, result.stderr) == (0, '')
    assert 'web01' in result.stdout


def test_says_when_stdout_is_full(daemon, ctl):
    daemon.routes['GET /v1/vms'] = page(VM)
    with open('/dev/full', 'w') as full:
        import subprocess
        child = ctl.spawn('vm', 'list', stdout=full, stderr=subprocess.PIPE)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 10
    assert b'cannot write to standard output: No space left' in err


def test_version_and_help(ctl):
    result = ctl('--version')
    assert (result.returncode, result.stdout.split()[0]) == (0, 'backupctl')
    for words in (['--help'], ['help'], ['start', '--help'], ['help', 'start'], ['vm', '--help'], ['help', 'vm', 'add'],
                  ['vm', 'add', 'x', '--help'], ['-h']):
        result = ctl(*words)
        assert (result.returncode, result.stderr) == (0, ''), words
        assert result.stdout.startswith('Usage: backupctl'), words
    assert ctl('help', 'start').stdout == ctl('start', '--help').stdout
