"""Pauses of the reconciler, of services and of nodes. They are rows, so they outlive every process."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from domain.pause import Pause
from orchestrator.store import wake
from orchestrator.store.db import Connection


def of_row(row: Any) -> Pause | None:
    """The pause in the columns `paused_at` and `paused_by`."""
    return Pause(since=row["paused_at"], by=row["paused_by"]) if row["paused_at"] else None


async def of_all(conn: Connection) -> Pause | None:
    """The pause of the whole reconciler."""
    row = await conn.fetchrow("SELECT paused_at, paused_by FROM installation")
    return of_row(row) if row else None


async def lock_all(conn: Connection) -> Pause | None:
    """The same, with the row locked until the transaction ends."""
    await conn.execute("SELECT 1 FROM installation FOR NO KEY UPDATE")
    return await of_all(conn)


async def set_all(conn: Connection, by: str | None) -> None:
    """Pause everything, or with None let passes be made again."""
    await conn.execute(
        "UPDATE installation SET paused_by = $1,"
        " paused_at = CASE WHEN $1::text IS NULL THEN NULL ELSE clock_timestamp() END",
        by,
    )
    await wake.look(conn)


async def lock_service(conn: Connection, service_id: UUID) -> None:
    """Lock the service's row until the transaction ends, of whatever account it is."""
    await conn.execute("SELECT 1 FROM services WHERE id = $1 FOR NO KEY UPDATE", service_id)


async def set_service(conn: Connection, service_id: UUID, by: str | None) -> None:
    """Pause the service, or with None let passes be made for it again; the caller holds its lock."""
    await conn.execute(
        "UPDATE services SET paused_by = $2,"
        " paused_at = CASE WHEN $2::text IS NULL THEN NULL ELSE clock_timestamp() END WHERE id = $1",
        service_id,
        by,
    )


async def set_node(conn: Connection, node_id: UUID, by: str | None) -> None:
    """Pause the node, or with None tell it again what is wanted; the caller holds its lock.

    With a revision of its own: what its agent is told changes.
    """
    await conn.execute(
        "UPDATE nodes SET paused_by = $2, assignment_revision = assignment_revision + 1,"
        " paused_at = CASE WHEN $2::text IS NULL THEN NULL ELSE clock_timestamp() END WHERE id = $1",
        node_id,
        by,
    )


async def paused_nodes(conn: Connection) -> list[str]:
    """The names of the paused nodes."""
    rows = await conn.fetch(
        "SELECT name FROM nodes WHERE paused_at IS NOT NULL AND terminated_at IS NULL ORDER BY name"
    )
    return [row["name"] for row in rows]
