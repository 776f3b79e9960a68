"""The OpenAPI document is true: a row for every operation, and what is answered has the shape it says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from app.api.openapi import served
from app.main import all_routers
from app.openapi.document import document
from app.openapi.table import OPERATIONS
from tests.e2e.scenario import User
from tests.harness.server import TutelaProcess

# Left out: `negative_data_rejection` and `positive_data_acceptance`. The server takes more than it documents, as the
# clients need (numbers as text, null for absent), and a well-formed request may name an object that is not there.
# `ignored_auth`: it expects 401 where ten wrong keys in a minute have made it 429.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
)


OPERATIONS_SERVED = served(all_routers())


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert sorted((each.method, each.path) for each in OPERATIONS_SERVED) == sorted(OPERATIONS)


def test_every_operation_has_a_name_of_its_own_and_a_summary() -> None:
    paths = document("0", OPERATIONS_SERVED)["paths"]
    made = [each for methods in paths.values() for each in methods.values()]
    names = [each["operationId"] for each in made]
    assert len(set(names)) == len(names)
    assert all(each["summary"] for each in made)


def known_objects(user: User) -> str:
    """A configuration that names objects which are there, so that requests reach more than the 404."""
    service = user.run("web", target=2, bindings=[{"container_path": "/data"}])
    container = user.containers(service)[0]["uuid"]
    trigger = user.api.post(f"/api/v1/service/{service}/trigger/", json={"name": "t"}).json["uuid"]
    stack = user.api.post("/api/v1/stack/", json={"name": "s", "services": [{"name": "a", "image": "a"}]}).json["uuid"]
    image = user.api.post("/api/v1/image/", json={"name": "registry.example.test/team/app"}).json["name"]
    known: dict[str, dict[str, str]] = {
        "service/[^/]*/(?!trigger|webhook)": {"uuid": service, "name": "none"},
        "service/[^/]*/(trigger|webhook)": {"uuid": service, "trigger": trigger, "count": "1"},
        "container/": {"uuid": container},
        "stack/": {"uuid": stack},
        "image/": {"name": image, "tag": "latest"},
        **{f"{kind}/": {"uuid": newest(user, kind)} for kind in ("node", "action", "volume", "volumegroup")},
    }
    return "\n".join(
        f"[[operations]]\ninclude-path-regex = '^/api/v1/{path}'\nparameters = {{ "
        + ", ".join(f"'path.{name}' = '{value}'" for name, value in parameters.items())
        + " }\n"
        for path, parameters in known.items()
    )


def newest(user: User, kind: str) -> str:
    uuid: str = user.api.get(f"/api/v1/{kind}/").json["objects"][0]["uuid"]
    return uuid


def schemathesis(folder: Path, schema: str, checks: Iterable[str], *more: str) -> None:
    """Run it in the folder, where its configuration is. Fails with what it found."""
    answer = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run", schema, "--checks", ",".join(checks), "--continue-on-failure", "--suppress-health-check", "all",
            "--seed", "20141121", "--no-color", *more,
        ],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-12000:] + answer.stderr[-2000:]
    print(answer.stdout[-3000:])


KEYED = ("/api/v1/service/", "/api/v1/service/{uuid}/start/", "/api/v1/service/{uuid}/tags/{name}/")


def keyed_once(document: Any) -> Any:
    """The document with `Idempotency-Key` at a few operations only: where it is the one thing to vary, an operation
    costs twenty requests instead of one. That all of them take it is in `test_once`."""
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if path not in KEYED:
                operation["parameters"] = [each for each in operation["parameters"] if each["in"] != "header"]
    return document


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_hostile_requests_to_every_operation(server: TutelaProcess, tmp_path: Path) -> None:
    """No 5xx, no undocumented code, no answer of another shape, for requests that fit the document and others."""
    (tmp_path / "schemathesis.toml").write_text(known_objects(User(server)))
    key = server.api.credentials()
    owner = f"Authorization: ApiKey {key['user']}:{key['api_key']}"
    (tmp_path / "owner.json").write_text(json.dumps(keyed_once(server.api.get("/openapi.json").json)))
    url = f"http://127.0.0.1:{server.port}"
    schemathesis(tmp_path, "owner.json", CHECKS, "--url", url, "--max-examples", "12", "--header", owner)


NO_SUCH_PATH = {
    "description": "A made-up name leads to a path that nobody has.",
    "content": {
        "application/json": {
            "schema": {
                "properties": {"error": {"const": "There is nothing at this path."}, "code": {"const": "not_found"}},
                "required": ["error", "code"],
            }
        }
    },
}


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_strangers_hear_nothing_else_from_any_operation(server: TutelaProcess, tmp_path: Path) -> None:
    """Without a key, and with a wrong one: 401 in the error's shape, or 429 once there were too many."""
    user = User(server)
    (tmp_path / "schemathesis.toml").write_text(known_objects(user))
    strangers = keyed_once(server.api.get("/openapi.json").json)
    for path, methods in list(strangers["paths"].items()):
        for method, operation in list(methods.items()):
            if operation.get("security") == []:
                del methods[method]
            else:
                operation["responses"] = {code: operation["responses"][code] for code in ("401", "429")}
                operation["responses"]["404"] = NO_SUCH_PATH
        if not methods:
            del strangers["paths"][path]
    assert len(strangers["paths"]) > 50
    (tmp_path / "strangers.json").write_text(json.dumps(strangers))
    before = user.api.get("/api/v1/action/").json["meta"]["total_count"]
    checks = (
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    )  # fmt: skip
    url = f"http://127.0.0.1:{server.port}"
    limits = ("--phases", "examples,fuzzing", "--max-examples", "4")
    for header in ((), ("--header", "Authorization: ApiKey admin:wrong")):
        schemathesis(tmp_path, "strangers.json", checks, "--url", url, *limits, *header)
    assert user.api.get("/api/v1/action/").json["meta"]["total_count"] == before
