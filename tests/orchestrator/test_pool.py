"""Connections between one block and the next."""

from __future__ import annotations

from orchestrator.store.db import Database, connect


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
