# SPDX-License-Identifier: LGPL-2.1-or-later
"""api/openapi.yaml against the daemon's own tables, both ways."""
import json
import os
import re
import subprocess

import jsonschema
import pytest
import yaml

METHODS = ('get', 'put', 'post', 'delete', 'patch', 'head', 'options', 'trace')
# Answers without a table of their own: lists are written by exchange.c, events by event-stream.c; test_rest.py holds
# what the daemon says against these.
WITHOUT_TABLE = {'DomainList', 'VmList', 'JobList', 'BackupList', 'RepositoryList', 'CheckpointList', 'ExportList', 'ServeList', 'Event',
                 'Name'}

with open(os.path.join(os.environ['SOURCE_ROOT'], 'api', 'openapi.yaml'), encoding='utf-8') as _file:
    DOCUMENT = yaml.safe_load(_file)
TABLES = json.loads(subprocess.run([os.environ['PRINT_TABLES']], capture_output=True, check=True).stdout)
SCHEMAS = DOCUMENT['components']['schemas']
OPERATIONS = [(method, path, item) for path, item in DOCUMENT['paths'].items() for method in item if method in METHODS]
IDS = [f'{method} {path}' for method, path, _ in OPERATIONS]


def resolve(reference):
    assert reference.startswith('#/'), reference
    at = DOCUMENT
    for step in reference[2:].split('/'):
        at = at[step.replace('~1', '/').replace('~0', '~')]
    return at


def deref(thing):
    return resolve(thing['$ref']) if '$ref' in thing else thing


def references(thing):
    if isinstance(thing, dict):
        if '$ref' in thing:
            yield thing['$ref']
        for value in thing.values():
            yield from references(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from references(value)


def test_every_route_is_described_and_every_description_has_a_route():
    assert sorted(f'{method.upper()} {path}' for method, path, _ in OPERATIONS) == sorted(TABLES['routes'])


def test_version():
    assert DOCUMENT['openapi'] == '3.1.0'
    assert DOCUMENT['info']['version'] == TABLES['version']


def test_references_resolve():
    for reference in set(references(DOCUMENT)):
        assert resolve(reference) is not None, reference


def test_no_component_is_idle():
    used = set(references(DOCUMENT))
    for kind, components in DOCUMENT['components'].items():
        for name in components:
            assert f'#/components/{kind}/{name}' in used, f'nothing refers to {kind}/{name}'


def test_operation_ids_are_unique():
    names = [item[method]['operationId'] for method, _, item in OPERATIONS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('method, path, item', OPERATIONS, ids=IDS)
def test_operation(method, path, item):
    operation = item[method]
    assert re.fullmatch('[a-z][A-Za-z]+', operation['operationId'])
    assert operation['summary'] and not operation['summary'].endswith('.')
    assert set(operation['tags']) <= {tag['name'] for tag in DOCUMENT['tags']}
    responses = {status: deref(response) for status, response in operation['responses'].items()}
    assert any(status.startswith('2') for status in responses)
    assert 'default' in responses
    for status, response in responses.items():
        assert response['description']
        if not status.startswith('2'):
            assert response['content']['application/problem+json']['schema'] == {'$ref': '#/components/schemas/Problem'}
    parameters = [deref(one) for one in item.get('parameters', []) + operation.get('parameters', [])]
    assert sorted(one['name'] for one in parameters if one['in'] == 'path') == sorted(re.findall(r'{(\w+)}', path))
    assert all(one['required'] for one in parameters if one['in'] == 'path')
    assert all(one['description'] for one in parameters)


@pytest.mark.parametrize('method, path, item', OPERATIONS, ids=IDS)
def test_examples_are_valid(method, path, item):
    del path
    for kind in deref(item[method].get('requestBody', {})).get('content', {}).values():
        examples = [kind['example']] if 'example' in kind else [one['value'] for one in kind.get('examples', {}).values()]
        assert examples
        for example in examples:
            jsonschema.Draft202012Validator({**kind['schema'], 'components': DOCUMENT['components']}).validate(example)


def test_schemas_are_schemas():
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_schema_has_its_table():
    assert set(SCHEMAS) == set(TABLES['structs']) | set(TABLES['enums']) | WITHOUT_TABLE


@pytest.mark.parametrize('name', sorted(TABLES['enums']))
def test_words(name):
    assert SCHEMAS[name]['type'] == 'string'
    assert SCHEMAS[name]['enum'] == TABLES['enums'][name]


@pytest.mark.parametrize('name', sorted(TABLES['structs']))
def test_members(name):
    fields = TABLES['structs'][name]
    assert list(SCHEMAS[name]['properties']) == [field['name'] for field in fields]
    assert sorted(SCHEMAS[name].get('required', [])) == sorted(field['name'] for field in fields if field['required'])


def types_of(schema):
    """Type names that @schema allows, through references and alternatives."""
    if 'oneOf' in schema:
        return set().union(*(types_of(one) for one in schema['oneOf']))
    kind = deref(schema)['type']
    return set(kind if isinstance(kind, list) else [kind])


def words_of(schema):
    """What it may be beside null."""
    words = [word for one in schema.get('oneOf', [schema]) for word in deref(one).get('enum', [])]
    return [word for word in words if word is not None]


def check_type(field, schema):
    plain = types_of(schema) - {'null'}
    if field['type'] in ('string', 'boolean', 'integer'):
        assert plain == {field['type']}
    elif field['type'] == 'time':
        assert plain == {'string'} and schema['format'] == 'date-time'
    elif field['type'] == 'map':
        assert plain == {'object'} and schema['additionalProperties'] == {'type': 'string'}
    elif field['type'] == 'strings':
        assert plain == {'array'} and types_of(schema['items']) == {'string'}
    elif field['type'] == 'object':
        assert {'$ref': '#/components/schemas/' + field['sub']} in schema['oneOf']
    else:
        assert field['type'] == 'array' and schema['items'] == {'$ref': '#/components/schemas/' + field['sub']}


@pytest.mark.parametrize('name, field', [(name, field) for name, fields in TABLES['structs'].items() for field in fields],
                         ids=lambda value: value if isinstance(value, str) else value['name'])
def test_member(name, field):
    schema = SCHEMAS[name]['properties'][field['name']]
    check_type(field, schema)
    if field['values']:
        assert words_of(schema) == field['values']


REQUESTS = [name for name in TABLES['structs'] if name.endswith('Request')] + ['Vm', 'Repository', 'ExportEnd']


@pytest.mark.parametrize('name', REQUESTS)
def test_requests_say_that_unknown_members_are_refused(name):
    assert SCHEMAS[name]['additionalProperties'] is False
