"""Rows of `events` and `action_logs`: what happened, to be read once, in order, by whoever follows it.

An event's id is drawn before its transaction commits, so a reader that goes by ids alone would miss a late one. It
goes from edge to edge instead: an edge is the oldest transaction under way, and all rows below it are there. Between
two edges ids are the order: they are drawn under the lock of the object's row, so each object's events come in turn
even when a transaction that began earlier changed it later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orchestrator.store.db import Connection

KEEP_HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one object; `account_id` None concerns everybody."""

    id: int
    xid: int
    account_id: UUID | None
    type: str
    action: str
    resource_uri: str
    parents: tuple[str, ...]
    state: str


@dataclass(frozen=True, slots=True)
class Position:
    """What has been read: all below the edge `since`, and of those from there to `until` the ids up to `id`."""

    since: int
    until: int
    id: int

    def __str__(self) -> str:
        return f"{self.since}.{self.until}.{self.id}"


def position(text: str) -> Position | None:
    """The position that a cursor names; None when it is none."""
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        return None
    return Position(*map(int, parts))


def at_edge(edge: int) -> Position:
    """All below the edge."""
    return Position(edge, edge, 0)


async def edge(conn: Connection) -> tuple[int, bool]:
    """The present edge, and whether rows above it are there: then it is worth looking again soon."""
    row = await conn.fetchrow(
        "WITH now AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid)"
        " SELECT now.xid::text AS edge, EXISTS (SELECT 1 FROM events WHERE events.xid >= now.xid) AS younger FROM now"
    )
    assert row is not None  # noqa: S101 - one row always
    return int(row["edge"]), row["younger"]


async def window(conn: Connection, seen: Position, limit: int, account_id: UUID | None = None) -> list[Event]:
    """The next events between the position's edges, in order; with an account, those that concern it."""
    rows = await conn.fetch(
        "SELECT id, xid::text::int8 AS xid, account_id, type, action, resource_uri, parents, state FROM events"
        " WHERE xid >= $1::text::xid8 AND xid < $2::text::xid8 AND id > $3"
        " AND ($4::uuid IS NULL OR account_id IS NULL OR account_id = $4) ORDER BY id LIMIT $5",
        str(seen.since),
        str(seen.until),
        seen.id,
        account_id,
        limit,
    )
    return [_event(row) for row in rows]


def _event(row: Any) -> Event:
    return Event(**{**row, "parents": tuple(row["parents"])})


async def too_old(conn: Connection, seen: Position) -> bool:
    """Whether something after the position is older than what is kept, and so may be gone."""
    value: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT 1 FROM events WHERE at < now() - make_interval(hours => $1)"
        " AND xid < pg_snapshot_xmin(pg_current_snapshot())"
        " AND (xid >= $3::text::xid8 OR (xid >= $2::text::xid8 AND id > $4)))",
        KEEP_HOURS,
        str(seen.since),
        str(seen.until),
        seen.id,
    )
    return value


async def purge(conn: Connection, older_than_hours: int = KEEP_HOURS, limit: int = 20_000) -> int:
    """Delete events that old, but for the last of them, by which `too_old` knows; returns how many."""
    result = await conn.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < now() - make_interval(hours => $1)"
        " ORDER BY at LIMIT $2) AND id <> (SELECT id FROM events WHERE at < now() - make_interval(hours => $1)"
        " AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid DESC, id DESC LIMIT 1)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLine:
    """One line of an action's log; `settled` when no line can appear below it any more."""

    id: int
    at: datetime
    line: str
    settled: bool


async def action_lines(conn: Connection, action_id: UUID, after: int, limit: int) -> list[ActionLine]:
    """The last lines with ids above `after`, oldest first.

    Ids are drawn before the commit, so one may appear below another; a transaction ends within the session's
    timeouts of 5 s a statement.
    """
    rows = await conn.fetch(
        "SELECT id, at, line, at < clock_timestamp() - interval '30 seconds' AS settled FROM action_logs"
        " WHERE action_id = $1 AND id > $2 ORDER BY id DESC LIMIT $3",
        action_id,
        after,
        limit,
    )
    return [ActionLine(**row) for row in reversed(rows)]
