"""A request that reads holds one connection: its login's serves its read too, and goes back to the pool in any case."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from domain.errors import NotFound
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.lent import Lent
from tests.api.client import API, Client, application


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    db = await Database.open(database_url, size=1)
    yield db
    await db.close()


async def test_one_connection_is_enough(db: Database) -> None:
    lent = Lent(db)
    async with lent.first() as conn:
        pid = await conn.fetchval("SELECT pg_backend_pid()")
    assert db.pool().idle == 0, "kept"
    async with lent.read() as conn:
        assert await conn.fetchval("SELECT pg_backend_pid()") == pid
    assert db.pool().idle == 1, "given back after the read"
    async with lent.first():
        pass
    async with lent.transaction() as conn:
        assert await conn.fetchval("SELECT 1") == 1
    await lent.give_back()
    assert db.pool().idle == 1


async def test_what_fails_keeps_nothing(db: Database) -> None:
    lent = Lent(db)
    with pytest.raises(NotFound):
        async with lent.first():
            raise NotFound("x")
    assert db.pool().idle == 1
    async with lent.first():
        pass
    with pytest.raises(DatabaseAway):
        async with lent.read() as conn:
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    async with lent.read() as conn:
        assert await conn.fetchval("SELECT 1") == 1
    assert db.pool().idle == 1


async def test_no_request_keeps_a_connection(client: Client) -> None:
    uri = (await client.create(name="web"))["resource_uri"]
    for path, headers in (
        (uri, {}),
        (f"{API}/provider/", {}),
        (f"{uri}nothing/", {}),
        (f"{API}/service/00000000-0000-4000-8000-000000000000/", {}),
        (uri, {"Authorization": "ApiKey admin:wrong"}),
        (uri, {"Authorization": "Basic YWRtaW46d3Jvbmc="}),
        (f"{API}/service/?nonsense=1", {}),
    ):
        await client.call("GET", path, headers=headers)
        assert client.db.pool().idle == client.db.pool().size, path
