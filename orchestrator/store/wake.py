"""The only place that sends NOTIFY. A notification means "look"; the rows say what there is to do."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from domain.service import Verb
from orchestrator.store.db import Connection

SERVICE = "tutela_service"
NODE = "tutela_node"
REVOKED = "tutela_revoked"
STREAM = "tutela_stream"
EVENT = "tutela_event"
"""Sent by the triggers of the tables (0002_resources.sql)."""


async def service(conn: Connection, service_id: UUID) -> None:
    """Make the workers look at the service once this transaction commits; the caller holds its lock."""
    await conn.execute(
        "WITH due AS (UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id = $1)"
        " SELECT pg_notify('tutela_service', '')",
        service_id,
    )


async def services(conn: Connection, service_ids: Iterable[UUID]) -> None:
    """Make the workers look at all of them; the caller holds their locks or takes them here in id order."""
    ids = sorted(set(service_ids))
    if not ids:
        return
    await conn.execute("SELECT 1 FROM services WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", ids)
    await conn.execute(
        "WITH due AS (UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id = ANY($1))"
        " SELECT pg_notify('tutela_service', '')",
        ids,
    )


async def leave(conn: Connection, service_ids: Iterable[UUID]) -> None:
    """Make the workers look at the services, whoever has locked them: this waits for nobody (decision 24).

    A pass that is at one of them now may have read what was there before; another pass follows it.
    """
    ids = sorted(set(service_ids))
    if not ids:
        return
    await conn.execute("INSERT INTO wakes (service_id) SELECT unnest($1::uuid[])", ids)
    await look(conn)


LARGE, LONGEST = 20, 100
"""Containers of a service from which on their reports are gathered for it, a millisecond for each; and the most."""


async def seen(conn: Connection, service_ids: Iterable[UUID]) -> None:
    """As `leave`, where containers are seen otherwise than before: a large service is looked at a moment later.

    A pass reads all its containers, and when they start on a hundred hosts each of these says so by itself. Not in a
    redeployment: that is one container after the other, and each would be a moment later.
    """
    ids = sorted(set(service_ids))
    if not ids:
        return
    await conn.execute(
        "INSERT INTO wakes (service_id, at) SELECT id, clock_timestamp() + CASE WHEN target < $2"
        " OR operation->>'verb' = $4 THEN interval '0' ELSE least(target, $3) * interval '1 millisecond' END"
        " FROM services WHERE id = ANY($1)",
        ids,
        LARGE,
        LONGEST,
        Verb.REDEPLOY.value,
    )
    await look(conn)


async def clients(conn: Connection, service_id: UUID) -> None:
    """Make the workers look at the services that are linked to this one; waits for nobody."""
    await conn.execute(
        "WITH due AS (INSERT INTO wakes (service_id) SELECT from_service FROM links WHERE to_service = $1)"
        " SELECT pg_notify('tutela_service', '')",
        service_id,
    )


async def services_on(conn: Connection, *node_ids: UUID) -> None:
    """Make the workers look at the services with live containers on any of the nodes; waits for nobody."""
    await conn.execute(
        "INSERT INTO wakes (service_id) SELECT DISTINCT service_id FROM containers"
        " WHERE node_id = ANY($1) AND terminated_at IS NULL",
        node_ids,
    )
    await look(conn)


async def waiting_services(conn: Connection) -> None:
    """Make the workers look at every service that waits for something or is for every node: a node changed.

    Waits for nobody.
    """
    await conn.execute(
        "INSERT INTO wakes (service_id) SELECT id FROM services WHERE waits_for IS NOT NULL"
        " UNION SELECT id FROM services WHERE spec->>'deployment_strategy' = 'EVERY_NODE' AND want = 'RUNNING'"
    )
    await look(conn)


async def look(conn: Connection) -> None:
    """Make the workers see what is due; for a change that is not of one service."""
    await conn.execute("SELECT pg_notify('tutela_service', '')")


async def every_service(conn: Connection) -> None:
    """Make the workers look at every service there is; waits for nobody."""
    await conn.execute("INSERT INTO wakes (service_id) SELECT id FROM services WHERE destroyed_at IS NULL")
    await look(conn)


async def node(conn: Connection, node_id: UUID) -> None:
    """Tell whoever serves the node's agent that there is something new for it."""
    await nodes(conn, [node_id])


async def nodes(conn: Connection, node_ids: Iterable[UUID]) -> None:
    """Tell whoever serves these nodes' agents that there is something new for each."""
    payloads = [str(each) for each in node_ids]
    if payloads:
        await conn.execute("SELECT pg_notify('tutela_node', each) FROM unnest($1::text[]) AS each", payloads)


async def revoked(conn: Connection, node_id: UUID) -> None:
    """Tell whoever serves the node's agent that it was taken out."""
    await conn.execute("SELECT pg_notify('tutela_revoked', $1)", str(node_id))


async def stream(conn: Connection, node_id: UUID, ticket: str, asker: UUID) -> None:
    """Tell whoever serves the node's agent that the control plane `asker` waits for a stream from it."""
    await conn.execute("SELECT pg_notify('tutela_stream', $1)", f"{node_id} {ticket} {asker}")
