# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bash completion: words, and the names of what there is."""
import os
import subprocess

import pytest
from conftest import PROGRAM
from fake_daemon import export, job

SCRIPT = os.path.join(os.path.dirname(__file__), '../../../contrib/completion/backupctl')

# bash breaks words at = and : before a completion sees them.
RUN = '''
. "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
compopt() { :; }
_backupctl
printf '%s\\n' "${COMPREPLY[@]}"
'''


@pytest.fixture
def complete(daemon, ctl):
    disks = [{'name': name, 'size': 1} for name in ('vda', 'vdb')]
    vms = [{'name': 'web01', 'disks': disks}, {'name': 'web02'}, {'name': 'db'}]
    daemon.routes['GET /v1/vms'] = {'items': vms, 'next': None}
    daemon.routes['GET /v1/vms/web01'] = vms[0]
    daemon.routes['GET /v1/jobs'] = {'items': [job(ident='01JA'), job(ident='01JB')], 'next': None}
    daemon.routes['GET /v1/repositories'] = {'items': [{'name': 'default', 'path': '/r'}], 'next': None}
    daemon.routes['GET /v1/backups'] = {'next': None, 'items': [
        {'id': '01BA', 'vm': 'web01', 'state': 'completed', 'point_in_time': '2026-11-23T02:52:00Z', 'disks': []}]}
    daemon.routes['GET /v1/backups?deleted=true'] = {'next': None, 'items': [
        {'id': '01DA', 'vm': 'web01', 'state': 'completed', 'point_in_time': '2026-11-23T02:52:00Z', 'disks': []}]}
    daemon.routes['GET /v1/serves'] = {'next': None, 'items': [{'id': '01SA', 'backup': 'b', 'disk': 'vda', 'uri': 'nbd://h'}]}
    daemon.routes['GET /v1/exports'] = {'next': None, 'items': [export(ident='01EA')]}
    disks = [{'name': name, 'level': 'full', 'state': 'completed'} for name in ('sda', 'sdb')]
    daemon.routes['GET /v1/backups/01BA'] = {'id': '01BA', 'vm': 'web01', 'state': 'completed', 'disks': disks,
                                             'point_in_time': '2026-11-23T02:52:00Z'}
    daemon.routes['GET /v1/checkpoints'] = {'items': [{'id': '01CA', 'vm': 'web01'}], 'next': None}

    def run(*words, env=None):
        result = subprocess.run(['bash', '-c', RUN, 'bash', SCRIPT, PROGRAM, *words], text=True, capture_output=True,
                                env=dict(ctl.env, **(env or {})), timeout=60, cwd=ctl.folder)
        assert result.stderr == ''
        return set(result.stdout.split())
    return run


@pytest.mark.parametrize('words,expected', [
    (['st'], {'start', 'status'}),
    (['vm', ''], {'add', 'discover', 'list', 'show', 'remove'}),
    (['help', 'ch'], {'checkpoint'}),
    (['help', 'checkpoint', 'c'], {'create'}),
    (['vm', 'show', 'we'], {'web01', 'web02'}),
    (['vm', 'add', '--q'], {'--qmp', '--quiet'}),
    (['start', '--vm', ''], {'web01', 'web02', 'db'}),
    (['start', '--vm', '=', 'd'], {'db'}),
    (['start', '--vm', '='], {'web01', 'web02', 'db'}),
    (['start', '--vm', 'web01', '--disks', ''], {'vda', 'vdb'}),
    (['start', '--disks', ''], set()),
    (['start', '--vm', 'web01', '--mode', 'push'], {'push', 'push-direct'}),
    (['start', '--repo', ''], {'default'}),
    (['start', '--since', ''], {'01CA'}),
    (['--json', 'status', '01J'], {'01JA', '01JB'}),
    (['start', '--wait', '--d'], {'--disks', '--dry-run'}),
    (['restore', ''], {'01BA'}),
    (['restore', '01BA', '--disk', ''], {'sda', 'sdb'}),
    (['serve', '01BA', '--disk', 'sda'], {'sda'}),
    (['serve', '--disk', ''], set()),
    (['verify', ''], {'01BA'}),
    (['repo', 'gc', ''], {'default'}),
    (['backup', 'copy', '01BA', '--to', ''], {'default'}),
    (['backup', 'undelete', ''], {'01DA'}),
    (['backup', ''], {'list', 'show', 'delete', 'undelete', 'pin', 'unpin', 'copy'}),
    (['serve', ''], {'01BA', 'list', 'stop'}),
    (['serve', '01BA', '--d'], {'--disk'}),
    (['serve', 'list', '--l'], set()),
    (['serve', 'stop', ''], {'01SA'}),
    (['export', 'end', ''], {'01EA'}),
    (['export', 'end', '01EA', '--s'], {'--success'}),
    (['export', 'begin', '--listen', 'u'], {'unix'}),
    (['repo', 'add', 'r', '--type', ''], {'dedup', 'qcow2'}),
    (['repo', 'add', 'r', '--chunk-size', '6'], {'64K'}),
    (['restore', '01BA', '--format', ''], {'raw', 'qcow2'}),
    (['checkpoint', 'delete', ''], {'01CA'}),
    (['list', '--state', 'c'], {'completed', 'cancelled'}),
    (['--j'], {'--json'}),
    (['nonsense', ''], set()),
])
def test_completes(complete, words, expected):
    assert complete(*words) == expected


def test_first_word(complete):
    assert {'start', 'vm', 'help', 'restore', 'checkpoint'} <= complete('')


def test_asks_the_host_that_is_typed(complete, ctl):
    words = ['--host', 'unix', ':', ctl.folder + '/s', 'vm', 'show', 'd']
    assert complete(*words, env={'BACKUPD_HOST': 'unix:/nowhere'}) == {'db'}


def test_says_nothing_when_the_daemon_is_away(complete, daemon):
    daemon.stop()
    assert complete('vm', 'show', '') == set()


def test_completes_files(complete, ctl):
    open(ctl.folder + '/image.raw', 'w').close()
    assert complete('restore', '01BA', '--output', 'im') == {'image.raw'}
