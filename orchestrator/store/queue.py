"""The reconciler's queue as an operator sees it: over all accounts, by the indexes of what is due, waits or is paused.

The queue itself is a column of the services (decision 2); nothing here changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import NotFound
from domain.pause import Pause
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where
from orchestrator.store.pauses import of_row

_COLUMNS = """
    s.id, s.unique_name, a.username, s.state, s.look_at, s.waits_for, s.waits_since, s.paused_at, s.paused_by,
    s.look_at <= clock_timestamp() AS due,
    greatest(extract(epoch FROM clock_timestamp() - s.look_at), 0)::float8 AS age
"""
_FROM = "FROM services s JOIN accounts a ON a.id = s.account_id"
_IN_QUEUE = """
    s.id IN (SELECT id FROM services WHERE look_at <= clock_timestamp() AND paused_at IS NULL
             UNION SELECT id FROM services WHERE waits_for IS NOT NULL
             UNION SELECT id FROM services WHERE paused_at IS NOT NULL)
"""
_FILTERS = {
    "uuid": "s.id",
    "name": "s.unique_name",
    "user": "a.username",
    "due": "coalesce(s.look_at <= clock_timestamp(), false)",
    "blocked": "(s.waits_for IS NOT NULL)",
    "paused": "(s.paused_at IS NOT NULL)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A service in the queue: `due` for a pass since `age` seconds, and what its next step waits for, since when."""

    service_id: UUID
    name: str
    username: str
    state: str
    look_at: datetime | None
    due: bool
    age: float
    waits_for: str | None
    waits_since: datetime | None
    pause: Pause | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The queue in figures. `due` services wait for a pass, the oldest since `age` seconds; `blocked` for the world."""

    due: int
    age: float
    blocked: int
    paused: int


def _waiting(row: Any) -> Waiting:
    return Waiting(
        service_id=row["id"],
        name=row["unique_name"],
        username=row["username"],
        state=row["state"],
        look_at=row["look_at"],
        due=bool(row["due"]),
        age=row["age"] if row["due"] else 0.0,
        waits_for=row["waits_for"],
        waits_since=row["waits_since"],
        pause=of_row(row),
    )


async def summary(conn: Connection) -> Summary:
    """The figures, from the indexes; wakes that no worker has put in the queue yet are due."""
    row = await conn.fetchrow(
        "SELECT d.due, d.age, (SELECT count(*) FROM services WHERE waits_for IS NOT NULL) AS blocked,"
        " (SELECT count(*) FROM services WHERE paused_at IS NOT NULL) AS paused FROM (SELECT count(DISTINCT id) AS due,"
        " coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8 AS age FROM"
        " (SELECT id, look_at AS at FROM services WHERE look_at <= clock_timestamp() AND paused_at IS NULL"
        " UNION ALL SELECT service_id, at FROM wakes) AS q) AS d"
    )
    assert row is not None  # noqa: S101 - one row always
    return Summary(**row)


async def page(conn: Connection, filters: Sequence[Filter], limit: int, offset: int) -> tuple[list[Waiting], int]:
    """What is due, blocked or paused, the longest due first, and how many there are."""
    condition, arguments = where(filters, _FILTERS, first=1)
    base = f"{_FROM} WHERE {_IN_QUEUE} AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", *arguments)
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY s.look_at NULLS LAST, s.id"
        f" LIMIT ${len(arguments) + 1} OFFSET ${len(arguments) + 2}",
        *arguments,
        limit,
        offset,
    )
    return [_waiting(row) for row in rows], total


async def get(conn: Connection, service_id: UUID) -> Waiting:
    """One service, whether it is in the queue or not. Raises NotFound."""
    row = await conn.fetchrow(f"SELECT {_COLUMNS} {_FROM} WHERE s.id = $1", service_id)
    if row is None:
        raise NotFound(f"there is no service {service_id}")
    return _waiting(row)
