"""The only place that sends NOTIFY. A notification means "look"; the rows say what there is to do."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from orchestrator.store.db import Connection

SERVICE = "tutela_service"
NODE = "tutela_node"
REVOKED = "tutela_revoked"
STREAM = "tutela_stream"
EVENT = "tutela_event"
"""Sent by the triggers of the tables (0002_resources.sql)."""


async def service(conn: Connection, service_id: UUID) -> None:
    """Make the reconciler look at the service once this transaction commits."""
    await conn.execute("UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id = $1", service_id)
    await conn.execute("SELECT pg_notify('tutela_service', '')")


async def services(conn: Connection, service_ids: Iterable[UUID]) -> None:
    """Make the reconciler look at all of them; the caller holds their locks or takes them here in id order."""
    ids = sorted(set(service_ids))
    if not ids:
        return
    await conn.execute(
        "UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id IN "
        "(SELECT id FROM services WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE)",
        ids,
    )
    await conn.execute("SELECT pg_notify('tutela_service', '')")


async def services_of_report(
    conn: Connection, node_id: UUID, container_ids: Iterable[UUID], request_ids: Iterable[UUID]
) -> None:
    """Make the reconciler look at the services that a report speaks of, and lock them in id order, as passes do.

    `request_ids`: the images that the node answers.
    """
    await conn.execute(
        "UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id IN (SELECT id FROM services"
        " WHERE id IN (SELECT service_id FROM containers WHERE id = ANY($2)"
        " UNION SELECT service_id FROM image_requests WHERE node_id = $1 AND id = ANY($3))"
        " ORDER BY id FOR NO KEY UPDATE)",
        node_id,
        list(container_ids),
        list(request_ids),
    )
    await conn.execute("SELECT pg_notify('tutela_service', '')")


async def waiting_services(conn: Connection) -> None:
    """Make the reconciler look at every service that waits for something or is for every node: a node changed."""
    await conn.execute(
        "UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id IN "
        "(SELECT id FROM services WHERE waits_for IS NOT NULL ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)"
    )
    await conn.execute(
        "UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id IN "
        "(SELECT id FROM services WHERE spec->>'deployment_strategy' = 'EVERY_NODE' AND want = 'RUNNING'"
        " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)"
    )
    await conn.execute("SELECT pg_notify('tutela_service', '')")


async def look(conn: Connection) -> None:
    """Make the workers see what is due; for a change that is not of one service."""
    await conn.execute("SELECT pg_notify('tutela_service', '')")


async def every_service(conn: Connection) -> None:
    """Make the reconciler look at every service there is; what is being looked at now is left out."""
    await conn.execute(
        "UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id IN"
        " (SELECT id FROM services WHERE destroyed_at IS NULL ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)"
    )
    await look(conn)


async def node(conn: Connection, node_id: UUID) -> None:
    """Tell whoever serves the node's agent that there is something new for it."""
    await conn.execute("SELECT pg_notify('tutela_node', $1)", str(node_id))


async def revoked(conn: Connection, node_id: UUID) -> None:
    """Tell whoever serves the node's agent that it was taken out."""
    await conn.execute("SELECT pg_notify('tutela_revoked', $1)", str(node_id))


async def stream(conn: Connection, node_id: UUID, ticket: str, asker: UUID) -> None:
    """Tell whoever serves the node's agent that the control plane `asker` waits for a stream from it."""
    await conn.execute("SELECT pg_notify('tutela_stream', $1)", f"{node_id} {ticket} {asker}")
