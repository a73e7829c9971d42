# SPDX-License-Identifier: LGPL-2.1-or-later
"""Wrong usage: one line on stderr that names what is wrong, exit status 2, and the daemon is not asked."""
import pytest

V = ['start', '--vm', 'v']
R = ['restore', 'b', '--output', '/o']

# What is typed, what the line must hold.
WRONG = [
    ([], 'no command'),
    (['--json'], 'no command'),
    (['--'], 'no command'),
    (['--host', 'unix:/x'], 'no command'),
    (['frobnicate'], "unknown command 'frobnicate'; see 'backupctl --help'"),
    (['policy', 'list'], "unknown command 'policy'; see 'backupctl --help'"),
    (['token', 'create'], "unknown command 'token'"),
    (['export', 'begin', '--vm', 'v'], "unknown command 'export'"),
    (['verify', 'b'], "unknown command 'verify'"),
    (['serve', 'b'], "unknown command 'serve'"),
    (['doctor'], "unknown command 'doctor'"),
    (['star', '--vm', 'v'], "unknown command 'star'"),
    (['START', '--vm', 'v'], "unknown command 'START'"),
    (['help', 'frobnicate'], "unknown command 'frobnicate'"),
    (['frobnicate', '--help'], "unknown command 'frobnicate'"),
    ([''], "unknown command ''"),
    (['vm  list'], "unknown command 'vm  list'"),
    (['vm'], "'vm' needs one of add, list, show, remove"),
    (['vm', 'discover'], "unknown command 'vm discover'"),
    (['backup'], "'backup' needs one of list, show, delete"),
    (['backup', 'pin', 'b'], "unknown command 'backup pin'"),
    (['repo', 'gc', 'r'], "unknown command 'repo gc'"),
    (['checkpoint', '--vm', 'v'], "'checkpoint' needs one of create, list, delete"),
    (['vm', 'add'], "'vm add' needs NAME"),
    (['vm', 'add', 'v'], "needs option '--qmp'"),
    (['vm', 'add', '--qmp', '/q'], "needs NAME"),
    (['vm', 'add', 'v', '--qmp'], "option '--qmp' needs a value"),
    (['vm', 'add', 'v', '--qmp='], "option '--qmp' needs a value"),
    (['vm', 'add', 'v', '--qmp', ''], "option '--qmp' needs a value"),
    (['vm', 'add', 'v', 'w', '--qmp', '/q'], "does not take 'w'"),
    (['vm', 'add', 'v', '--qmp', '/q', '--class', 'vda'], "option '--class' must be NAME=VALUE"),
    (['vm', 'add', 'v', '--qmp', '/q', '--class', '=os'], "option '--class' must be NAME=VALUE"),
    (['vm', 'add', 'v', '--qmp', '/q', '--class', 'vda='], "option '--class' must be NAME=VALUE"),
    (['vm', 'add', 'v', '--qmp', '/q', '--class', 'vda=os,,'], "option '--class' must be NAME=VALUE"),
    (['vm', 'add', 'v', '--libvirt', 'qemu:///system'], "no option '--libvirt'"),
    (['vm', 'list', 'x'], "'vm list' does not take 'x'"),
    (['vm', 'show'], "'vm show' needs NAME"),
    (['vm', 'show', ''], 'NAME needs a value'),
    (['vm', 'show', '.'], "NAME can not be '.'"),
    (['vm', 'show', '..'], "NAME can not be '..'"),
    (['repo', 'add', 'r'], "needs option '--path'"),
    (['repo', 'add', 'r', '--path', '/r', '--type', 'zfs'], "option '--type' must be one of qcow2"),
    (['start'], "needs option '--vm'"),
    (['start', 'v'], "does not take 'v'"),
    (['start', '--vm'], "option '--vm' needs a value"),
    (['start', '--vm', '--wait'], "option '--vm' needs a value"),
    (V + ['--vm', 'w'], "option '--vm' is given twice"),
    (V + ['--wait=yes'], "option '--wait' takes no value"),
    (V + ['--json=yes'], "option '--json' takes no value"),
    (V + ['--mode', 'fast'], "option '--mode' must be one of auto, push, push-direct, pull, not 'fast'"),
    (V + ['--level', 'FULL'], "option '--level' must be one of"),
    (V + ['--quiesce', 'yes'], "option '--quiesce' must be one of"),
    (V + ['--format', 'vmdk'], "option '--format' must be one of"),
    (V + ['--sync', 'x'], "option '--sync' must be one of"),
    (V + ['--on-source-error', 'ignore'], "option '--on-source-error' must be one of"),
    (V + ['--on-target-error', 'ignore'], "option '--on-target-error' must be one of"),
    (V + ['--speed', 'fast'], "option '--speed': 'fast' is not a size"),
    (V + ['--speed', '10X'], "'10X' is not a size"),
    (V + ['--speed=-1'], "'-1' is not a size"),
    (V + ['--speed', '99999999999999T'], 'is not a size'),
    (V + ['--disks', ''], "option '--disks' needs a value"),
    (V + ['--disks', 'vda,,vdb'], "option '--disks' has an empty name"),
    (V + ['--disks', 'vda,'], "option '--disks' has an empty name"),
    (V + ['--repo', 'r', '--target', '/t'], "'--repo' and '--target' exclude each other"),
    (V + ['--dry'], "no option '--dry'"),
    (V + ['--wai'], "no option '--wai'"),
    (V + ['-w'], "no option '-w'"),
    (V + ['--disk', 'vda'], "'start' has no option '--disk'; see 'backupctl help start'"),
    (V + ['--', '--wait'], "does not take '--wait'"),
    (V + ['--target', b'/t\xff'], 'is not valid UTF-8'),
    (V + ['--x\x1b[31m'], "no option '--x\\x1b[31m'"),
    (['restore', 'b'], "needs option '--output'"),
    (['restore', '--output', '/o'], "needs BACKUP"),
    (R + ['--format', 'vdi'], "option '--format' must be one of raw, qcow2"),
    (R + ['x'], "does not take 'x'"),
    (['list', '--state', 'done'], "option '--state' must be one of queued"),
    (['list', '--limit', '0'], "option '--limit' must be a whole number from 1"),
    (['list', '--limit', '1.5'], "option '--limit' must be a whole number"),
    (['list', '--limit', '10M'], "option '--limit' must be a whole number"),
    (['list', '--limit=-1'], "option '--limit' must be a whole number"),
    (['status'], "'status' needs JOB"),
    (['status', 'a', 'b'], "does not take 'b'"),
    (['watch'], "'watch' needs JOB"),
    (['cancel', ''], 'JOB needs a value'),
    (['pause', '--all'], "no option '--all'"),
    (['speed', 'j'], "needs BYTES/S"),
    (['speed', 'j', 'fast'], "BYTES/S: 'fast' is not a size"),
    (['speed', 'j', '-5'], "no option '-5'"),
    (['backup', 'delete'], 'needs BACKUP'),
    (['backup', 'delete', 'b', '--yes'], "no option '--yes'"),
    (['checkpoint', 'create'], "needs option '--vm'"),
    (['checkpoint', 'delete'], 'needs CHECKPOINT'),
    (['--host', 'tcp:localhost:1', 'vm', 'list'], "address 'tcp:localhost:1'"),
    (['--host', 'unix:', 'vm', 'list'], "address 'unix:'"),
    (['--host', 'http://', 'vm', 'list'], "address 'http://'"),
    (['--host', 'http://h/path', 'vm', 'list'], "address 'http://h/path'"),
    (['--host', 'ftp://h', 'vm', 'list'], "address 'ftp://h'"),
    (['--host', '/run/s', 'vm', 'list'], "address '/run/s'"),
    (['--host', 'unix:/' + 'x' * 108, 'vm', 'list'], 'longer than 107 bytes'),
    (['--host'], 'no command'),
    (['vm', 'list', '--host'], "option '--host' needs a value"),
    (['--host', 'unix:/a', 'vm', 'list', '--host', 'unix:/b'], "option '--host' is given twice"),
]


@pytest.mark.parametrize('words,holds', WRONG, ids=range(len(WRONG)))
def test_wrong_usage_is_one_line(daemon, ctl, words, holds):
    result = ctl(*words)
    assert result.returncode == 2
    assert result.stdout == ''
    assert result.stderr.startswith('backupctl: ') and result.stderr.count('\n') == 1
    assert holds in result.stderr
    assert daemon.asked() == []


def test_a_bad_address_in_the_environment(ctl):
    result = ctl('vm', 'list', env={'BACKUPD_HOST': 'nonsense'})
    assert result.returncode == 2 and "address 'nonsense'" in result.stderr
