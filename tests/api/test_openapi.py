"""The OpenAPI document is true: a row for every operation, and what is answered has the shape it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "missing_required_header",
        "unsupported_method",
        "allow_header_conformance",
    )
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
    service = user.run("web", target=2)
    container = user.containers(service)[0]["uuid"]
    node = user.api.get("/api/v1/node/").json["objects"][0]["uuid"]
    action = user.api.get("/api/v1/action/").json["objects"][0]["uuid"]
    found = {"service": service, "container": container, "node": node, "action": action}
    return "\n".join(
        f"[[operations]]\ninclude-path-regex = '^/api/v1/{kind}/'\nparameters = {{ 'path.uuid' = '{uuid}' }}\n"
        for kind, uuid in found.items()
    )


@pytest.mark.e2e
def test_hostile_requests_to_every_operation(server: TutelaProcess, tmp_path: Path) -> None:
    """No 5xx, no undocumented code, no answer of another shape, for requests that fit the document and others."""
    key = server.api.credentials()
    (tmp_path / "schemathesis.toml").write_text(known_objects(User(server)))
    answer = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", CHECKS, "--max-examples", "20",
            "--continue-on-failure", "--suppress-health-check", "all",
            "--header", f"Authorization: ApiKey {key['user']}:{key['api_key']}",
            "--seed", "20141121", "--no-color",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-12000:] + answer.stderr[-2000:]
    print(answer.stdout[-3000:])
