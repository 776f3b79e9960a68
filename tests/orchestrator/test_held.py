"""The database of a request with an Idempotency-Key, when its connection is lost before the answer is stored."""

from __future__ import annotations

import pytest

from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.held import Held


async def test_a_lost_connection_is_an_absent_database_in_the_open_transaction_too(database_url: str) -> None:
    """Found by chaos: the API answered 500 instead of 503."""
    db = await Database.open(database_url)
    try:
        for again in ("read", "transaction"):
            held = Held(db)
            async with held.transaction() as conn:
                pid = await conn.fetchval("SELECT pg_backend_pid()")
            async with db.read() as other:
                assert await other.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
            block = held.read() if again == "read" else held.transaction()
            with pytest.raises(DatabaseAway):
                async with block as conn:
                    await conn.fetchval("SELECT 1")
            await held.abandon()
        await db.ping()
    finally:
        await db.close()
