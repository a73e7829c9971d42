# SPDX-License-Identifier: LGPL-2.1-or-later
"""What HTTP clients may do to the daemon, well-meant or not."""
import json
import os
import signal
import socket
import stat
import subprocess
import time

import jsonschema
import pytest
import yaml

from daemon import Daemon, Events, UnixConnection, read_answer

with open(os.environ['OPENAPI_YAML'], encoding='utf-8') as _file:
    OPENAPI = yaml.safe_load(_file)


def check(schema, document):
    """Holds @document against a schema of the OpenAPI document, which shall not say less than there is."""
    whole = {'$ref': f'#/components/schemas/{schema}', 'components': OPENAPI['components']}
    jsonschema.Draft202012Validator(whole).validate(document)
    return document


def check_problem(answer, status, code, pointer=None):
    assert (answer.status, answer.type) == (status, 'application/problem+json'), answer.bytes
    check('Problem', answer.json)
    assert answer.json['status'] == status
    assert answer.json['code'] == code
    assert answer.json.get('pointer') == pointer
    return answer.json['detail']


@pytest.fixture(name='daemon')
def fixture_daemon(tmp_path):
    daemon = Daemon(tmp_path, ['--listen', 'tcp:127.0.0.1:0']).wait_ready()
    yield daemon
    assert daemon.end() == 0, daemon.text()
    assert not os.path.exists(daemon.socket)


@pytest.fixture(name='vm')
def fixture_vm(daemon):
    """A VM whose socket is not there. Returns when that is known: its event is not to come between those of a test."""
    events = Events(daemon)
    answer = daemon.post('/v1/vms', {'name': 'web01', 'qmp': os.path.join(daemon.folder, 'qmp'), 'classes': {'vda': 'os'}})
    assert answer.status == 201
    while events.next()[2]['body']['state'] != 'unreachable':
        pass
    events.close()
    return daemon


# --- the nouns ---

def test_health(daemon):
    answer = daemon.get('/v1/health')
    assert (answer.status, answer.type) == (200, 'application/json')
    assert check('Health', answer.json)['status'] == 'ok'


def test_openapi_is_the_document(daemon):
    assert daemon.get('/v1/openapi.json').json == OPENAPI


def test_vms(daemon):
    assert daemon.get('/v1/vms').json == {'items': [], 'next': None}
    answer = daemon.post('/v1/vms', {'name': 'web01', 'qmp': '/nowhere/qmp', 'classes': {'vda': 'os'}})
    assert (answer.status, answer.headers['Location']) == (201, '/v1/vms/web01')
    assert check('Vm', answer.json)['classes'] == {'vda': 'os'}
    assert [vm['name'] for vm in check('VmList', daemon.get('/v1/vms').json)['items']] == ['web01']
    shown = check('Vm', daemon.get('/v1/vms/web01').json)
    assert shown['reason'] and 'disks' not in shown
    check_problem(daemon.post('/v1/vms', {'name': 'web01', 'qmp': '/other'}), 409, 'conflict')
    check_problem(daemon.post('/v1/vms', {'name': 'web02', 'qmp': '/nowhere/qmp'}), 409, 'conflict')
    assert daemon.ask('DELETE', '/v1/vms/web01').status == 204
    assert 'none yet' in check_problem(daemon.get('/v1/vms/web01'), 404, 'not-found')
    check_problem(daemon.ask('DELETE', '/v1/vms/web01'), 404, 'not-found')


@pytest.mark.parametrize('body, pointer', [
    ({}, '/name'),
    ({'name': 'a b', 'qmp': '/x'}, '/name'),
    ({'name': 'a'}, '/qmp'),
    ({'name': 'a', 'qmp': 'relative'}, '/qmp'),
    ({'name': 'a', 'qmp': '/' + 'x' * 107}, '/qmp'),
    ({'name': 'a', 'qmp': '/x', 'agent': 'relative'}, '/agent'),
    ({'name': 'a', 'qmp': '/x', 'classes': {'vda': 'a b'}}, '/classes/vda'),
    ({'name': 'a', 'qmp': '/x', 'classes': {'vda': 3}}, '/classes/vda'),
    ({'name': 'a', 'qmp': '/x', 'state': 'running'}, '/state'),
    ({'name': 'a', 'qmp': '/x', 'socket': '/y'}, '/socket'),
    ([], '/'),
])
def test_vm_that_is_wrong(daemon, body, pointer):
    check_problem(daemon.post('/v1/vms', body), 422, 'invalid', pointer)
    assert daemon.get('/v1/vms').json['items'] == []


def test_a_path_of_107_bytes_will_do(daemon):
    assert daemon.post('/v1/vms', {'name': 'a', 'qmp': '/' + 'x' * 106}).status == 201


def test_jobs(vm):
    answer = vm.post('/v1/jobs', {'vm': 'web01', 'id': 'j1', 'kind': 'backup'})
    assert (answer.status, answer.headers['Location']) == (202, '/v1/jobs/j1')
    assert check('Job', answer.json)['state'] == 'running'
    assert vm.get('/v1/vms/web01').json['jobs'] == ['j1']
    assert check('Job', vm.get('/v1/jobs/j1').json)['vm'] == 'web01'
    assert vm.post('/v1/jobs/j1/pause').json['state'] == 'paused'
    check_problem(vm.post('/v1/jobs/j1/pause'), 409, 'conflict')
    assert vm.post('/v1/jobs/j1/resume').json['state'] == 'running'
    assert vm.ask('PUT', '/v1/jobs/j1/speed', {'speed': 12}).json['speed'] == 12
    assert vm.post('/v1/jobs/j1/speed', {'speed': 0}).json['speed'] == 0
    check_problem(vm.ask('PUT', '/v1/jobs/j1/speed', {'speed': -1}), 422, 'invalid', '/speed')
    check_problem(vm.ask('PUT', '/v1/jobs/j1/speed', {}), 422, 'invalid', '/speed')
    assert 'j1' in check_problem(vm.ask('DELETE', '/v1/vms/web01'), 409, 'conflict')
    assert vm.post('/v1/jobs/j1/cancel').json['state'] == 'cancelled'
    check_problem(vm.get('/v1/jobs/zz'), 404, 'not-found')
    check_problem(vm.post('/v1/jobs', {'vm': 'web01', 'id': 'j1'}), 409, 'conflict')
    check_problem(vm.post('/v1/jobs', {'vm': 'web02'}), 404, 'not-found')
    check_problem(vm.post('/v1/jobs', {'vm': 'web01', 'id': 'nowhere'}), 502, 'unreachable')


@pytest.mark.parametrize('body, pointer', [
    ({'kind': 'delete', 'vm': 'web01'}, '/kind'),
    ({'kind': 1, 'vm': 'web01'}, '/kind'),
    ({'vm': 'web01', 'level': 'none'}, '/level'),
    ({'vm': 'web01', 'disks': ['vda', 2]}, '/disks/1'),
    ({'vm': 'web01', 'id': 'a/b'}, '/id'),
    ({'kind': 'restore', 'output': '/x'}, '/backup'),
    ({'kind': 'restore', 'backup': 'b', 'output': '/x', 'dry_run': True}, '/dry_run'),
    ({'vm': 'no-such-vm', 'id': ''}, '/id'),
    ({'kind': 'restore', 'backup': 'b', 'output': '/x', 'id': 'a b'}, '/id'),
    ({'kind': 'verify', 'backup': 'b', 'id': 'a/b'}, '/id'),
    ({'kind': 'gc', 'repository': 'r', 'id': 'x' * 65}, '/id'),
    ({'kind': 'copy', 'backup': 'b', 'to': 'r', 'id': ''}, '/id'),
    ({'kind': 'export', 'vm': 'web01'}, '/kind'),
    ({'kind': 'verify'}, '/backup'),
    ({'kind': 'verify', 'backup': 'b', 'repository': 'r'}, '/backup'),
    ({'kind': 'verify', 'backup': 1}, '/backup'),
    ({'kind': 'verify', 'repository': 'r', 'dry_run': True}, '/dry_run'),
    ({'kind': 'gc'}, '/repository'),
    ({'kind': 'gc', 'repository': 'default', 'dry_run': 'yes'}, '/dry_run'),
    ({'kind': 'copy', 'to': 'r'}, '/backup'),
    ({'kind': 'copy', 'backup': 'b'}, '/to'),
    ({'kind': 'copy', 'backup': 'b', 'to': 'r', 'speed': -1}, '/speed'),
    ('text', '/'),
    (None, '/'),
])
def test_job_that_is_wrong(vm, body, pointer):
    check_problem(vm.post('/v1/jobs', text=json.dumps(body)), 422, 'invalid', pointer)
    assert vm.get('/v1/jobs').json['items'] == []


def test_dry_run_only_plans(vm):
    answer = vm.post('/v1/jobs', {'vm': 'web01', 'dry_run': True})
    assert answer.status == 200
    assert check('Plan', answer.json)['vm'] == 'web01'
    assert vm.get('/v1/jobs').json['items'] == []


def test_jobs_page_and_filter(vm):
    for number in range(5):
        vm.post('/v1/jobs', {'vm': 'web01', 'id': f'j{number}'})
    vm.post('/v1/jobs/j3/cancel')
    seen, query = [], ''
    while query is not None:
        page = check('JobList', vm.get('/v1/jobs?limit=2' + query).json)
        assert len(page['items']) <= 2
        seen += [job['id'] for job in page['items']]
        query = f'&cursor={page["next"]}' if page['next'] else None
    assert seen == ['j4', 'j3', 'j2', 'j1', 'j0']
    assert [job['id'] for job in vm.get('/v1/jobs?state=cancelled&vm=web01').json['items']] == ['j3']
    assert vm.get('/v1/jobs?kind=restore').json['items'] == []
    assert vm.get('/v1/jobs?vm=web02').json['items'] == []


@pytest.mark.parametrize('query, pointer', [
    ('state=runing', '?state'), ('kind=x', '?kind'), ('limit=0', '?limit'), ('limit=1001', '?limit'),
    ('limit=ten', '?limit'), ('limit=-1', '?limit'), ('cursor=x', '?cursor'), ('stat=running', '?stat'),
    ('vm=a&vm=b', '?vm'), ('vm=%ff', None),
])
def test_query_that_is_wrong(daemon, query, pointer):
    check_problem(daemon.get('/v1/jobs?' + query), 400, 'invalid', pointer)


def test_parameters_only_where_they_belong(daemon):
    check_problem(daemon.get('/v1/vms?limit=3'), 400, 'invalid', '?limit')
    check_problem(daemon.get('/v1/backups?cursor=x'), 400, 'invalid', '?cursor')
    check_problem(daemon.get('/v1/backups?cursor=5'), 400, 'invalid', '?cursor')


def test_backups(vm):
    for number in range(5):
        vm.post('/v1/jobs', {'vm': 'web01', 'id': f'b{number}'})
    page = check('BackupList', vm.get('/v1/backups?limit=2&vm=web01').json)
    assert [backup['id'] for backup in page['items']] == ['b0', 'b1']
    page = vm.get(f'/v1/backups?limit=3&cursor={page["next"]}').json
    assert [backup['id'] for backup in page['items']] == ['b2', 'b3', 'b4']
    assert page['next'] is None
    assert vm.get('/v1/backups?vm=web02').json['items'] == []
    assert check('Backup', vm.get('/v1/backups/b3').json)['vm'] == 'web01'
    answer = vm.ask('DELETE', '/v1/backups/b3')
    assert answer.status == 202
    assert check('Job', answer.json)['kind'] == 'delete'
    assert answer.headers['Location'] == '/v1/jobs/' + answer.json['id']
    check_problem(vm.get('/v1/backups/b3'), 404, 'not-found')
    answer = vm.post('/v1/jobs', {'kind': 'restore', 'backup': 'b2', 'output': '/x', 'id': 'r1'})
    assert (answer.status, answer.json['kind'], answer.json['backup_id']) == (202, 'restore', 'b2')
    check_problem(vm.get('/v1/backups/zz'), 404, 'not-found')
    check_problem(vm.ask('DELETE', '/v1/backups/zz'), 404, 'not-found')


def test_trash(vm):
    for number in range(3):
        vm.post('/v1/jobs', {'vm': 'web01', 'id': f'b{number}'})
    assert vm.get('/v1/backups?deleted=true').json == {'items': [], 'next': None}
    for number in (2, 0):
        vm.ask('DELETE', f'/v1/backups/b{number}')
    page = check('BackupList', vm.get('/v1/backups?deleted=true&vm=web01&limit=1').json)
    assert [one['id'] for one in page['items']] == ['b0'] and page['items'][0]['deleted_at']
    page = vm.get(f'/v1/backups?deleted=true&cursor={page["next"]}').json
    assert [one['id'] for one in page['items']] == ['b2'] and page['next'] is None
    assert vm.get('/v1/backups?deleted=true&vm=web02').json['items'] == []
    assert [one['id'] for one in vm.get('/v1/backups?deleted=false').json['items']] == ['b1']
    answer = vm.post('/v1/backups/b2/undelete')
    assert (answer.status, answer.json['id']) == (200, 'b2')
    assert 'deleted_at' not in check('Backup', answer.json)
    assert [one['id'] for one in vm.get('/v1/backups').json['items']] == ['b1', 'b2']
    check_problem(vm.post('/v1/backups/b2/undelete'), 404, 'not-found')
    for word in ('', 'yes', 'TRUE', '1'):
        check_problem(vm.get('/v1/backups?deleted=' + word), 400, 'invalid', '?deleted')


def test_pins(vm):
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'b0'})
    answer = vm.post('/v1/backups/b/pin')
    assert (answer.status, check('Backup', answer.json)['pinned']) == (200, True)
    assert vm.get('/v1/backups/b0').json['pinned']
    check_problem(vm.ask('DELETE', '/v1/backups/b0'), 409, 'conflict')
    answer = vm.post('/v1/backups/b0/unpin')
    assert answer.status == 200 and 'pinned' not in answer.json
    assert vm.ask('DELETE', '/v1/backups/b0').status == 202
    check_problem(vm.post('/v1/backups/b0/pin'), 404, 'not-found')
    check_problem(vm.get('/v1/backups/b0/pin'), 405, 'invalid')


def test_a_backup_that_can_not_be_pinned(vm):
    vm.post('/v1/vms', {'name': 'plain', 'qmp': '/nowhere'})
    vm.post('/v1/jobs', {'vm': 'plain', 'id': 'p0'})
    assert 'dedup' in check_problem(vm.post('/v1/backups/p0/pin'), 400, 'invalid')


def test_jobs_of_repositories(vm):
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'b0'})
    for body, wanted in (({'kind': 'verify', 'backup': 'b', 'id': 'v1'}, {'backup_id': 'b0', 'vm': 'web01'}),
                         ({'kind': 'verify', 'repository': 'default', 'speed': 7}, {'repository': 'default', 'vm': None}),
                         ({'kind': 'gc', 'repository': 'default'}, {'repository': 'default', 'bytes_total': 0}),
                         ({'kind': 'gc', 'repository': 'default', 'dry_run': True}, {'bytes_total': 4096}),
                         ({'kind': 'copy', 'backup': 'b0', 'to': 'default', 'speed': 9}, {'speed': 9, 'backup_id': 'b0'})):
        answer = vm.post('/v1/jobs', body)
        assert answer.status == 202 and answer.headers['Location'] == '/v1/jobs/' + answer.json['id'], answer.bytes
        assert check('Job', answer.json)['kind'] == body['kind']
        assert {key: answer.json[key] for key in wanted} == wanted
        assert [job['id'] for job in vm.get('/v1/jobs?kind=' + body['kind']).json['items']][0] == answer.json['id']
    check_problem(vm.post('/v1/jobs', {'kind': 'verify', 'backup': 'b0', 'id': 'v1'}), 409, 'conflict')
    check_problem(vm.post('/v1/jobs', {'kind': 'verify', 'backup': 'zz'}), 404, 'not-found')
    check_problem(vm.post('/v1/jobs', {'kind': 'gc', 'repository': 'zz'}), 404, 'not-found')
    check_problem(vm.post('/v1/jobs', {'kind': 'copy', 'backup': 'b0', 'to': 'zz'}), 404, 'not-found')


def test_repositories(daemon):
    path = os.path.join(daemon.folder, 'more')
    page = check('RepositoryList', daemon.get('/v1/repositories').json)
    assert [(one['name'], one['state']) for one in page['items']] == [('default', 'ok')]
    answer = daemon.post('/v1/repositories', {'name': 'more', 'path': path})
    assert (answer.status, answer.headers['Location']) == (201, '/v1/repositories/more')
    assert check('Repository', answer.json)['bytes_free'] > 0
    assert os.path.exists(os.path.join(path, 'repository.json'))
    check_problem(daemon.post('/v1/repositories', {'name': 'more', 'path': path + '2'}), 409, 'conflict')
    check_problem(daemon.post('/v1/repositories', {'name': 'again', 'path': path + '/.'}), 409, 'conflict')
    check_problem(daemon.post('/v1/repositories', {'name': 'rel', 'path': 'x'}), 422, 'invalid', '/path')
    check_problem(daemon.post('/v1/repositories', {'name': 'r', 'path': '/x', 'type': 'tape'}), 422, 'invalid', '/type')
    check_problem(daemon.post('/v1/repositories', {'name': 'r', 'path': '/x', 'backups': 3}), 422, 'invalid', '/backups')
    os.rename(path, path + '.gone')
    gone = check('Repository', daemon.get('/v1/repositories/more').json)
    assert gone['state'] == 'unreachable' and path in gone['reason']
    os.rename(path + '.gone', path)
    assert daemon.get('/v1/repositories/more').json['state'] == 'ok'
    assert daemon.ask('DELETE', '/v1/repositories/more').status == 204
    assert 'default' in check_problem(daemon.get('/v1/repositories/more'), 404, 'not-found')


@pytest.mark.parametrize('more, pointer', [
    ({'type': 'qcow2', 'chunk_size': 65536}, '/chunk_size'),
    ({'type': 'qcow2', 'compression': 3}, '/compression'),
    ({'type': 'qcow2', 'passphrase_file': '/k'}, '/passphrase_file'),
    ({'type': 'qcow2', 'key_file': '/k'}, '/key_file'),
    ({'type': 'dedup', 'chunk_size': 32768}, '/chunk_size'),
    ({'type': 'dedup', 'chunk_size': 65537}, '/chunk_size'),
    ({'type': 'dedup', 'chunk_size': 3 * 65536}, '/chunk_size'),
    ({'type': 'dedup', 'chunk_size': 8 << 20}, '/chunk_size'),
    ({'type': 'dedup', 'chunk_size': '64K'}, '/chunk_size'),
    ({'type': 'qcow2', 'class_chunk_sizes': [{'class': 'a', 'chunk_size': 65536}]}, '/class_chunk_sizes'),
    ({'class_chunk_sizes': [{'class': 'a', 'chunk_size': 65536}, {'class': 'b', 'chunk_size': 1}]}, '/class_chunk_sizes/1'),
    ({'class_chunk_sizes': [{'class': '../a', 'chunk_size': 65536}]}, '/class_chunk_sizes/0'),
    ({'class_chunk_sizes': [{'class': 'a', 'chunk_size': 65536}, {'class': 'a', 'chunk_size': 131072}]}, '/class_chunk_sizes/1'),
    ({'class_chunk_sizes': [{'class': 'a'}]}, '/class_chunk_sizes/0/chunk_size'),
    ({'type': 'dedup', 'compression': 20}, '/compression'),
    ({'type': 'dedup', 'compression': -1}, '/compression'),
    ({'type': 'dedup', 'passphrase_file': 'relative'}, '/passphrase_file'),
    ({'type': 'dedup', 'key_file': 'relative'}, '/key_file'),
    ({'type': 'dedup', 'key_file': '/k', 'passphrase_file': '/p'}, '/key_file'),
    ({'encryption': 'none'}, '/encryption'),
    ({'packs': 3}, '/packs'),
])
def test_repository_that_is_wrong(daemon, more, pointer):
    path = os.path.join(daemon.folder, 'more')
    check_problem(daemon.post('/v1/repositories', {'name': 'more', 'path': path, **more}), 422, 'invalid', pointer)
    assert not os.path.exists(path)
    assert daemon.get('/v1/repositories/more').status == 404


def test_checkpoints(vm):
    answer = vm.post('/v1/checkpoints', {'vm': 'web01', 'name': 'before'})
    assert answer.status == 201
    checkpoint = check('Checkpoint', answer.json)
    assert [one['id'] for one in check('CheckpointList', vm.get('/v1/checkpoints?vm=web01').json)['items']] == [checkpoint['id']]
    check_problem(vm.post('/v1/checkpoints', {'vm': 'web02'}), 404, 'not-found')
    check_problem(vm.post('/v1/checkpoints', {}), 422, 'invalid', '/vm')
    assert vm.ask('DELETE', '/v1/checkpoints/' + checkpoint['id']).status == 204
    check_problem(vm.ask('DELETE', '/v1/checkpoints/' + checkpoint['id']), 404, 'not-found')


# --- exports and serves ---

def wait_for(daemon, path, state):
    deadline = time.monotonic() + 10
    while (answer := daemon.get(path)).json['state'] != state:
        assert time.monotonic() < deadline, answer.json
        time.sleep(0.02)
    return answer.json


def test_exports(vm):
    assert vm.get('/v1/exports').json == {'items': [], 'next': None}
    events = Events(vm)
    answer = vm.post('/v1/exports', {'vm': 'web01', 'id': 'e1', 'since': 'monday', 'listen': 'unix', 'timeout_seconds': 60})
    assert (answer.status, answer.headers['Location']) == (202, '/v1/exports/e1')
    assert check('Export', answer.json)['state'] == 'beginning'
    assert [one['id'] for one in check('ExportList', vm.get('/v1/exports').json)['items']] == ['e1']
    check_problem(vm.post('/v1/exports/e1/end', {'result': 'success'}), 409, 'conflict')
    ready = check('Export', wait_for(vm, '/v1/exports/e', 'ready'))
    assert ready['disks'][0]['uri'] and ready['disks'][0]['dirty_context']
    answer = vm.post('/v1/exports/e1/end', {'result': 'success'})
    assert (answer.status, answer.headers['Location'], answer.json['state']) == (202, '/v1/exports/e1', 'ending')
    assert check('Export', wait_for(vm, '/v1/exports/e1', 'ended'))['checkpoint_id']
    assert vm.get('/v1/exports').json['items'] == []
    seen = []
    for _ in range(4):
        name, _, data = events.next()
        check('Event', data)
        seen.append((name, data['job'], data['vm'], data['body']['state']))
    assert seen == [('export', 'e1', 'web01', state) for state in ('beginning', 'ready', 'ending', 'ended')]
    events.close()
    check_problem(vm.get('/v1/exports/zz'), 404, 'not-found')
    check_problem(vm.post('/v1/exports/zz/end', {'result': 'failed'}), 404, 'not-found')
    check_problem(vm.post('/v1/exports', {'vm': 'web02'}), 404, 'not-found')
    check_problem(vm.post('/v1/exports', {'vm': 'web01', 'id': 'nowhere'}), 502, 'unreachable')


def test_an_export_that_fails(vm):
    vm.post('/v1/exports', {'vm': 'web01', 'id': 'broken'})
    assert check('Export', wait_for(vm, '/v1/exports/broken', 'failed'))['error']['code'] == 'no-space'
    check_problem(vm.post('/v1/exports/broken/end', {'result': 'failed'}), 409, 'conflict')


@pytest.mark.parametrize('body, pointer', [
    ({}, '/vm'),
    ({'vm': 'web01', 'disks': 'vda'}, '/disks'),
    ({'vm': 'web01', 'tls': 'relative'}, '/tls'),
    ({'vm': 'web01', 'id': 'a/b'}, '/id'),
    ({'vm': 'web01', 'timeout_seconds': -1}, '/timeout_seconds'),
    ({'vm': 'web01', 'timeout_seconds': 31 * 86400 + 1}, '/timeout_seconds'),
    ({'vm': 'web01', 'timeout_seconds': '2h'}, '/timeout_seconds'),
    ({'vm': 'web01', 'kind': 'export'}, '/kind'),
    *(({'vm': 'web01', 'listen': listen}, '/listen') for listen in (
        '', 'udp:a:1', 'unix:/x', 'tcp:', 'tcp:10809', 'tcp::10809', 'tcp:a:', 'tcp:a:b', 'tcp:a:65536', 'tcp:a:-1',
        'tcp:a b:1', 'tcp:::1:10809', 'tcp:[::1:10809', 'tcp:[]:1', 'tcp:[a]:1', 'tcp:[127.0.0.1]:1', 'tcp:a/b:1')),
])
def test_export_that_is_wrong(vm, body, pointer):
    check_problem(vm.post('/v1/exports', body), 422, 'invalid', pointer)
    assert vm.get('/v1/exports').json['items'] == []


@pytest.mark.parametrize('listen', ['tcp:0.0.0.0:10809', 'tcp:[::]:0', 'tcp:backup-1.example.org:65535', None])
def test_where_an_export_may_be(vm, listen):
    assert vm.post('/v1/exports', {'vm': 'web01', 'listen': listen, 'tls': '/etc/tls', 'disks': ['vda']}).status == 202


@pytest.mark.parametrize('body, pointer', [
    ({}, '/result'), ({'result': 'ok'}, '/result'), ({'result': None}, '/result'), ({'result': 'failed', 'why': 'x'}, '/why'),
])
def test_end_of_an_export_that_is_wrong(vm, body, pointer):
    vm.post('/v1/exports', {'vm': 'web01', 'id': 'e1'})
    wait_for(vm, '/v1/exports/e1', 'ready')
    check_problem(vm.post('/v1/exports/e1/end', body), 422, 'invalid', pointer)
    assert vm.get('/v1/exports/e1').json['state'] == 'ready'


def test_serves(vm):
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'b0'})
    assert vm.get('/v1/serves').json == {'items': [], 'next': None}
    events = Events(vm)
    answer = vm.post('/v1/serves', {'backup': 'b', 'disk': 'vda', 'listen': 'tcp:127.0.0.1:0'})
    serve = check('Serve', answer.json)
    assert (answer.status, answer.headers['Location']) == (201, '/v1/serves/' + serve['id'])
    assert (serve['backup'], serve['disk']) == ('b0', 'vda') and serve['uri'].startswith('nbd')
    name, _, data = events.next()
    assert (name, check('Event', data)['body']) == ('serve', serve)
    events.close()
    assert check('ServeList', vm.get('/v1/serves').json)['items'] == [serve]
    assert vm.get('/v1/serves/' + serve['id'][:10]).json == serve
    check_problem(vm.post('/v1/serves', {'backup': 'zz', 'disk': 'vda'}), 404, 'not-found')
    assert 'vda' in check_problem(vm.post('/v1/serves', {'backup': 'b0', 'disk': 'vdz'}), 404, 'not-found')
    taken = {'backup': 'b0', 'disk': 'vda', 'listen': 'tcp:127.0.0.1:1'}
    check_problem(vm.post('/v1/serves', taken), 409, 'conflict')
    assert vm.ask('DELETE', '/v1/serves/' + serve['id']).status == 204
    check_problem(vm.ask('DELETE', '/v1/serves/' + serve['id']), 404, 'not-found')
    check_problem(vm.get('/v1/serves/' + serve['id']), 404, 'not-found')


@pytest.mark.parametrize('body, pointer', [
    ({'disk': 'vda'}, '/backup'), ({'backup': 'b0'}, '/disk'), ({'backup': 'b0', 'disk': ['vda']}, '/disk'),
    ({'backup': 'b0', 'disk': 'vda', 'listen': 'tcp:localhost'}, '/listen'),
    ({'backup': 'b0', 'disk': 'vda', 'writable': True}, '/writable'),
])
def test_serve_that_is_wrong(vm, body, pointer):
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'b0'})
    check_problem(vm.post('/v1/serves', body), 422, 'invalid', pointer)
    assert vm.get('/v1/serves').json['items'] == []


# --- HTTP ---

def test_unknown_paths(daemon):
    for path in ('/', '/v1', '/v1/', '/v1/vm', '/v1/vms/', '/v1/vms//', '/v2/vms', '/v1/jobs/x/stop', '/v1/vms/%ff', '/v1/vms/a%00b'):
        check_problem(daemon.get(path), 404, 'not-found')


def test_escapes_in_paths(daemon):
    assert "'a/b'" in check_problem(daemon.get('/v1/vms/a%2Fb'), 404, 'not-found')
    assert daemon.get('/v1/%76ms').status == 200


def test_wrong_method_names_the_right_ones(daemon):
    answer = daemon.ask('PATCH', '/v1/vms/a')
    check_problem(answer, 405, 'invalid')
    assert answer.headers['Allow'] == 'GET, HEAD, DELETE'
    answer = daemon.ask('HEAD', '/v1/jobs/a/cancel')
    assert (answer.status, answer.headers['Allow']) == (405, 'POST')


def test_head_is_get_without_body(daemon):
    head, get = daemon.ask('HEAD', '/v1/vms'), daemon.get('/v1/vms')
    assert (head.status, head.bytes) == (200, b'')
    assert head.headers['Content-Length'] == str(len(get.bytes))
    assert daemon.ask('HEAD', '/v1/events').status == 200


def test_content_type(daemon):
    for kind in ('text/plain', 'application/x-www-form-urlencoded', 'application/jsonx'):
        check_problem(daemon.post('/v1/vms', text='{}', headers={'Content-Type': kind}), 415, 'invalid')
    status, _ = read_answer(daemon.raw(b'POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}'))
    assert status == 415
    kind = {'Content-Type': 'Application/JSON; charset=utf-8'}
    check_problem(daemon.post('/v1/vms', {}, headers=kind), 422, 'invalid', '/name')


@pytest.mark.parametrize('text, offset', [('{"name": x}', 9), ('{} {}', 3), ('', 0), ('{"a":"\x00"}', 7), ('[' * 100, 64)])
def test_syntax_error_names_its_byte(daemon, text, offset):
    detail = check_problem(daemon.post('/v1/vms', text=text), 400, 'invalid')
    assert f'byte {offset}' in detail or (text == '{} {}' and 'byte 2' in detail), detail


def test_body_of_just_a_mebibyte(daemon):
    text = '{"name": "' + 'a' * (1024 * 1024 - 12) + '"}'
    assert len(text) == 1024 * 1024
    check_problem(daemon.post('/v1/vms', text=text), 422, 'invalid', '/name')
    check_problem(daemon.post('/v1/vms', text=text + ' '), 413, 'invalid')


def test_announced_length_is_refused_before_it_is_sent(daemon):
    client = daemon.raw(b'POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n'
                        b'Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n')
    assert read_answer(client)[0] == 413


def resident_kib(daemon):
    with open(f'/proc/{daemon.process.pid}/status', encoding='ascii') as status:
        return int(next(line for line in status if line.startswith('VmRSS')).split()[1])


def test_endless_body_is_not_kept(daemon):
    before = resident_kib(daemon)
    client = daemon.raw(b'POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
                        b'Transfer-Encoding: chunked\r\n\r\n')
    piece = b'%x\r\n' % 1000000 + b' ' * 1000000 + b'\r\n'
    for _ in range(50):
        client.sendall(piece)
    # An address sanitizer keeps what was freed for a while; without one there is next to nothing.
    if not has_sanitizer():
        assert resident_kib(daemon) - before < 8 * 1024
    client.sendall(b'0\r\n\r\n')
    assert read_answer(client)[0] == 413


def has_sanitizer():
    with open(os.environ['BACKUPD'], 'rb') as program:
        return b'__asan_init' in program.read()


def test_any_host_on_the_socket(daemon):
    for host in ('backupd', 'evil.example:99', '%2Frun%2Fbackupd.sock', '127.0.0.1'):
        assert daemon.get('/v1/health', headers={'Host': host, 'Origin': 'http://evil.example'}).status == 200
    status, _ = read_answer(daemon.raw(b'GET /v1/health HTTP/1.0\r\n\r\n'))
    assert status == 200


def test_ranges_are_not_served(daemon):
    answer = daemon.get('/v1/health', headers={'Range': 'bytes=0-1,0-1,0-1'})
    assert (answer.status, answer.json['status']) == (200, 'ok')


@pytest.mark.parametrize('data', [
    b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', b'GET\r\n\r\n', b'GET /v1/health HTTP/9.9\r\n\r\n',
    b'GET /v1/health HTTP/1.1\r\n\r\n',
    b'POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n', b'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
    b'POST /v1/vms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', b'CONNECT x:1 HTTP/1.1\r\n\r\n',
    b'GET /v1/jobs?vm=%zz HTTP/1.1\r\nHost: x\r\n\r\n', b'GET http://x/v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n', b'A' * 200000,
], ids=range(11))
def test_garbage_does_no_harm(daemon, data):
    client = daemon.raw()
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert b' 200 ' not in client.recv(100)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert daemon.get('/v1/health').status == 200


def test_too_many_connections(daemon):
    idle = [daemon.raw() for _ in range(128)]
    deadline = time.monotonic() + 10
    status, body = read_answer(daemon.raw())
    assert status == 503
    check('Problem', json.loads(body))
    for client in idle:
        client.close()
    while daemon_status(daemon) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def daemon_status(daemon):
    try:
        return daemon.get('/v1/health').status
    except OSError:
        return None


def test_a_late_answer_holds_up_nobody(vm):
    connection = UnixConnection(vm.socket)
    began = time.monotonic()
    connection.request('POST', '/v1/jobs', '{"vm": "web01", "id": "slow"}', {'Content-Type': 'application/json'})
    assert vm.get('/v1/health').status == 200
    assert time.monotonic() - began < 0.5
    assert connection.getresponse().status == 202


def test_a_client_that_leaves_before_the_answer(vm):
    connection = UnixConnection(vm.socket)
    connection.request('POST', '/v1/jobs', '{"vm": "web01", "id": "slow"}', {'Content-Type': 'application/json'})
    connection.close()
    deadline = time.monotonic() + 10
    while vm.get('/v1/jobs/slow').status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason='needs to be somebody else')
def test_other_users_are_refused(daemon):
    for path in (daemon.folder, os.path.dirname(daemon.folder), os.path.dirname(os.path.dirname(daemon.folder))):
        os.chmod(path, 0o755)
    script = ('import socket, sys\nc = socket.socket(socket.AF_UNIX)\nc.connect(sys.argv[1])\n'
              'c.sendall(b"GET /v1/health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")\nprint(c.recv(99))')
    as_nobody = {'user': 65534, 'group': 65534, 'extra_groups': [], 'capture_output': True, 'text': True, 'check': False}
    first = subprocess.run(['/usr/bin/python3', '-c', script, daemon.socket], **as_nobody)
    assert 'Permission denied' in first.stderr
    os.chmod(daemon.socket, 0o666)
    second = subprocess.run(['/usr/bin/python3', '-c', script, daemon.socket], **as_nobody)
    assert ' 403 ' in second.stdout, second.stderr


# --- TCP ---

def ask_tcp(daemon, headers, method=b'GET', path=b'/v1/health'):
    client = socket.create_connection(('127.0.0.1', daemon.tcp_port()), 20)
    client.sendall(method + b' ' + path + b' HTTP/1.1\r\n' + headers + b'\r\n')
    return read_answer(client)


def test_tcp_host(daemon):
    port = b'%d' % daemon.tcp_port()
    for host in (b'localhost', b'LOCALHOST:' + port, b'127.0.0.1:' + port, b'[::1]:8080', b'[::1]'):
        assert ask_tcp(daemon, b'Host: ' + host + b'\r\n')[0] == 200, host
    for host in (b'evil.example', b'localhost.evil.example', b'127.0.0.1.evil.example:' + port, b'10.0.0.1',
                 b'localhost:', b'', b'localhost.'):
        status, body = ask_tcp(daemon, b'Host: ' + host + b'\r\n')
        assert status == 403, host
        assert check('Problem', json.loads(body))['code'] == 'denied'


def test_tcp_origin(daemon):
    host = b'localhost:%d' % daemon.tcp_port()
    assert ask_tcp(daemon, b'Host: %s\r\nOrigin: http://%s\r\n' % (host, host))[0] == 200
    for origin in (b'http://evil.example', b'https://' + host, b'http://localhost', b'null', b''):
        assert ask_tcp(daemon, b'Host: %s\r\nOrigin: %s\r\n' % (host, origin))[0] == 403, origin
    assert ask_tcp(daemon, b'Host: %s\r\nOrigin: http://evil.example\r\n' % host, b'POST', b'/v1/jobs/x/cancel')[0] == 403


# --- events ---

def test_events(vm):
    events = Events(vm)
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'j1'})
    name, number, data = events.next()
    check('Event', data)
    assert (name, data['type'], data['job'], data['vm'], data['id']) == ('job', 'job', 'j1', 'web01', number)
    assert check('Job', data['body'])['state'] == 'running'
    vm.post('/v1/jobs/j1/cancel')
    name, later, data = events.next()
    assert (later, data['body']['state']) == (number + 1, 'cancelled')
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'j2'})
    assert events.next()[1] == number + 2, 'each event once, and nothing else'
    events.close()
    missed = Events(vm, headers={'Last-Event-ID': str(number)})
    assert missed.next()[1] == later
    missed.close()
    assert Events(vm, f'?after={number}').next()[1] == later
    assert Events(vm, f'?after={later}', {'Last-Event-ID': str(number)}).next()[1] == later


def test_events_of_vms(daemon):
    events = Events(daemon)
    daemon.post('/v1/vms', {'name': 'a', 'qmp': '/nowhere/a'})
    name, _, data = events.next()
    assert (name, check('Vm', data['body'])['name']) == ('vm', 'a')
    daemon.ask('DELETE', '/v1/vms/a')
    while data['body']['state'] != 'removed':
        name, _, data = events.next()
    assert (name, data['vm']) == ('vm', 'a')


def test_events_filter(vm):
    of_job, of_vm, of_other = Events(vm, '?job=j2&after=0'), Events(vm, '?vm=web01'), Events(vm, '?vm=web02')
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'j1'})
    vm.post('/v1/jobs', {'vm': 'web01', 'id': 'j2'})
    assert of_job.next()[2]['job'] == 'j2'
    assert [of_vm.next()[2]['job'], of_vm.next()[2]['job']] == ['j1', 'j2']
    vm.post('/v1/vms', {'name': 'web02', 'qmp': '/nowhere/2'})
    assert of_other.next()[2]['vm'] == 'web02'


def test_events_of_an_earlier_daemon_are_lost(vm):
    events = Events(vm, headers={'Last-Event-ID': '5000'})
    name, _, data = events.next()
    assert (name, data) == ('lost', {'after': 5000})
    assert events.next()[1] == 1


def test_slow_reader_loses_events_and_is_told(vm):
    slow = Events(vm)
    before = resident_kib(vm)
    assert vm.post('/v1/jobs', {'vm': 'web01', 'id': 'flood'}).status == 202
    if not has_sanitizer():
        assert resident_kib(vm) - before < 64 * 1024
    seen, lost, last = [], 0, None
    vm.post('/v1/jobs/flood/cancel')
    while last != 'cancelled':
        name, number, data = slow.next()
        if name == 'lost':
            lost += 1
        else:
            seen.append(number)
            last = data['body']['state']
    assert lost >= 1
    assert seen == sorted(set(seen))
    assert len(seen) < 20000


def test_bad_starting_point(daemon):
    check_problem(daemon.get('/v1/events?after=x'), 400, 'invalid', '?after')


def test_an_http10_subscriber_reads_to_the_end(tmp_path):
    daemon = Daemon(tmp_path).wait_ready()
    client = daemon.raw(b'GET /v1/events HTTP/1.0\r\n\r\n')
    text = b''
    while b'retry: 2000\n\n' not in text:
        text += client.recv(4096)
    assert daemon.end() == 0, daemon.text()
    assert client.recv(4096) == b''


def test_it_ends_with_clients_on_all_doors(tmp_path):
    daemon = Daemon(tmp_path).wait_ready()
    daemon.post('/v1/vms', {'name': 'web01', 'qmp': '/nowhere/qmp'})
    events = [Events(daemon) for _ in range(3)]
    waiting = UnixConnection(daemon.socket)
    waiting.request('POST', '/v1/jobs', '{"vm": "web01", "id": "slow"}', {'Content-Type': 'application/json'})
    clients = [daemon.raw(), daemon.raw(b'GET /v1/he'),
               daemon.raw(b'POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{')]
    assert daemon.get('/v1/health').status == 200
    began = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    answer = waiting.getresponse()
    assert answer.status == 503
    check('Problem', json.loads(answer.read()))
    assert daemon.wait() == 0, daemon.text()
    assert time.monotonic() - began < 5
    assert [stream.next() for stream in events] == [None] * 3 and clients


# --- where it listens ---

def test_socket_is_ours_alone(daemon):
    assert stat.S_IMODE(os.stat(daemon.socket).st_mode) == 0o600


def test_stale_socket_is_replaced(tmp_path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / 'sock'))
    stale.close()
    daemon = Daemon(tmp_path).wait_ready()
    assert daemon.get('/v1/health').status == 200
    assert daemon.end() == 0


def refused(tmp_path, status, *options, listen=False):
    daemon = Daemon(tmp_path, options, listen=listen)
    assert daemon.process.wait(20) == status, daemon.text()
    return daemon.text()


def test_living_socket_is_left_alone(tmp_path, daemon):
    other = tmp_path / 'other'
    other.mkdir()
    assert 'another program' in refused(other, 5, '--listen', 'unix:' + daemon.socket)
    assert daemon.get('/v1/health').status == 200


def test_a_file_is_not_replaced(tmp_path):
    (tmp_path / 'file').write_text('precious')
    assert 'not a socket' in refused(tmp_path, 5, '--listen', f'unix:{tmp_path}/file')
    assert (tmp_path / 'file').read_text() == 'precious'


def test_socket_of_a_successor_is_left_alone(tmp_path):
    daemon = Daemon(tmp_path).wait_ready()
    os.unlink(daemon.socket)
    successor = socket.socket(socket.AF_UNIX)
    successor.bind(daemon.socket)
    assert daemon.end() == 0
    assert os.path.exists(daemon.socket)


def test_missing_folder_is_made(tmp_path):
    path = tmp_path / 'run' / 'backupd' / 's'
    daemon = Daemon(tmp_path, ['--listen', f'unix:{path}'], listen=False).wait_ready()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert daemon.end() == 0


@pytest.mark.parametrize('address', [
    'unix:', 'unix:/' + 'x' * 108, 'tcp:0.0.0.0:8080', 'tcp:192.0.2.1:8080', 'tcp:[::]:80', 'tcp:example.com:80',
    'tcp:127.0.0.1', 'tcp:127.0.0.1:x', 'tcp:127.0.0.1:70000', 'tcp:::1:80', '/run/x', 'http://localhost:80', 'tcp::80', '',
])
def test_addresses_that_are_not_served(tmp_path, address):
    assert f"'{address}'" in refused(tmp_path, 2, '--listen', address)


def test_taken_port(tmp_path, daemon):
    other = tmp_path / 'other'
    other.mkdir()
    refused(other, 5, '--listen', f'tcp:localhost:{daemon.tcp_port()}')


# --- the program ---

def test_second_daemon_on_the_same_state(tmp_path, daemon):
    assert daemon.get('/v1/health').status == 200
    refused(tmp_path, 5, '--listen', f'unix:{tmp_path}/second')


def test_what_it_keeps_is_there_again(tmp_path):
    daemon = Daemon(tmp_path).wait_ready()
    daemon.post('/v1/vms', {'name': 'a', 'qmp': '/nowhere/a', 'classes': {'vda': 'os'}})
    daemon.post('/v1/repositories', {'name': 'more', 'path': str(tmp_path / 'more')})
    assert daemon.end() == 0
    daemon = Daemon(tmp_path).wait_ready()
    vm = daemon.get('/v1/vms').json['items'][0]
    assert (vm['name'], vm['classes']) == ('a', {'vda': 'os'})
    assert [one['name'] for one in daemon.get('/v1/repositories').json['items']] == ['default', 'more']
    assert daemon.end() == 0


@pytest.mark.parametrize('abstract', [False, True])
def test_service_manager_is_told(tmp_path, abstract):
    name = f'@backupd-test-{os.getpid()}' if abstract else str(tmp_path / 'notify')
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(20)
    manager.bind('\0' + name[1:] if abstract else name)
    daemon = Daemon(tmp_path, environment={'NOTIFY_SOCKET': name})
    assert manager.recv(99) == b'READY=1'
    assert daemon.get('/v1/health').status == 200
    assert daemon.end() == 0
    assert manager.recv(99) == b'STOPPING=1'


def test_journal_gets_priorities(tmp_path):
    path = tmp_path / 'journal'
    with open(path, 'wb') as journal:
        info = os.fstat(journal.fileno())
        arguments = [os.environ['BACKUPD'], '--state-dir', str(tmp_path / 's'), '--listen', 'tcp:10.0.0.1:1']
        for stream, prefix in ((f'{info.st_dev}:{info.st_ino}', '<3>cannot'), ('1:1', 'backupd: cannot')):
            journal.truncate(0)
            subprocess.run(arguments, stderr=journal, env={**os.environ, 'JOURNAL_STREAM': stream}, check=False)
            assert path.read_text().lstrip('\0').startswith(prefix)


@pytest.mark.parametrize('text, expected', [
    ('[daemon]\nlissten=x\n', "no such key 'lissten' in [daemon]"),
    ('[deamon]\nlisten=x\n', 'no such group [deamon]'),
    ('[daemon]\nmax-running=0\n', "key 'max-running' in [daemon]: '0' is not"),
    ('[daemon]\nscratch-reserve=much\n', "key 'scratch-reserve' in [daemon]: 'much' is not a size"),
    ('[daemon]\nstate-dir=relative\n', "key 'state-dir' in [daemon]: 'relative' is not an absolute path"),
    ('[daemon]\njust text\n', 'just text'),
])
def test_configuration_that_is_wrong(tmp_path, text, expected):
    (tmp_path / 'conf').write_text(text)
    said = refused(tmp_path, 2, '--config', str(tmp_path / 'conf'), listen=True)
    assert expected in said and str(tmp_path / 'conf') in said


def test_configuration(tmp_path):
    (tmp_path / 'conf').write_text(f'[daemon]\nlisten=unix:{tmp_path}/one;unix:{tmp_path}/two\nstate-dir={tmp_path}/other\n'
                                   'scratch-reserve=10M\nmax-running=3\n')
    daemon = Daemon(tmp_path, ['--config', str(tmp_path / 'conf')], listen=False)
    daemon.wait_ready()
    assert (tmp_path / 'state' / 'catalog.sqlite').exists(), 'the command line goes before the file'
    daemon.socket = str(tmp_path / 'two')
    deadline = time.monotonic() + 10
    while daemon_status(daemon) != 200:
        assert time.monotonic() < deadline
    assert daemon.end() == 0


def test_command_line_that_is_wrong(tmp_path):
    assert '--nonsense' in refused(tmp_path, 2, '--nonsense')
    assert 'surplus' in refused(tmp_path, 2, 'surplus')
    refused(tmp_path, 4, '--config', '/nowhere/conf')


def test_version():
    told = subprocess.run([os.environ['BACKUPD'], '--version'], capture_output=True, text=True, check=True)
    assert told.stdout == f"backupd {OPENAPI['info']['version']}\n"
