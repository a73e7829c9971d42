# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a running daemon takes and answers, held against api/openapi.yaml: all operations, well-meant and not."""

import http.client
import json
import pathlib
import re
import socket
import time

import jsonschema
import pytest
import yaml

DOCUMENT = yaml.safe_load((pathlib.Path(__file__).resolve().parents[3] / "api" / "openapi.yaml").read_text())
COMPONENTS = DOCUMENT["components"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

formats = jsonschema.FormatChecker(formats=())


@formats.checks("date-time")
def is_time(value):
    return not isinstance(value, str) or TIME.fullmatch(value) is not None


def closed(schema):
    """@schema, but an object has none but its known members: an answer is not to tell what is not described."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: closed(value) for name, value in schema.items()}
    if isinstance(result.get("properties"), dict):
        result.setdefault("additionalProperties", False)
    return result


CLOSED = closed(COMPONENTS)


def validate(schema, value, components=COMPONENTS):
    jsonschema.Draft202012Validator({**schema, "components": components}, format_checker=formats).validate(value)


def is_valid(schema, value):
    try:
        validate(schema, value)
    except jsonschema.ValidationError:
        return False
    return True


def deref(thing):
    while "$ref" in thing:
        kind, name = thing["$ref"].split("/")[2:]
        thing = COMPONENTS[kind][name]
    return thing


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Api:
    """Asks, and checks question and answer. Remembers which operations have succeeded."""

    def __init__(self, daemon):
        self.path = daemon.address[len("unix:"):]
        self.done = set()

    def ask(self, method, path, body=None, query="", **names):
        operation = DOCUMENT["paths"][path][method]
        connection = Connection(self.path)
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method.upper(), path.format(**names) + query, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        data = b"" if response.getheader("Content-Type") == "text/event-stream" else response.read()
        answer = json.loads(data) if data else None
        if body is not None:
            self.check_request(operation, body, response.status, answer)
        self.check_answer(operation, response, answer)
        if response.status < 300:
            self.done.add(operation["operationId"])
        connection.close()
        return response.status, answer

    def check_request(self, operation, body, status, answer):
        """What is taken is valid; what is invalid is refused as that."""
        valid = is_valid(deref(operation["requestBody"])["content"]["application/json"]["schema"], body)
        assert valid or status == 422, "%s is not in the document, but the answer is %d %s" % (body, status, answer)

    def check_answer(self, operation, response, answer):
        described = operation["responses"].get(str(response.status))
        if response.status < 300:
            assert described, "%s is not described" % response.status
        described = deref(described or operation["responses"]["default"])
        content = described.get("content")
        if content is None:
            assert answer is None
            return
        kind = response.getheader("Content-Type")
        assert kind in content
        for header in described.get("headers", {}):
            assert response.getheader(header)
        if kind != "text/event-stream":
            validate(closed(content[kind]["schema"]), answer, CLOSED)


@pytest.fixture
def api(daemon):
    return Api(daemon)


def wait(api, job):
    for _ in range(600):
        _, job = api.ask("get", "/v1/jobs/{id}", id=job["id"])
        if job["ended_at"]:
            return job
        time.sleep(0.05)
    raise TimeoutError("job %s is %s" % (job["id"], job["state"]))


def wait_for_export(api, ident, *states):
    for _ in range(600):
        _, export = api.ask("get", "/v1/exports/{id}", id=ident)
        if export["state"] in states:
            return export
        time.sleep(0.05)
    raise TimeoutError("export %s is %s" % (ident, export["state"]))


def export_twice(api):
    """Ended well and badly."""
    for ident, result, state in ("first", "success", "ended"), ("second", "failed", "failed"):
        body = {"vm": "web", "id": ident, "disks": ["vda"], "listen": "tcp:127.0.0.1:0", "timeout_seconds": 600}
        assert api.ask("post", "/v1/exports", body)[0] == 202
        export = wait_for_export(api, ident, "ready", "failed")
        assert export["disks"][0]["uri"].startswith("nbd://127.0.0.1:"), export
        assert [one["id"] for one in api.ask("get", "/v1/exports")[1]["items"]] == [ident]
        assert api.ask("post", "/v1/exports/{id}/end", {"result": result}, id=ident)[0] == 202
        assert wait_for_export(api, ident, "ended", "failed")["state"] == state
        assert api.ask("post", "/v1/exports/{id}/end", {"result": result}, id=ident)[0] == 409


def keep_and_check(api, backup):
    assert api.ask("post", "/v1/backups/{id}/pin", id=backup)[1]["pinned"]
    assert api.ask("delete", "/v1/backups/{id}", id=backup)[0] == 409
    assert "pinned" not in api.ask("post", "/v1/backups/{id}/unpin", id=backup)[1]
    for body in ({"kind": "copy", "backup": backup, "to": "other"}, {"kind": "verify", "backup": backup},
                 {"kind": "verify", "repository": "vault"}, {"kind": "gc", "repository": "vault", "dry_run": True},
                 {"kind": "gc", "repository": "vault"}):
        _, job = api.ask("post", "/v1/jobs", body)
        job = wait(api, job)
        assert job["state"] == "completed", job["error"]
    assert api.ask("post", "/v1/jobs", {"kind": "gc", "repository": "images"})[0] == 422


def throw_away_and_back(api, backup):
    _, removal = api.ask("delete", "/v1/backups/{id}", id=backup)
    assert wait(api, removal)["state"] == "completed"
    _, trash = api.ask("get", "/v1/backups", query="?deleted=true")
    assert [one["id"] for one in trash["items"]] == [backup]
    assert api.ask("post", "/v1/backups/{id}/undelete", id=backup)[1]["id"] == backup
    assert api.ask("get", "/v1/backups/{id}", id=backup)[0] == 200


def export_and_serve(api, backup):
    _, export = api.ask("post", "/v1/exports", {"vm": "web", "id": "mine", "timeout_seconds": 600})
    export = wait_for_export(api, "mine", "ready", "failed")
    assert [disk["uri"][:3] for disk in export["disks"]] == ["nbd", "nbd"], export
    assert [one["id"] for one in api.ask("get", "/v1/exports")[1]["items"]] == ["mine"]
    assert api.ask("post", "/v1/exports/{id}/end", {"result": "failed"}, id="mine")[0] == 202
    wait_for_export(api, "mine", "ended", "failed")
    _, serve = api.ask("post", "/v1/serves", {"backup": backup, "disk": "vda"})
    assert [one["id"] for one in api.ask("get", "/v1/serves")[1]["items"]] == [serve["id"]]
    assert api.ask("get", "/v1/serves/{id}", id=serve["id"])[1] == serve
    assert api.ask("delete", "/v1/serves/{id}", id=serve["id"])[0] == 204


def test_all_operations(api, web, tmp_path):
    jobs, job_path = "/v1/jobs", "/v1/jobs/{id}"
    api.ask("get", "/v1/health")
    api.ask("get", "/v1/doctor")
    api.ask("get", "/v1/openapi.json")
    api.ask("get", "/v1/vms")
    api.ask("get", "/v1/vms/{name}", name="web")
    domains = api.ask("get", "/v1/domains", query="?libvirt=test:///default")[1]["items"]
    assert [(domain["name"], domain["vm"]) for domain in domains] == [("test", None)]
    assert api.ask("get", "/v1/domains")[0] == 400
    api.ask("post", "/v1/vms", {"name": "gone", "qmp": str(tmp_path / "none"), "classes": {"vda": "os"}, "agent": None})
    api.ask("get", "/v1/vms/{name}", name="gone")
    api.ask("delete", "/v1/vms/{name}", name="gone")
    api.ask("post", "/v1/repositories", {"name": "images", "path": str(tmp_path / "images"), "type": "qcow2"})
    (tmp_path / "key").write_bytes(bytes(range(32)))
    api.ask("post", "/v1/repositories", {"name": "other", "path": str(tmp_path / "other"), "type": "dedup",
                                         "chunk_size": 131072, "compression": 3, "key_file": str(tmp_path / "key")})
    api.ask("post", "/v1/repositories", {"name": "vault", "path": str(tmp_path / "vault")})
    api.ask("get", "/v1/repositories")
    assert api.ask("get", "/v1/repositories/{name}", name="images")[1]["encryption"] == "none"
    assert api.ask("get", "/v1/repositories/{name}", name="other")[1]["encryption"] == "key-file"
    _, plan = api.ask("post", jobs, {"vm": "web", "dry_run": True, "target": str(tmp_path / "plan")})
    assert len(plan["disks"]) == 2
    _, full = api.ask("post", jobs, {"vm": "web", "id": "full", "repository": "vault"})
    assert wait(api, full)["state"] == "completed"
    _, slow = api.ask("post", jobs, {"kind": "backup", "vm": "web", "repository": "vault", "level": "full", "speed": 65536, "disks": ["vda"]})
    for _ in range(200):
        if api.ask("get", job_path, id=slow["id"])[1]["state"] == "running":
            break
        time.sleep(0.05)
    for verb in "pause", "resume":
        assert api.ask("post", job_path + "/" + verb, id=slow["id"])[0] == 200
        time.sleep(0.6)
    for method in "put", "post":
        assert api.ask(method, job_path + "/speed", {"speed": 131072}, id=slow["id"])[0] == 200
    assert api.ask("post", jobs, {"vm": "web"})[0] == 409
    assert api.ask("delete", "/v1/vms/{name}", name="web")[0] == 409
    assert api.ask("post", job_path + "/cancel", id=slow["id"])[0] == 200
    assert wait(api, slow)["state"] == "cancelled"
    assert api.ask("post", job_path + "/cancel", id=slow["id"])[0] == 409
    _, increment = api.ask("post", jobs, {"vm": "web", "repository": "vault", "level": "incremental"})
    backup = wait(api, increment)["backup_id"]
    _, page = api.ask("get", jobs, query="?limit=1&vm=web")
    api.ask("get", jobs, query="?limit=1&cursor=%s&state=cancelled&kind=backup" % page["next"])
    api.ask("get", "/v1/backups", query="?limit=1")
    api.ask("get", "/v1/backups/{id}", id=backup)
    _, restore = api.ask("post", jobs, {"kind": "restore", "backup": backup, "output": str(tmp_path / "out"), "format": "raw"})
    assert wait(api, restore)["state"] == "completed"
    keep_and_check(api, backup)
    throw_away_and_back(api, backup)
    export_twice(api)
    export_and_serve(api, backup)
    _, removal = api.ask("delete", "/v1/backups/{id}", id=backup)
    assert wait(api, removal)["state"] == "completed"
    _, failing = api.ask("post", jobs, {"vm": "web", "disks": ["vda"], "target": "nbd://localhost:1/x"})
    assert wait(api, failing)["error"]["code"] == "unreachable"
    _, checkpoint = api.ask("post", "/v1/checkpoints", {"vm": "web", "disks": ["vda"], "name": "mine"})
    api.ask("get", "/v1/checkpoints", query="?vm=web")
    assert api.ask("delete", "/v1/checkpoints/{id}", id=checkpoint["id"])[0] == 204
    api.ask("delete", "/v1/repositories/{name}", name="other")
    api.ask("get", "/v1/events")
    assert api.done == {item[method]["operationId"] for item in DOCUMENT["paths"].values() for method in item if method != "parameters"}


@pytest.mark.parametrize("path, body", [
    ("/v1/jobs", {"vm": "web", "dry_run": True}),
    ("/v1/jobs", {"kind": "restore", "backup": "none", "output": "/nonexistent/x"}),
    ("/v1/jobs", {"kind": "verify", "backup": "none"}),
    ("/v1/jobs", {"kind": "gc", "repository": "none"}),
    ("/v1/jobs", {"kind": "copy", "backup": "none", "to": "none"}),
    ("/v1/vms", {"name": "web", "qmp": "/nonexistent"}),
    ("/v1/repositories", {"name": "default", "path": "/dev/null/x"}),
    ("/v1/checkpoints", {"vm": "none"}),
    ("/v1/exports", {"vm": "none"}),
    ("/v1/exports/{id}/end", {"result": "failed"}),
    ("/v1/serves", {"backup": "none", "disk": "vda"}),
    ("/v1/jobs/{id}/speed", {"speed": 1}),
], ids=["backup", "restore", "verify", "gc", "copy", "vm", "repository", "checkpoint", "export", "end", "serve", "speed"])
def test_each_member_of_each_request(api, web, path, body):
    """Each member with values of all types: what the document allows is not called invalid for its form, and what it
    does not allow is. The bodies are such that nothing comes of them."""
    schema = deref(DOCUMENT["paths"][path]["post"]["requestBody"])["content"]["application/json"]["schema"]
    for reference in schema.get("oneOf", [schema]):
        kind = deref(reference)
        if not is_valid(kind, body):
            continue
        for name, member in kind["properties"].items():
            if member.get("readOnly"):
                continue
            for value in (None, True, 1, -1, 1.5, "x", "", [], ["x"], [1], {}, {"x": "y"}, {"x": 1}):
                status, answer = api.ask("post", path, {**body, name: value}, id="none")
                malformed = status == 422 and re.match("/" + name + "(/|$)", answer.get("pointer") or "") \
                    and answer["detail"].startswith("must be a")
                assert not (is_valid(schema, {**body, name: value}) and malformed), (name, value, answer)
    assert api.ask("post", path, {**body, "unknown": 1}, id="none")[0] == 422
