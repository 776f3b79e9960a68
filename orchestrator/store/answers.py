"""Answers to requests with an `Idempotency-Key`, written in the transaction of what the request changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from orchestrator.store.db import Connection

KEEP_HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An answer: `fingerprint` of the request, `sealed` the body, which may hold what is told only once."""

    fingerprint: bytes
    status: int
    headers: Mapping[str, str]
    sealed: bytes


async def find(conn: Connection, account_id: UUID, key: str) -> Stored | None:
    """What was answered to the account's request with this key, if it was done."""
    row = await conn.fetchrow(
        "SELECT fingerprint, status, headers, sealed FROM answers WHERE account_id = $1 AND key = $2", account_id, key
    )
    return Stored(**row) if row else None


async def keep(conn: Connection, account_id: UUID, key: str, answer: Stored) -> bool:
    """Store it; waits for another transaction that does so with the same key. False when that one was first."""
    kept: bool | None = await conn.fetchval(
        "INSERT INTO answers (account_id, key, fingerprint, status, headers, sealed) VALUES ($1, $2, $3, $4, $5, $6)"
        " ON CONFLICT DO NOTHING RETURNING true",
        account_id,
        key,
        answer.fingerprint,
        answer.status,
        dict(answer.headers),
        answer.sealed,
    )
    return kept is True


async def purge(conn: Connection, older_than_hours: int = KEEP_HOURS, limit: int = 20_000) -> int:
    """Forget answers that old; their keys are then new ones. Returns how many."""
    result = await conn.execute(
        "DELETE FROM answers WHERE (account_id, key) IN (SELECT account_id, key FROM answers"
        " WHERE at < now() - make_interval(hours => $1) ORDER BY at LIMIT $2)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
