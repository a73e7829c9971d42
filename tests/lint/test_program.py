# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon's options and keys against its manual page, sample configuration and unit."""
import json
import os
import re
import shutil
import subprocess

import pytest

ROOT = os.environ['SOURCE_ROOT']
TABLES = json.loads(subprocess.run([os.environ['PRINT_TABLES']], capture_output=True, check=True).stdout)


def read(*path):
    with open(os.path.join(ROOT, *path), encoding='utf-8') as file:
        return file.read()


def help_options():
    told = subprocess.run([os.environ['BACKUPD'], '--help'], capture_output=True, text=True, check=True)
    return set(re.findall(r'--([a-z-]+)', told.stdout))


def manual_options(page):
    """From lines such as ".It Fl -config Ar FILE"."""
    return set(re.findall(r'^\.It .*?Fl -([a-z-]+)', page, re.MULTILINE))


def test_manual_has_all_options_and_no_others():
    assert manual_options(read('contrib', 'man', 'backupd.8')) == help_options()


def test_manual_has_all_keys_and_no_others():
    keys = re.findall(r'^\.It Cm (\S+)', read('contrib', 'man', 'backupd.8'), re.MULTILINE)
    assert sorted(keys) == sorted(TABLES['config_keys'])


@pytest.mark.skipif(shutil.which('mandoc') is None, reason='needs mandoc')
def test_manual_is_well_formed():
    page = os.path.join(ROOT, 'contrib', 'man', 'backupd.8')
    told = subprocess.run(['mandoc', '-Tlint', '-Wwarning', page], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, '')


def sample_keys(text):
    return re.findall(r'^#?([a-z-]+)=', text, re.MULTILINE)


def test_sample_configuration_has_each_key_once():
    assert sorted(sample_keys(read('contrib', 'backupd.conf'))) == sorted(TABLES['config_keys'])


def test_sample_configuration_is_read(tmp_path):
    """As it is, and with everything that is commented out; --version is said only when all was well."""
    text = read('contrib', 'backupd.conf')
    for number, sample in enumerate((text, re.sub(r'^#([a-z-]+=)', r'\1', text, flags=re.MULTILINE))):
        path = tmp_path / f'{number}.conf'
        path.write_text(sample)
        told = subprocess.run([os.environ['BACKUPD'], '--config', path, '--version'], capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr


@pytest.mark.skipif(shutil.which('systemd-analyze') is None, reason='needs systemd-analyze')
def test_unit_is_well_formed(tmp_path):
    unit = tmp_path / 'backupd.service'
    unit.write_text(read('contrib', 'backupd.service').replace('/usr/sbin/backupd', os.environ['BACKUPD']))
    told = subprocess.run(['systemd-analyze', 'verify', '--man=no', unit], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert 'backupd.service' not in told.stderr, told.stderr
