"""Progress of an action over WebSocket (spec 4.2, 4.13)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.e2e.scenario import User
from tests.harness.server import TutelaProcess
from tests.streams.client import frame, rest, stream

pytestmark = pytest.mark.e2e


@pytest.fixture
def server(own_server: TutelaProcess) -> TutelaProcess:
    """One of its own: these tests write into its database, and end it."""
    return own_server


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[Any]:
    made = await asyncpg.connect(database_url)
    yield made
    await made.close()


async def opened(conn: Any, user: User) -> UUID:
    """An action that nobody works for, so that it stays open."""
    user.create("web")
    found: UUID = await conn.fetchval(
        "INSERT INTO actions (id, account_id, verb, object_uri, state, request, start_date)"
        " SELECT gen_random_uuid(), account_id, verb, object_uri, 'In progress', request, now() FROM actions"
        " LIMIT 1 RETURNING id"
    )
    return found


async def write(conn: Any, action: UUID, *lines: str) -> None:
    for line in lines:
        await conn.execute("INSERT INTO action_logs (action_id, line) VALUES ($1, $2)", action, line)


async def test_lines_come_until_the_action_has_ended(
    user: User, server: TutelaProcess, conn: Any, database_url: str
) -> None:
    action = await opened(conn, user)
    await write(conn, action, "zero", "one", "two")
    late = await asyncpg.connect(database_url)
    try:
        async with stream(server, f"/v1/action/{action}/logs?tail=2") as socket:
            for text in ("one", "two"):
                got = await frame(socket)
                assert got == {"type": "log", "log": text, "timestamp": got["timestamp"]}
                assert isinstance(got["timestamp"], int)
            begun = late.transaction()
            await begun.start()
            await write(late, action, "late")
            await write(conn, action, "three")
            assert (await frame(socket))["log"] == "three"
            await begun.commit()
            assert (await frame(socket))["log"] == "late"
            await write(conn, action, "last")
            await conn.execute("UPDATE actions SET state = 'Success', end_date = now() WHERE id = $1", action)
            left, code = await rest(socket)
            assert ([each["log"] for each in left], code) == (["last"], 1000)
    finally:
        await late.close()


async def test_without_follow_it_ends_at_once(user: User, server: TutelaProcess, conn: Any) -> None:
    action = await opened(conn, user)
    await write(conn, action, *(str(number) for number in range(5)))
    for query, wanted in (("", ["0", "1", "2", "3", "4"]), ("&tail=2", ["3", "4"]), ("&tail=0", [])):
        async with stream(server, f"/v1/action/{action}/logs/?follow=false{query}") as socket:
            got, code = await rest(socket)
        assert ([each["log"] for each in got], code) == (wanted, 1000)


async def test_a_start_says_what_it_does(user: User, server: TutelaProcess) -> None:
    uuid = await asyncio.to_thread(user.create, "web")
    answer = await asyncio.to_thread(user.api.post, f"/api/v1/service/{uuid}/start/")
    action = {key.lower(): value for key, value in answer.headers.items()}["x-tutum-action-uri"].split("/")[-2]
    async with stream(server, f"/v1/action/{action}/logs/") as socket:
        got, code = await rest(socket)
    assert code == 1000
    assert all(set(each) == {"type", "log", "timestamp"} for each in got)
