"""A canary in every place that takes a secret, operations that succeed and fail, and then a look everywhere (S7, S21,
S22): log, record, audit, events, metrics, answers of failures, and what the engine is told beside the environment."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import asyncpg
import pytest

from tests.e2e.scenario import SLEEPER, User, owned
from tests.harness.engine import PrivateEngine
from tests.harness.server import Response, TutelaProcess

pytestmark = pytest.mark.e2e

VALUE, OTHERS, PASSWORD, HUB, BODY, WRONG, QUERY = (
    f"canary-{name}-5d41402abc4b2a76" for name in ("value", "stack", "password", "registry", "body", "wrong", "query")
)
HELD = {
    VALUE: {("services", "spec"), ("containers", "spec")},
    OTHERS: {("services", "spec")},
    BODY: {("services", "operation"), ("services", "queued"), ("containers", "spec")},
}
"""Where a value must be, since containers are made from it; all else is nowhere."""


async def everything(dsn: str) -> dict[tuple[str, str], str]:
    """The text of each column of each table, as a dump has it."""
    conn = await asyncpg.connect(dsn)
    try:
        tables = await conn.fetch("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        out: dict[tuple[str, str], str] = {}
        for table in (row["table_name"] for row in tables):
            for row in await conn.fetch(f'SELECT row_to_json(t)::text AS line FROM "{table}" t'):  # noqa: S608 - a name
                for column, value in json.loads(row["line"]).items():
                    out[table, column] = out.get((table, column), "") + json.dumps(value)
        return out
    finally:
        await conn.close()


def basic(user: str, secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}


def failing(user: User, service: str) -> list[Response]:
    """Requests with a secret that go wrong, in each way that they can."""
    api, variables = user.api, [{"key": "K", "value": VALUE}]
    at = "/api/v1/service/"
    odd: list[tuple[str, str, Any]] = [
        ("POST", at, {"image": "", "container_envvars": variables}),
        ("POST", at, {"image": "a", "container_envvars": [{"key": "K", "value": [VALUE]}]}),
        ("POST", at, {"image": "a", "container_envvars": {"K": VALUE}}),
        ("POST", at, {"image": "a", "container_envvars": [{"key": "=", "value": VALUE}]}),
        ("POST", at, {"image": "a", "container_envvars": [VALUE]}),
        ("PATCH", f"{at}{service}/", {"target_num_containers": -1, "container_envvars": variables}),
        ("POST", "/api/v1/stack/", {"name": "s", "services": [{"name": "x", "environment": {"K": OTHERS}}]}),
        ("POST", "/api/v1/stack/", {"name": "s", "services": [{"name": "x", "image": "a", "environment": [OTHERS]}]}),
        ("POST", "/api/v1/stack/", {"name": "s", "services": [{"image": "a", "environment": f"K={OTHERS}"}]}),
        ("POST", "/api/v1/image/", {"name": "127.0.0.1:1/x", "username": "u", "password": HUB}),
        ("POST", "/api/v1/image/", {"name": "127.0.0.1:1/x", "username": 5, "password": [HUB]}),
        ("POST", "/api/v1/auth/password/", {"password": PASSWORD, "username": "nobody"}),
        ("POST", "/api/v1/auth/password/", {"password": [PASSWORD]}),
        ("POST", "/api/v1/auth/password/", {"password": PASSWORD[:3]}),
    ]
    answers = [api.call(method, path, json=body) for method, path, body in odd]
    answers += [
        api.call("GET", at, auth=False, headers=headers)
        for headers in (basic("admin", WRONG), {"Authorization": f"ApiKey admin:{WRONG}"},
                        {"Authorization": f"Bearer {WRONG}"}, {"Authorization": WRONG})
    ]  # fmt: skip
    answers += [
        api.get(f"{at}?token={QUERY}&apikey={QUERY}"),
        api.get(f"/v1/events/?user=admin&token={QUERY}", auth=False),
    ]
    return answers


async def test_no_secret_is_where_it_has_no_business(
    server: TutelaProcess, engine: PrivateEngine, database_url: str
) -> None:
    user, api = User(server), server.api
    running = user.run("web", container_envvars=[{"key": "K", "value": VALUE}], roles=["global"])
    failed = user.create("odd", image=SLEEPER, run_command="/nowhere", container_envvars=[{"key": "K", "value": VALUE}])
    user.do(failed, "start", wait="Failed")
    stack = {"name": "s", "services": [{"name": "x", "image": SLEEPER, "environment": {"K": OTHERS}}]}
    assert api.post("/api/v1/stack/", json=stack).status == 201
    assert api.post("/api/v1/auth/password/", json={"password": PASSWORD}).status == 200
    assert api.call("GET", "/api/v1/auth/", auth=False, headers=basic("admin", PASSWORD)).status == 200
    # With a key for repetitions: the answers are stored.
    key, token, trigger = (
        api.post(path, json=body, headers={"Idempotency-Key": path}).json
        for path, body in (("/api/v1/auth/key/", {"name": "ci"}), ("/api/v1/token/", {}),
                           (f"/api/v1/service/{running}/trigger/", {}))
    )  # fmt: skip
    key, token = key["key"], token["token"]
    called = api.call("POST", trigger["url"], json=BODY, auth=False)
    assert called.status == 202
    user.ended(called, wait="Success")
    refused = failing(user, running)
    assert {each.status for each in refused} >= {400, 401, 404}
    # The engine: labels, command, name of each container. The environment is what the process needs.
    inside = [engine.client().inspect_container(each["Id"]) for each in owned(engine)]
    (bearer,) = {line for each in inside for line in each["Config"]["Env"] if line.startswith("TUTUM_AUTH=")}
    for each in inside:
        each["Config"].pop("Env")
    admin = api.credentials()["api_key"]
    secrets = {
        VALUE, OTHERS, PASSWORD, HUB, BODY, WRONG, QUERY, key, admin, token, token.rpartition("-")[2],
        bearer.partition("=")[2].removeprefix("Bearer "), trigger["uuid"],
    }  # fmt: skip
    shown = {
        "log": server.log(),
        "engine": json.dumps(inside),
        "metrics": api.get("/metrics").text,
        "health": api.get("/api/v1/admin/health/").text,
        "queue": api.get("/api/v1/admin/queue/").text,
        "audit": api.get("/api/v1/admin/audit/?limit=100").text,
        "actions": api.get("/api/v1/action/?limit=100").text,
        "explain": api.get(f"/api/v1/service/{failed}/explain/").text,
        "refusals": "".join(each.text for each in refused),
    }
    assert [(where, secret) for where, text in shown.items() for secret in secrets if secret in text] == []
    dump = await everything(database_url)
    allowed = {**HELD, trigger["uuid"]: {("triggers", "id")}}
    found = {(secret, *place) for place, text in dump.items() for secret in secrets if secret in text}
    assert {each for each in found if each[1:] not in allowed.get(each[0], set())} == set()
    assert (VALUE, "services", "spec") in found
    assert (trigger["uuid"], "triggers", "id") in found
    assert {"audit", "answers"} <= {table for table, _ in dump}


_ON_A_TERMINAL = """
import io, structlog
from app.logs import configure

class Terminal(io.StringIO):
    def isatty(self):
        return True

stream = Terminal()
configure(stream)
def login(password):
    raise KeyError("nobody")
try:
    login("canary-7f3a")
except KeyError:
    structlog.get_logger("x").exception("it failed")
print(stream.getvalue())
"""


def test_a_traceback_on_a_terminal_shows_no_values() -> None:
    said = subprocess.run([sys.executable, "-c", _ON_A_TERMINAL], capture_output=True, text=True, check=True).stdout
    assert "KeyError: 'nobody'" in said
    assert "in login" in said
    assert said.count("canary-7f3a") == 0
