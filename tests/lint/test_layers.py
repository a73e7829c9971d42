# SPDX-License-Identifier: LGPL-2.1-or-later
"""The layers, as README.md draws them: who includes whom, who may use which library, and where words of SQL and QMP are."""
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(os.environ['SOURCE_ROOT'])

# Folder to the folders whose headers it may include, besides its own: all that is below.
LAYERS = {
    'api': [],
    'daemon/base': ['api'],
    'daemon/hypervisor': ['api', 'daemon/base'],
    'daemon/guard': ['api', 'daemon/base', 'daemon/hypervisor'],
    'daemon/mover': ['api', 'daemon/base'],
    'daemon/repository': ['api', 'daemon/base', 'daemon/mover'],
    'daemon/rescue': ['api', 'daemon/base', 'daemon/mover', 'daemon/repository'],
    'daemon/archive': ['api', 'daemon/base'],
    'daemon/catalog': ['api', 'daemon/base'],
    'daemon/job': ['api', 'daemon/base', 'daemon/hypervisor', 'daemon/mover', 'daemon/repository', 'daemon/archive', 'daemon/catalog'],
    'client': ['api'],
}
LAYERS['daemon/rest'] = [*LAYERS['daemon/job'], 'daemon/job']
LAYERS['daemon'] = [layer for layer in LAYERS if layer != 'client']

# What is not in the C library, by the beginning of the header's name; GLib and GIO are everywhere.
LIBRARIES = {'sqlite3': ['daemon/catalog'], 'libsoup/': ['daemon/rest', 'client'], 'json-c/': ['api', 'daemon/base'],
             'libnbd': ['daemon/mover', 'daemon/hypervisor'], 'libvirt/': ['daemon/hypervisor'], 'libxml/': ['daemon/hypervisor'], 'openssl/': ['daemon/repository'], 'nbdkit-plugin': ['daemon/rescue'], 'zstd': ['daemon/repository']}
EVERYWHERE = ('glib', 'gio/')

QMP_FILES = {f'daemon/hypervisor/{name}' for name in (
    'block-graph.c', 'gateway.c', 'qmp-link.c', 'qmp-commands.c', 'qmp-commands.h', 'qmp-export.c', 'qmp-features.c', 'qmp-job.c',
    'qmp-transaction.c')}
LIBVIRT_FILES = {'libvirt/': {'libvirt-agent.c', 'libvirt-calls.c', 'libvirt-events.c', 'libvirt-link.c'}, 'libxml/': {'libvirt-xml.c'}}
QMP_WORDS = {'copy-before-write', 'snapshot-access', 'on-cbw-error', 'cbw-timeout', 'node-name', 'fdset-id'}

COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|("(?:[^"\\\n]|\\.)*")', re.DOTALL)
SQL = re.compile(r'\b(SELECT .* FROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|(CREATE|DROP|ALTER) TABLE|PRAGMA \w+)\b')


def sources(layer, *endings):
    """(path, text) of the layer's own files."""
    return [(path, path.read_text(encoding='utf-8')) for path in sorted((ROOT / layer).iterdir())
            if path.suffix in (endings or ('.c', '.h'))]


ALL = [(layer, path, text) for layer in LAYERS for path, text in sources(layer)]
# Made by the build.
GENERATED = {'catalog-schema.h': 'daemon/catalog', 'bk-openapi.h': 'daemon/rest'}


def place(path, text, offset):
    return f'{path.relative_to(ROOT)}:{text.count(chr(10), 0, offset) + 1}'


def strings(text):
    """(offset, content) of the string literals outside of comments; neighbours are one string."""
    literals = [(m.start(), m.end(), m.group(1)[1:-1]) for m in COMMENT_OR_STRING.finditer(text)
                if m.group(1) and not text.rfind('#include', text.rfind('\n', 0, m.start()) + 1, m.start()) >= 0]
    joined = []
    for start, end, content in literals:
        if joined and not text[joined[-1][1]:start].strip():
            joined[-1] = (joined[-1][0], end, joined[-1][2] + content)
        else:
            joined.append((start, end, content))
    return [(start, content) for start, _, content in joined]


def test_every_folder_is_a_layer():
    folders = {str(path.relative_to(ROOT)) for path in (ROOT / 'daemon').iterdir() if path.is_dir()}
    assert folders | {'api', 'client', 'daemon'} == set(LAYERS)


def test_readme_draws_them():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    picture = readme[readme.index('## How it is built'):]
    drawn = set(re.findall(r'\|\s+([a-z]+)\s+\|', picture)) | set(re.findall(r'^ +(client) ', picture, re.MULTILINE))
    assert {layer.removeprefix('daemon/') for layer in LAYERS} - {'daemon'} <= drawn
    for layer in LAYERS:
        assert layer == 'daemon' or f'| `{layer}/` |' in readme


def headers(layer):
    """Every header of @layer and of those below, to its folder."""
    return GENERATED | {path.name: owner for owner in [layer, *LAYERS[layer]] for path, _ in sources(owner, '.h')}


@pytest.mark.parametrize('layer', ['daemon', 'client'])
def test_headers_have_names_of_their_own(layer):
    """Includes are by bare name: in one program, two headers of one name would hide each other."""
    names = [path.name for owner in [layer, *LAYERS[layer]] for path, _ in sources(owner, '.h')]
    assert sorted(names) == sorted(set(names))


def test_includes_point_down():
    wrong = []
    for layer in LAYERS:
        known = headers(layer)
        for path, text in sources(layer):
            for match in re.finditer(r'^#include "([^"]+)"', text, re.MULTILINE):
                if known.get(match.group(1)) not in [layer, *LAYERS[layer]]:
                    wrong.append(f'{place(path, text, match.start())} includes {match.group(1)}, which is not below')
    assert not wrong


def test_private_headers_stay_in_their_layer():
    wrong = [f'{path.relative_to(ROOT)} includes {name}' for layer, path, text in ALL
             for name in re.findall(r'^#include "([^"]+-private\.h)"', text, re.MULTILINE)
             if not (path.parent / name).exists()]
    assert not wrong


def test_libraries_are_where_they_may_be():
    wrong = []
    for layer, path, text in ALL:
        for match in re.finditer(r'^#include <([^>]+)>', text, re.MULTILINE):
            header = match.group(1)
            library = next((name for name in LIBRARIES if header.startswith(name)), None)
            if library and layer not in LIBRARIES[library]:
                wrong.append(f'{place(path, text, match.start())} includes {header}')
            elif not library and not header.startswith(EVERYWHERE) and not re.fullmatch(r'((sys|linux)/)?[a-z]+\.h', header):
                wrong.append(f'{place(path, text, match.start())} includes {header}, which this test does not know')
    assert not wrong


def test_libvirt_is_in_files_of_its_own():
    """And its XML in one alone."""
    wrong, found = [], set()
    for _, path, text in ALL:
        for header in re.findall(r'^#include <([^>]+)>', text, re.MULTILINE):
            library = next((name for name in LIBVIRT_FILES if header.startswith(name)), None)
            if library and path.name not in LIBVIRT_FILES[library]:
                wrong.append(f'{path.relative_to(ROOT)} includes {header}')
            found |= {library}
    assert not wrong
    assert set(LIBVIRT_FILES) <= found


@pytest.mark.parametrize('layer', [layer for layer in LAYERS if layer.startswith('daemon/')])
def test_build_offers_no_more(layer):
    """The layers on a library's include path."""
    if not sources(layer, '.c'):
        pytest.skip('so far it says only what it will offer')
    text = (ROOT / layer / 'meson.build').read_text(encoding='utf-8')
    library = re.search(r"static_library\('[a-z]+',.*?dependencies: \[(.*?)\]", text, re.DOTALL).group(1)
    offered = {name if name == 'api' else f'daemon/{name}' for name in re.findall(r'(\w+)_dep\b', library)}
    assert offered <= set(LAYERS[layer])


def test_sql_is_in_the_catalog():
    wrong = [f'{place(path, text, offset)}: {content[:60]}' for layer, path, text in ALL if layer != 'daemon/catalog'
             for offset, content in strings(text) if SQL.search(content)]
    assert not wrong
    assert any(SQL.search(content) for _, text in sources('daemon/catalog', '.c') for _, content in strings(text))


def test_qmp_words_are_in_the_qmp_files():
    schema = json.loads((ROOT / 'tests/data/qmp/schema-7.2.json').read_text(encoding='utf-8'))
    entries = schema['return'] if isinstance(schema, dict) else schema
    words = QMP_WORDS | {entry['name'] for entry in entries if entry['meta-type'] == 'command' and '-' in entry['name']}
    assert 'blockdev-backup' in words
    wrong, found = [], set()
    for _, path, text in ALL:
        name = str(path.relative_to(ROOT))
        for offset, content in strings(text):
            if content in words and name in QMP_FILES:
                found.add(content)
            elif content in words:
                wrong.append(f'{place(path, text, offset)}: {content}')
    assert not wrong
    assert {'blockdev-backup', 'query-jobs', 'qom-set', 'node-name'} <= found


def test_files_introduce_themselves():
    """License first; a header tells what it is about before it declares anything, and is included once."""
    wrong = []
    for _, path, text in ALL:
        if not text.startswith('/* SPDX-License-Identifier: LGPL-2.1-or-later'):
            wrong.append(f'{path.relative_to(ROOT)}: no license in the first line')
        if path.suffix == '.h' and not re.match(r'/\*(?:(?!\*/).)*\n \*\n \* \S.*?\*/\n#pragma once\n', text, re.DOTALL):
            wrong.append(f'{path.relative_to(ROOT)}: no introduction and #pragma once')
    assert not wrong


def test_what_is_exported_bears_the_prefix():
    wrong = []
    for layer, path, text in ALL:
        if path.suffix != '.c' or layer == 'client' or path.name == 'main.c':
            continue
        for match in re.finditer(r'^(?P<type>[A-Za-z].*[A-Za-z*])\n(?P<name>[a-z_0-9]+) \(', text, re.MULTILINE):
            if not re.search(r'\bstatic\b', match['type']) and not match['name'].startswith('bk_'):
                wrong.append(f'{place(path, text, match.start("name"))} {match["name"]}')
    assert not wrong


def test_nobody_jumps():
    wrong = [place(path, text, match.start()) for _, path, text in ALL for match in re.finditer(r'^\s+goto \w+;', text, re.MULTILINE)]
    assert not wrong
