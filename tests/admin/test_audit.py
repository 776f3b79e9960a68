"""The audit log: one row for each request that changes something, never changed, never deleted early (S30)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from app.fleet.tokens import secret_hash
from orchestrator.enrolment import enrol
from orchestrator.store import audit
from orchestrator.store.db import Database
from tests.admin.conftest import ADMIN, Office
from tests.admin.test_rights import CHANGING, filled
from tests.api.client import API
from tests.api.test_cost import logged


@pytest.mark.parametrize(("method", "path"), CHANGING)
async def test_each_changing_route_leaves_exactly_one_row(office: Office, method: str, path: str) -> None:
    """Here most of them are refused: there is nothing under these names."""
    before = await office.count("audit")
    answer = await office.call(method, filled(path), json={})
    opened = path.endswith(("call/", "call/{count}/"))
    assert await office.count("audit") - before == (0 if opened else 1), answer.text
    if not opened:
        row = (await office.audit())[0]
        assert (row["user"], row["via"], row["method"], row["status"]) == ("admin", "key", method, answer.status_code)
        assert row["ip"]
        assert row["request_id"]


async def done(office: Office) -> list[tuple[str, str, Any]]:
    """A request of each kind that succeeds."""
    service = await office.create(name="web")
    node = await office.node()
    own = await office.node("n2")
    uri, at = service["resource_uri"], f"{API}/node/{node}/"
    trigger = (await office.call("POST", f"{uri}trigger/", json={})).json()
    eve = (await office.call("POST", f"{ADMIN}/user/", json={"username": "eve"})).json()
    key = await office.key_of(eve["uuid"])
    return [
        ("POST", f"{API}/service/", {"image": "a"}),
        ("PATCH", uri, {"target_num_containers": 2}),
        ("POST", f"{uri}tags/", [{"name": "t"}]),
        ("DELETE", f"{uri}tags/t/", None),
        ("POST", f"{uri}start/", None),
        ("PATCH", uri, {"nickname": "x"}),
        ("POST", f"{uri}trigger/", {}),
        ("POST", trigger["url"], None),
        ("DELETE", trigger["resource_uri"], None),
        ("DELETE", (await office.create(name="idle"))["resource_uri"], None),
        ("POST", f"{API}/stack/", {"name": "s", "services": [{"name": "a", "image": "a"}]}),
        ("PATCH", at, {"nickname": "big"}),
        ("POST", f"{ADMIN}/node/{node}/cordon/", None),
        ("POST", f"{ADMIN}/node/{node}/uncordon/", None),
        ("POST", f"{ADMIN}/node/{node}/drain/", None),
        ("POST", f"{at}health-check/", None),
        ("DELETE", f"{API}/node/{own}/", None),
        ("POST", f"{API}/token/", {}),
        ("POST", f"{API}/image/", {"name": "r.example.com/a"}),
        ("PATCH", f"{API}/image/r.example.com/a/", {"description": "x"}),
        ("DELETE", f"{API}/image/r.example.com/a/", None),
        ("POST", f"{API}/auth/password/", {"password": "correct horse"}),
        ("POST", f"{API}/auth/key/", {"name": "x"}),
        ("PATCH", eve["resource_uri"], {"role": "read-only"}),
        ("DELETE", f"{eve['resource_uri']}key/{key['uuid']}/", None),
        ("DELETE", eve["resource_uri"], None),
    ]


async def test_what_succeeds_leaves_one_row_with_its_code_and_its_action(office: Office) -> None:
    for method, path, body in await done(office):
        before = await office.count("audit")
        answer = await office.call(method, path, json=body)
        assert answer.status_code < 300, (method, path, answer.text)
        assert await office.count("audit") - before == 1, (method, path)
        row = (await office.audit())[0]
        assert row["status"] == answer.status_code, (method, path, row)
        assert row["action"]
        assert row["action_uri"] == answer.headers["x-tutum-action-uri"]


async def test_actions_canceled_and_retried(office: Office) -> None:
    service = await office.create(name="web")
    action = (await office.call("POST", f"{service['resource_uri']}start/")).headers["x-tutum-action-uri"]
    for verb, code in (("cancel", 202), ("retry", 202), ("cancel", 409)):
        before = await office.count("audit")
        answer = await office.call("POST", f"{action}{verb}/")
        assert answer.status_code == code, answer.text
        assert await office.count("audit") - before == 1
    assert [row["status"] for row in await office.audit()][:3] == [409, 202, 202]


async def test_what_is_refused_leaves_its_code(office: Office) -> None:
    eve = await office.hire("eve", "read-only")
    await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a"})
    (row,) = await office.audit("user=eve")
    assert (row["status"], row["path"], row["action_uri"]) == (403, f"{API}/service/", None)
    await office.call("GET", f"{ADMIN}/user/", headers=eve)  # reading is no change, but asking for it in vain is told
    assert [row["status"] for row in await office.audit("user=eve")] == [403, 403]
    await office.call("POST", f"{API}/service/", json={"image": ""})
    row = (await office.audit("user=admin"))[0]
    assert (row["status"], row["action"]) == (400, "Service Create")
    assert row["action_uri"] == (await office.actions())[0]["resource_uri"]


async def test_who_is_not_known_and_who_reads_leave_none(office: Office) -> None:
    before = await office.count("audit")
    await office.http.post(f"{API}/service/", json={"image": "a"})
    await office.call("GET", f"{API}/service/")
    await office.call("GET", f"{API}/auth/")
    assert await office.count("audit") == before


async def test_what_fails_or_is_too_large_leaves_a_row_too(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    assert (await office.call("POST", f"{API}/service/", content=endless())).status_code == 413

    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("app.commands.services.create", fails)
    answer = await office.call("POST", f"{API}/service/", json={"image": "a"})
    assert answer.status_code == 500
    rows = await office.audit()
    assert [row["status"] for row in rows] == [500, 413]
    assert rows[0]["request_id"] == answer.json()["request_id"] != ""


async def test_the_row_of_a_change_commits_with_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError("full")

    monkeypatch.setattr(audit, "write", fails)
    answer = await office.call("POST", f"{API}/service/", json={"image": "a", "name": "web"})
    assert answer.status_code == 500
    assert await office.count("services") == 0


async def test_logins_by_password(office: Office) -> None:
    await office.call("POST", f"{API}/auth/password/", json={"password": "correct horse"})

    async def login(password: str) -> int:
        value = base64.b64encode(f"admin:{password}".encode()).decode()
        answer = await office.http.get(f"{API}/auth/", headers={"Authorization": f"Basic {value}"})
        return answer.status_code

    assert [await login(each) for each in ("wrong", "correct horse", "correct horse")] == [401, 200, 200]
    rows = await office.audit("action=Login")
    assert [(row["user"], row["via"], row["status"]) for row in rows] == [
        ("admin", "password", 200), ("admin", "password", 401),
    ]  # fmt: skip
    assert "wrong" not in str(rows)


async def test_a_triggers_secret_is_not_in_the_log(office: Office) -> None:
    service = await office.create(name="web")
    await office.call("POST", f"{service['resource_uri']}start/")
    trigger = (await office.call("POST", f"{service['resource_uri']}trigger/", json={})).json()
    assert (await office.http.post(trigger["url"])).status_code == 202
    await office.call("DELETE", trigger["resource_uri"])
    rows = await office.audit()
    assert [(row["via"], row["user"]) for row in rows[:2]] == [("key", "admin"), ("trigger", "admin")]
    assert trigger["uuid"] not in str(rows)
    assert rows[1]["object"] == service["resource_uri"]


async def test_filters_and_pages(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    eve = await office.hire("eve")
    service = (await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a"})).json()
    assert [row["user"] for row in await office.audit(f"object={service['resource_uri']}")] == ["eve"]
    assert len(await office.audit("user=admin")) == 2
    assert await office.audit("date__lt=2020-01-01") == []
    assert len(await office.audit("date__gt=2020-01-01&status=201&action=Service%20Create")) == 1
    page = (await office.call("GET", f"{ADMIN}/audit/?limit=1")).json()
    assert (page["meta"]["total_count"], len(page["objects"])) == (3, 1)
    assert page["meta"]["next"] == f"{ADMIN}/audit/?limit=1&offset=1"
    # Beyond what is counted there is a next page too.
    monkeypatch.setattr(audit, "MOST_COUNTED", 1)
    page = (await office.call("GET", f"{ADMIN}/audit/?limit=1&offset=1")).json()
    assert page["meta"]["next"] == f"{ADMIN}/audit/?limit=1&offset=2"
    assert (await office.call("GET", f"{ADMIN}/audit/?nonsense=1")).status_code == 400
    assert (await office.call("DELETE", f"{ADMIN}/audit/")).status_code == 405


async def test_rows_are_neither_changed_nor_deleted_before_their_time(office: Office) -> None:
    await office.create(name="web")
    for statement in ("UPDATE audit SET username = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(asyncpg.RaiseError, match="only added to"):
            async with office.db.transaction() as conn:
                await conn.execute(statement)
    async with office.db.transaction() as conn:
        await conn.execute(
            "INSERT INTO audit (id, at, request_id, username, via, ip, verb, object_uri, method, path, status, detail)"
            " SELECT $1, now() - interval '91 days', '', 'old', '', '', '', '', '', '', 200, ''",
            uuid4(),
        )
        await audit.purge(conn, 90)
    assert {row["user"] for row in await office.audit()} == {"admin"}


async def test_a_host_that_joins_leaves_a_row(office: Office) -> None:
    made = (await office.call("POST", f"{API}/token/", json={})).json()
    secret = secret_hash(made["token"].rpartition("-")[2])
    for _ in range(2):  # it asks again when the answer was lost
        node = await enrol(
            office.db, secret_hash=secret, key_hash=b"key", name="n1", engine=None, days=90, ip="192.0.2.7"
        )
    (row,) = await office.audit("via=token")
    assert (row["action"], row["object"], row["ip"], row["detail"]) == (
        "Node Join", f"{API}/node/{node.id}/", "192.0.2.7", "n1",
    )  # fmt: skip


async def test_the_row_of_a_change_costs_one_statement_and_no_transaction_of_its_own(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, tuple[Any, ...]]] = []
    begun: list[Database] = []
    with logged(seen):
        watched = Database.transaction

        def counted(db: Database) -> Any:
            begun.append(db)
            return watched(db)

        monkeypatch.setattr(Database, "transaction", counted)
        assert (await office.call("POST", f"{API}/service/", json={"image": "a"})).status_code == 201
    assert len(begun) == 1
    assert sum("INTO audit" in query for query, _ in seen) == 1
