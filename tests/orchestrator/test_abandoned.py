"""Transactions of a process that hangs: their locks do not hold up the others."""

from __future__ import annotations

import asyncio

from orchestrator.store import health
from orchestrator.store.db import Database, connect
from tests.agents.harness import eventually


async def test_one_that_hangs_between_two_messages_is_ended_and_nobody_else(database_url: str) -> None:
    """Where no timeout of the server applies: it has been told a statement, and not yet to carry it out."""
    db = await Database.open(database_url, size=3)
    hung, idle = await connect(database_url), await connect(database_url)
    try:
        async with db.read() as conn:
            began = hung.transaction()
            await began.start()
            await hung.execute("LOCK TABLE join_tokens IN ACCESS EXCLUSIVE MODE")
            await hung.prepare("SELECT 1 + $1::int")
            waits = "SELECT state FROM pg_stat_activity WHERE wait_event = 'ClientRead' AND pid = $1"
            async with asyncio.timeout(20):  # it has answered before it waits
                while (state := await conn.fetchval(waits, hung.get_server_pid())) is None:
                    pass  # the question itself takes its time
            assert state == "active"
            assert await health.end_abandoned(conn, 60) == 0
            assert await health.end_abandoned(conn, 0) == 1
            await eventually(hung.is_closed, "the connection to end")
            assert await conn.fetchval("SELECT count(*) FROM join_tokens") == 0
            assert await idle.fetchval("SELECT 1") == 1
    finally:
        hung.terminate()
        await idle.close()
        await db.close()
