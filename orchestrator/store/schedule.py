"""Which service is due for a pass, and when the next one is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.service import Service
from orchestrator.store import services
from orchestrator.store.db import Connection

_SOONEST = """
    SELECT extract(epoch FROM least((SELECT min(look_at) FROM services WHERE look_at IS NOT NULL AND paused_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM installation WHERE paused_at IS NOT NULL)),
        (SELECT min(at) FROM wakes)) - clock_timestamp())::float8
"""
_TAKE = f"""
    SELECT due.*, CASE WHEN due.id IS NULL THEN ({_SOONEST}) END AS soonest FROM (SELECT) one LEFT JOIN (
        SELECT {services.COLUMNS}, clock_timestamp() AS at {services.FROM}
        WHERE s.look_at <= clock_timestamp() AND s.paused_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM installation WHERE paused_at IS NOT NULL)
        ORDER BY s.look_at LIMIT 1 FOR NO KEY UPDATE OF s SKIP LOCKED
    ) due ON true
"""  # noqa: S608 - our own columns
# By arrays, so that it goes by the key of the services however few of them there are in `wakes`. What it locked is
# written by its place (`nodes.hold` says why): a row that changed since the statement began is left, with its wakes.
_GATHER = """
    WITH left_ AS MATERIALIZED (SELECT service_id, min(at) AS at FROM wakes GROUP BY service_id),
        free AS MATERIALIZED (SELECT ctid FROM services WHERE id = ANY(ARRAY(SELECT service_id FROM left_))
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED),
        there AS MATERIALIZED (SELECT id FROM services WHERE id = ANY(ARRAY(SELECT service_id FROM left_))),
        moved AS (UPDATE services s SET look_at = least(s.look_at, l.at) FROM left_ l
            WHERE s.ctid = ANY(ARRAY(SELECT ctid FROM free)) AND l.service_id = s.id RETURNING s.id),
        taken AS (DELETE FROM wakes WHERE service_id = ANY(ARRAY(SELECT id FROM moved))
            OR service_id <> ALL(ARRAY(SELECT id FROM there)))
    SELECT count(*) FROM moved
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A service that is due, and locked by its transaction; `at`: when it was taken."""

    id: UUID
    at: datetime
    row: Any

    def read(self) -> Service:
        """The service. Raises an error of its own for one that is stored as nobody can read it."""
        return services.of_row(self.row)


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is due that nobody else has; the next is in `seconds`, as `soonest` says."""

    seconds: float | None


async def take(conn: Connection) -> Due | Idle:
    """Lock the service that is due longest and return it; other workers skip it meanwhile.

    What is paused is never due (decision 14).
    """
    row = await conn.fetchrow(_TAKE)
    assert row is not None  # noqa: S101 - an outer join with one row
    return Due(row["id"], row["at"], row) if row["id"] is not None else Idle(row["soonest"])


async def gather(conn: Connection) -> int:
    """Put the services in the queue that wakes were left for; returns how many.

    One whose lock somebody holds keeps its wakes for later: a pass may be at it that has not seen why they were left.
    Those of services that were purged meanwhile go.
    """
    value: int = await conn.fetchval(_GATHER)
    return value


async def soonest(conn: Connection) -> float | None:
    """Seconds until the next service is due, or None when none is, or all are paused. Wakes that were left are due."""
    value: float | None = await conn.fetchval(_SOONEST)
    return value


async def postpone(conn: Connection, service_id: UUID, seconds: float) -> None:
    """Look at the service again after that time."""
    await conn.execute(
        "UPDATE services SET look_at = clock_timestamp() + make_interval(secs => $2) WHERE id = $1",
        service_id,
        seconds,
    )


async def waits_since(conn: Connection, service_id: UUID) -> datetime | None:
    """Since when the service waits for something; None when it does not."""
    value: datetime | None = await conn.fetchval("SELECT waits_since FROM services WHERE id = $1", service_id)
    return value
