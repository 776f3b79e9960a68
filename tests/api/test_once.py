"""Idempotency keys over a real Postgres: done once, answered as often as asked, refused for another request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from app.openapi.table import OPERATIONS
from domain.access import Role
from orchestrator.store import accounts, answers, users
from tests.api.client import API, KEY, Client, application
from tests.api.test_cost import logged

KEYED = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
REPLAYED = "idempotent-replayed"


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


async def create(client: Client, headers: Mapping[str, str | bytes] | None = None, **body: Any) -> Any:
    return await client.call("POST", f"{API}/service/", json={"image": "a", **body}, headers=headers or KEYED)


async def test_what_is_sent_again_is_answered_and_not_done_again(client: Client) -> None:
    first, again = await create(client, name="web"), await create(client, name="web")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    for name in ("x-tutum-action-uri", "x-dockercloud-action-uri", "content-type"):
        assert first.headers[name] == again.headers[name]
    assert (await client.count(), await client.count("actions"), await client.count("answers")) == (1, 1, 1)
    listed = (await client.call("GET", f"{API}/service/")).json()
    assert [each["name"] for each in listed["objects"]] == ["web"]
    rows = (await client.call("GET", f"{API}/admin/audit/")).json()["objects"]
    assert [(row["status"], row["detail"]) for row in rows] == [(201, "sent again with its Idempotency-Key"), (201, "")]


async def test_an_answer_is_the_first_one_although_things_have_changed_since(client: Client) -> None:
    uri = (await client.create(name="web"))["resource_uri"]
    for method, path, body in (
        ("PATCH", uri, {"target_num_containers": 3}),
        ("POST", f"{uri}tags/", [{"name": "blue"}]),
        ("DELETE", f"{uri}tags/blue/", None),
        ("DELETE", uri, None),
    ):
        keyed = {"Idempotency-Key": f"{method}{path}"}
        first = await client.call(method, path, json=body, headers=keyed)
        assert first.status_code < 300, first.text
        for _ in range(2):
            again = await client.call(method, path, json=body, headers=keyed)
            assert (again.status_code, again.content) == (first.status_code, first.content)
            assert again.headers[REPLAYED] == "true"
    assert await client.count("actions") == 5


@pytest.mark.parametrize(
    ("path", "body"),
    [("service/", {"image": "b"}), ("service/?x=1", {"image": "a"}), ("image/", {"image": "a"})],
    ids=["body", "query", "path"],
)
async def test_a_key_of_another_request_is_refused(client: Client, path: str, body: dict[str, str]) -> None:
    await create(client)
    answer = await client.call("POST", f"{API}/{path}", json=body, headers=KEYED)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert "of its own" in answer.json()["fields"]["Idempotency-Key"]
    assert (await client.count(), await client.count("actions")) == (1, 1)


MUTATING = [(method, path) for (method, path), row in OPERATIONS.items() if method != "GET" and not row.open]


async def test_every_operation_that_changes_something_takes_part(client: Client) -> None:
    """A key that is none is refused everywhere, so each looks at it."""
    for method, path in MUTATING:
        at = re.sub(r"{\w+}", str(uuid4()), path)
        answer = await client.call(method, at, headers={"Idempotency-Key": "two words"})
        assert answer.status_code == 400, (method, path, answer.text)
        assert "visible ASCII" in answer.json()["fields"]["Idempotency-Key"]
    assert len(MUTATING) > 50


@pytest.mark.parametrize("key", [b"", b" ", b"a b", b"x" * 256, "ä".encode(), b"a\tb"])
async def test_a_key_of_another_form_is_refused(client: Client, key: bytes) -> None:
    answer = await create(client, headers={"Idempotency-Key": key})
    assert answer.status_code == 400, answer.text
    assert list(answer.json()["fields"]) == ["Idempotency-Key"]
    assert await client.count() == 0


async def test_longest_key_and_keys_on_reads(client: Client) -> None:
    assert (await create(client, headers={"Idempotency-Key": '"' + "~" * 254})).status_code == 201
    assert (await client.call("GET", f"{API}/service/", headers={"Idempotency-Key": "a b"})).status_code == 200
    assert await client.count("answers") == 1


async def test_at_the_same_moment_one_is_done_and_all_are_answered(client: Client) -> None:
    made = await asyncio.gather(*(create(client, name="web") for _ in range(8)))
    assert {answer.status_code for answer in made} == {201}
    assert len({answer.content for answer in made}) == 1
    assert sum(REPLAYED not in answer.headers for answer in made) == 1
    uri = made[0].json()["resource_uri"]
    started = await asyncio.gather(
        *(client.call("POST", f"{uri}start/", headers={"Idempotency-Key": "start"}) for _ in range(8))
    )
    assert {answer.status_code for answer in started} == {202}
    assert len({answer.content for answer in started}) == 1
    assert (await client.count(), await client.count("actions")) == (1, 2)


async def test_a_trigger_called_again_adds_its_containers_once(client: Client) -> None:
    uri = (await client.create(name="web", target_num_containers=1))["resource_uri"]
    await client.call("POST", f"{uri}start/")
    trigger = await client.call("POST", f"{uri}trigger/", json={"operation": "SCALEUP"}, headers=KEYED)
    again = await client.call("POST", f"{uri}trigger/", json={"operation": "SCALEUP"}, headers=KEYED)
    assert trigger.json() == again.json()
    call = f"{uri}trigger/{trigger.json()['uuid']}/call/3/"
    keyed = {"Idempotency-Key": "called"}
    answers_ = await asyncio.gather(*(client.http.post(call, headers=keyed) for _ in range(4)))
    assert {each.status_code for each in answers_} == {202}
    assert sum(REPLAYED in each.headers for each in answers_) == 3
    assert (await client.http.post(call, headers=keyed, content=b"x")).status_code == 422
    assert (await client.http.post(call, headers={"Idempotency-Key": ""})).status_code == 400
    async with client.db.read() as conn:
        verbs = await conn.fetch("SELECT count(*) FROM actions WHERE verb = 'Service Scale'")
    assert verbs[0][0] == 1


async def test_a_refusal_is_not_kept(client: Client) -> None:
    """It changed nothing: the same request may be right a moment later."""
    uri = (await client.create(name="web"))["resource_uri"]
    at = uri.replace("/v1/", "/v1/admin/")
    refused = await client.call("POST", f"{at}resume/", headers=KEYED)
    assert refused.status_code == 409
    assert (await client.count("answers"), await client.count("actions")) == (0, 2)
    await client.call("POST", f"{at}pause/")
    accepted = await client.call("POST", f"{at}resume/", headers=KEYED)
    assert accepted.status_code == 202, accepted.text
    assert REPLAYED not in accepted.headers
    invalid = await client.call("POST", f"{API}/service/", json={}, headers={"Idempotency-Key": "b"})
    assert invalid.status_code == 400
    assert (await client.count("answers"), await client.count("actions")) == (1, 5)


async def test_an_error_of_the_server_leaves_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("planted")

    # Its log is not rendered: outside of a server that shows every variable on the way.
    with monkeypatch.context() as planted, capture_logs():
        planted.setattr("app.api.services.reply_made", broken)
        assert (await create(client)).status_code == 500
    assert (await client.count(), await client.count("actions"), await client.count("answers")) == (0, 0, 0)
    assert (await create(client)).status_code == 201
    assert client.db.pool().idle == client.db.pool().size


async def test_secrets_told_once_are_told_again_but_not_stored_readable(client: Client) -> None:
    for path, body, secret in (
        ("auth/key/", {"name": "ci"}, "key"),
        ("token/", {}, "token"),
    ):
        keyed = {"Idempotency-Key": path}
        first = await client.call("POST", f"{API}/{path}", json=body, headers=keyed)
        assert first.status_code == 201, first.text
        again = await client.call("POST", f"{API}/{path}", json=body, headers=keyed)
        assert again.json() == first.json()
        async with client.db.read() as conn:
            rows = await conn.fetch("SELECT * FROM answers")
        assert len(first.json()[secret]) > 20
        assert first.json()[secret] not in str([dict(row) for row in rows])
    assert await client.count("api_keys") == 2


async def test_keys_of_one_account_say_nothing_to_another_or_to_a_lesser_key(client: Client) -> None:
    async with client.db.transaction() as conn:
        ben = await users.insert(conn, "ben", Role.MEMBER, None)
        await accounts.add_key(conn, ben, "bens", "key")
    made = await client.call("POST", f"{API}/auth/key/", json={"name": "x"}, headers=KEYED)
    lesser = (await client.call("POST", f"{API}/auth/key/", json={"name": "y", "scope": "member"})).json()["key"]
    for user, key, status in (("ben", "bens", 201), ("admin", lesser, 422), ("admin", KEY, 201)):
        sent = {"Authorization": f"ApiKey {user}:{key}", **KEYED}
        answer = await client.http.post(f"{API}/auth/key/", json={"name": "x"}, headers=sent)
        assert answer.status_code == status, answer.text
        assert (answer.json().get("key") == made.json()["key"]) == (key == KEY)


async def test_after_a_day_a_key_is_a_new_one(client: Client) -> None:
    await create(client)
    for age, there in (("23 hours", 1), ("25 hours", 0)):
        async with client.db.transaction() as conn:
            await conn.execute("UPDATE answers SET at = now() - $1::text::interval", age)
            await answers.purge(conn)
        assert await client.count("answers") == there
    again = await create(client)
    assert REPLAYED not in again.headers
    assert await client.count() == 2


async def test_the_price_is_two_statements_and_nothing_without_the_header(client: Client) -> None:
    await client.create()  # a new connection asks about its types first
    await create(client, headers={"Idempotency-Key": "first"})
    counted = []
    for headers in ({}, KEYED, KEYED):
        seen: list[tuple[str, tuple[Any, ...]]] = []
        with logged(seen):
            answer = await client.call("POST", f"{API}/service/", json={"image": "a"}, headers=headers)
        assert answer.status_code == 201
        counted.append(len(seen))
        assert any("answers" in query for query, _ in seen) == bool(headers)
    without, first, again = counted
    assert first == without + 2
    assert again < 6
