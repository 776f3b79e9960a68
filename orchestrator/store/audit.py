"""The audit log: who changed what, by what right, and with what result. Rows are added, never changed (S30)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.access import Via
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where

MOST_COUNTED = 10_000
"""A list counts no further: over months there are millions of rows."""
_COLUMNS = (
    "id, at, request_id, account_id, username, via, key_id, ip, verb, object_uri, method, path, status, action_id,"
    " detail"
)
_FILTERS = {
    "uuid": "id",
    "user": "username",
    "key": "key_id",
    "via": "via",
    "object": "object_uri",
    "action": "verb",
    "method": "method",
    "status": "status",
    "ip": "ip",
    "date": "at",
}


@dataclass(slots=True, kw_only=True)
class Entry:
    """One row that is to be. It is made when a request comes, and filled in on its way; `done` and `begun` are the
    codes of its good answers, when all is done at once and when work for it has begun.

    `denied`: the caller has no right to what it asked. `written` is no truth before its transaction has committed.
    """

    id: UUID
    request_id: str
    ip: str
    method: str
    path: str
    account_id: UUID | None = None
    username: str = ""
    via: Via | None = None
    key_id: UUID | None = None
    verb: str = ""
    object_uri: str = ""
    action_id: UUID | None = None
    detail: str = ""
    done: int = 200
    begun: int = 202
    denied: bool = False
    written: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A row of the log."""

    id: UUID
    at: datetime
    request_id: str
    account_id: UUID | None
    username: str
    via: str
    key_id: UUID | None
    ip: str
    verb: str
    object_uri: str
    method: str
    path: str
    status: int
    action_id: UUID | None
    detail: str


async def write(conn: Connection, entry: Entry, status: int) -> None:
    """Add the row, unless it is there: then its transaction was the one that counted."""
    await conn.execute(
        "INSERT INTO audit (id, request_id, account_id, username, via, key_id, ip, verb, object_uri, method, path,"
        " status, action_id, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        " ON CONFLICT DO NOTHING",
        entry.id,
        entry.request_id,
        entry.account_id,
        entry.username,
        entry.via.value if entry.via else "",
        entry.key_id,
        entry.ip,
        entry.verb,
        entry.object_uri,
        entry.method,
        entry.path,
        status,
        entry.action_id,
        entry.detail[:500],
    )
    entry.written = True


async def page(conn: Connection, filters: Sequence[Filter], limit: int, offset: int) -> tuple[list[AuditRow], int]:
    """A page of the log, newest first, and how many fit: those up to its next page, and others up to MOST_COUNTED."""
    condition, arguments = where(filters, _FILTERS, first=1)
    base = f"FROM audit WHERE {condition}"
    total = await conn.fetchval(
        f"SELECT count(*) FROM (SELECT 1 {base} LIMIT ${len(arguments) + 1}) AS counted",  # noqa: S608 - constants
        *arguments,
        MOST_COUNTED,
    )
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY at DESC, id LIMIT ${len(arguments) + 1} OFFSET ${len(arguments) + 2}",
        *arguments,
        limit + 1,
        offset,
    )
    return [AuditRow(**row) for row in rows[:limit]], max(total, offset + len(rows))


async def purge(conn: Connection, older_than_days: int, limit: int = 5000) -> int:
    """Drop rows of that long ago; the database itself refuses to drop younger ones than 90 days.

    Returns how many.
    """
    result = await conn.execute(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit"
        " WHERE at < now() - make_interval(days => $1) ORDER BY at LIMIT $2)",
        older_than_days,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
