# SPDX-License-Identifier: LGPL-2.1-or-later
"""--help, the man page and the completion must say the same, both ways."""
import os
import re
import subprocess

import pytest

PROGRAM = os.environ['BACKUPCTL']
SOURCE = os.environ['SOURCE_ROOT']
MAN = SOURCE + '/contrib/man/backupctl.1'
COMPLETION = SOURCE + '/contrib/completion/backupctl'
HELP = {'help'}


def show(*words):
    return subprocess.run([PROGRAM, *words], check=True, text=True, capture_output=True, timeout=60).stdout


def options_in(text):
    """{'--vm': 'NAME'} of the lines '  --vm NAME   ...'; '' for flags."""
    return {m[1]: (m[2] or '').strip() for m in re.finditer(r'^  (--[a-z-]+)( [^ \n]+)?', text, re.M)}


def from_help():
    """Command -> (operands, {option: value}), and the global options."""
    listed = show('--help').split('\nCommands:\n')[1].split('\n\n')[0]
    names = [line[2:28].strip() for line in listed.splitlines()]
    names = [name for name in names if name.split()[0] not in HELP]
    commands, common = {}, None
    for name in names:
        text = show('help', *name.split())
        own, common_text = text.split('\nGlobal options:\n')
        usage = own.splitlines()[0][len('Usage: backupctl ' + name):]
        operands = re.findall(r'^((?: [A-Z/]+)*)', usage)[0].split()
        commands[name] = (operands, options_in(own))
        assert common is None or common == options_in(common_text)
        common = options_in(common_text)
    return commands, common


def macro_words(text):
    """'Fl -class Ar DISK Ns = Ns Ar CLASS' -> '--class DISK=CLASS'"""
    out, glue = '', False
    for word in text.split():
        if word in ('Fl', 'Ar', 'Cm'):
            continue
        if word == 'Ns':
            glue = True
            continue
        word = '-' + word if word.startswith('-') else word
        out += ('' if glue or not out or word == ',' else ' ') + word
        glue = False
    return out


def from_man():
    commands, common, command, section = {}, {}, None, ''
    for line in open(MAN, encoding='utf-8'):
        if line.startswith('.Sh '):
            section = line[4:].strip()
        if not line.startswith('.It ') or section not in ('COMMANDS', 'GLOBAL OPTIONS'):
            continue
        words = macro_words(line[4:])
        if not words.startswith('--'):
            parts = words.split()
            command = ' '.join(p for p in parts if p.islower())
            commands[command] = ([p for p in parts if not p.islower()], {})
            continue
        name, _, value = words.partition(' ')
        (common if section == 'GLOBAL OPTIONS' else commands[command][1])[name] = value
    return commands, common


def bash(script):
    return subprocess.run(['bash', '-c', f'. {COMPLETION}; {script}'], check=True, text=True, capture_output=True).stdout


def from_completion():
    text = bash('for c in "${!_backupctl_options[@]}"; do echo "$c|${_backupctl_options[$c]}"; done')
    commands = {line.split('|')[0]: set(line.split('|')[1].split()) for line in text.splitlines()}
    text = bash('for o in "${!_backupctl_words[@]}"; do echo "$o|${_backupctl_words[$o]}"; done')
    words = {line.split('|')[0]: line.split('|')[1].replace(' ', '|') for line in text.splitlines()}
    return commands, set(bash('echo $_backupctl_globals').split()), words


def test_man_page_is_as_help_says():
    assert from_man() == from_help()


def test_completion_is_as_help_says():
    commands, common = from_help()
    completed, completed_common, words = from_completion()
    assert completed == {name: set(options) for name, (_, options) in commands.items()}
    assert completed_common == set(common)
    kinds = {option: value for _, options in commands.values() for option, value in options.items()
             if value and not re.search('[A-Z]', value)}
    assert words == kinds


def test_completion_knows_which_options_have_values():
    commands, common = from_help()
    every = dict(common)
    for _, options in commands.values():
        every.update(options)
    text = open(COMPLETION, encoding='utf-8').read()
    flags = set(bash('echo $_backupctl_flags').split())
    assert flags == {option for option, value in every.items() if not value}
    value = text[text.index('_backupctl_value()'):text.index('_backupctl_commands()')]
    handled = set(re.findall(r'--[a-z-]+', value.split('case $1 in')[1]))
    words = {o for o, v in every.items() if v and not re.search('[A-Z]', v)}
    assert handled == {o for o, v in every.items() if v} - words


def test_an_option_has_a_value_for_all_commands_or_none():
    commands, common = from_help()
    seen = {option: bool(value) for option, value in common.items()}
    for _, options in commands.values():
        for option, value in options.items():
            assert seen.setdefault(option, bool(value)) == bool(value)


def test_help_fits_a_page():
    commands, _ = from_help()
    for name in [''] + list(commands):
        for line in show('help', *name.split()).splitlines():
            assert len(line) <= 110 and line == line.rstrip()


def test_exit_statuses_are_those_of_the_table():
    table = dict(re.findall(r'\{ BK_ERROR_\w+, "[\w-]+", \d+, (\d+), "([^"]*)" \}', open(SOURCE + '/api/bk-error.c').read()))
    text = open(MAN, encoding='utf-8').read().split('.Sh EXIT STATUS')[1].split('.Sh')[0]
    listed = dict(re.findall(r'^\.It (\d+)\n(.*)$', text, re.M))
    assert len(table) == 10
    assert {k: v for k, v in listed.items() if k not in ('0', '130')} == table


@pytest.mark.parametrize('command', [['mandoc', '-Tlint', MAN], ['shellcheck', '-s', 'bash', COMPLETION]], ids=['mandoc', 'shellcheck'])
def test_linters_have_nothing_to_say(command):
    try:
        result = subprocess.run(command, text=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip(command[0] + ' is not installed')
    # Which other manuals this machine has is no fault of the page.
    said = [line for line in (result.stdout + result.stderr).splitlines()
            if not re.search('referenced manual not found|outdated mandoc.db', line)]
    assert said == []
