"""Connections between one block and the next."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.store import connections
from orchestrator.store.db import Database, connect
from tests.agents.harness import eventually

PID = "SELECT pg_backend_pid()"


async def test_a_connection_goes_back_as_it_is_and_what_was_open_is_rolled_back(database_url: str) -> None:
    """No word to the server when it is given back: that would be a round trip for each use of the database."""
    db, other = await Database.open(database_url, size=1), await connect(database_url)
    try:
        async with db.read() as conn:
            pid = await conn.fetchval("SELECT pg_backend_pid()")
        last = await other.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid)
        assert last == "SELECT pg_backend_pid()"
        async with db.read() as conn:
            await conn.execute("BEGIN")
            await conn.execute("UPDATE installation SET paused_at = now()")
        async with db.read() as conn:
            assert await conn.fetchval("SELECT pg_backend_pid()") == pid
            assert await conn.fetchval("SELECT paused_at FROM installation") is None
            assert await conn.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid) == "active"
        state = await other.fetchval("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)
        assert state == "idle", "no transaction is open"
    finally:
        await other.close()
        await db.close()


async def test_many_share_few_and_each_has_its_turn(database_url: str) -> None:
    """What lies at hand is not kept from who waits for the pool."""
    db = await Database.open(database_url, size=2)

    async def ask(number: int) -> int:
        async with db.transaction() if number % 2 else db.read() as conn:
            found: int = await conn.fetchval("SELECT $1::int FROM pg_sleep(0.001)", number)
            return found

    try:
        for _ in range(3):
            assert await asyncio.gather(*map(ask, range(40))) == list(range(40))
        assert (db.pool().size, db.pool().idle) == (2, 2)
    finally:
        await db.close()


async def test_a_connection_that_is_lost_at_hand_is_none(database_url: str) -> None:
    db, other = await Database.open(database_url, size=1), await connect(database_url)
    try:
        async with db.read() as conn:
            pid = await conn.fetchval(PID)
        assert await other.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
        await eventually(lambda: db._pool._pool.get_idle_size() == 1, within=5, what="the pool to open another")
        assert (db.pool().size, db.pool().idle) == (1, 1)
        async with db.read() as conn:
            assert await conn.fetchval(PID) != pid
    finally:
        await other.close()
        await db.close()


async def test_a_block_under_way_ends_before_the_pool_does(database_url: str) -> None:
    """Its connection goes to the pool that waits for it, and is not kept at hand."""
    db = await Database.open(database_url, size=1)
    end, began = asyncio.Event(), asyncio.Event()

    async def use() -> None:
        async with db.read() as conn:
            began.set()
            await end.wait()
            assert await conn.fetchval("SELECT 1") == 1

    using = asyncio.create_task(use())
    await began.wait()
    closing = asyncio.create_task(db.close())
    await asyncio.sleep(0.05)
    end.set()
    async with asyncio.timeout(2):
        await asyncio.gather(using, closing)


async def test_one_on_which_a_block_failed_goes_through_the_pool(database_url: str) -> None:
    """A statement may be under way on it: the driver has it cancelled first."""
    db = await Database.open(database_url, size=1)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), db.read() as conn:
                await conn.execute("SELECT pg_sleep(60)")
        async with asyncio.timeout(4), db.read() as conn:
            assert await conn.fetchval("SELECT 1") == 1
    finally:
        await db.close()


async def test_what_is_at_hand_for_long_goes_back_to_the_pool(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which closes what is idle; the last used one alone is kept busy by who asks one at a time."""
    db = await Database.open(database_url, size=3)
    try:
        async with db.read() as one, db.read() as two, db.read() as three:
            assert len({await each.fetchval(PID) for each in (one, two, three)}) == 3
        kept = db._pool._pool.get_idle_size()
        assert (kept, db.pool().idle) == (0, 3)
        monkeypatch.setattr(connections, "AT_HAND", -1.0)
        for _ in range(2):
            await db.ping()
        assert (db._pool._pool.get_idle_size(), db.pool().idle) == (3, 3)
    finally:
        await db.close()
