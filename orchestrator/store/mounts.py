"""Managed volumes: one group a mount path of a service, one volume a slot in it (spec 2.9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from domain.service import Service
from orchestrator.ids import new_id
from orchestrator.store.db import Connection

PREFIX = "tutela-"


def engine_name(volume_id: UUID) -> str:
    """What the engine calls the volume."""
    return f"{PREFIX}{volume_id}"


async def pinned(conn: Connection, service_id: UUID) -> Mapping[int, UUID]:
    """The node that the volumes of a slot are on, by slot."""
    rows = await conn.fetch(
        "SELECT DISTINCT v.slot, v.node_id FROM volumes v JOIN volume_groups g ON g.id = v.group_id"
        " WHERE g.service_id = $1 AND v.terminated_at IS NULL",
        service_id,
    )
    return {row["slot"]: row["node_id"] for row in rows}


async def holders(conn: Connection, service_ids: Sequence[UUID]) -> dict[str, dict[int, UUID]]:
    """For services whose volumes others mount, by their names: the node of each slot's container."""
    rows = await conn.fetch(
        "SELECT s.unique_name AS name, c.slot, c.node_id FROM services s LEFT JOIN containers c ON c.service_id = s.id"
        " AND c.terminated_at IS NULL AND NOT c.leaving WHERE s.id = ANY($1)"
        " ORDER BY s.unique_name, c.want = 'GONE' DESC, c.slot",
        list(service_ids),
    )
    out: dict[str, dict[int, UUID]] = {row["name"]: {} for row in rows}
    for row in rows:
        if row["slot"] is not None:
            out[row["name"]][row["slot"]] = row["node_id"]
    return out


async def of_slot(conn: Connection, service: Service, slot: int, node_id: UUID, paths: Sequence[str]) -> dict[str, str]:
    """The engine's volume names by mount path; what the slot has no volume for gets one on the node."""
    out = {}
    for path in paths:
        group: UUID = await conn.fetchval(
            "INSERT INTO volume_groups (id, account_id, service_id, name, path) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (service_id, path) DO UPDATE SET terminated_at = NULL RETURNING id",
            new_id(),
            service.account_id,
            service.id,
            f"{service.unique_name}_{path.strip('/').replace('/', '_')}",
            path,
        )
        volume = await conn.fetchval(
            "SELECT id FROM volumes WHERE group_id = $1 AND slot = $2 AND terminated_at IS NULL", group, slot
        )
        if volume is None:
            volume = new_id()
            await conn.execute(
                "INSERT INTO volumes (id, account_id, group_id, node_id, slot) VALUES ($1, $2, $3, $4, $5)",
                volume,
                service.account_id,
                group,
                node_id,
                slot,
            )
        out[path] = engine_name(volume)
    return out


async def names_of(conn: Connection, service_id: UUID, slot: int) -> tuple[str, ...]:
    """The engine's names of the slot's volumes."""
    rows = await conn.fetch(
        "SELECT v.id FROM volumes v JOIN volume_groups g ON g.id = v.group_id"
        " WHERE g.service_id = $1 AND v.slot = $2 AND v.terminated_at IS NULL ORDER BY v.id",
        service_id,
        slot,
    )
    return tuple(engine_name(row["id"]) for row in rows)


async def terminate(conn: Connection, names: Sequence[str]) -> None:
    """The volumes of that name go with their container."""
    if names:
        await conn.execute(
            "UPDATE volumes SET terminated_at = clock_timestamp() WHERE id = ANY($1) AND terminated_at IS NULL",
            [UUID(name.removeprefix(PREFIX)) for name in names],
        )


async def close(conn: Connection, service_id: UUID) -> None:
    """The service is terminated: so are its groups and what is left in them."""
    await conn.execute(
        "UPDATE volumes SET terminated_at = clock_timestamp() WHERE terminated_at IS NULL AND group_id IN"
        " (SELECT id FROM volume_groups WHERE service_id = $1)",
        service_id,
    )
    await conn.execute("UPDATE volume_groups SET terminated_at = clock_timestamp() WHERE service_id = $1", service_id)


async def purge_terminated(conn: Connection, older_than_hours: int, limit: int = 500) -> int:
    """Delete volumes that were terminated that long ago, whatever becomes of their service; returns how many."""
    result = await conn.execute(
        "DELETE FROM volumes WHERE id IN (SELECT id FROM volumes"
        " WHERE terminated_at < now() - make_interval(hours => $1) LIMIT $2)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
