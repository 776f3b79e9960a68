"""How services hang together: links, stacks, shared volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.service import Service
from domain.spec import Strategy
from orchestrator.store.db import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedTo:
    """The target of a link."""

    unique_name: str
    subnet: str
    target: int
    strategy: Strategy


async def link_targets(conn: Connection, of: Sequence[Service]) -> Mapping[UUID, LinkedTo]:
    """What clients need to know of each service that these are linked to."""
    ids = sorted({link.to_service for service in of for link in service.spec.links})
    if not ids:
        return {}
    rows = await conn.fetch(
        "SELECT id, unique_name, subnet, target, spec->>'deployment_strategy' AS strategy FROM services"
        " WHERE id = ANY($1) AND want <> 'TERMINATED'",
        ids,
    )
    return {
        row["id"]: LinkedTo(
            unique_name=row["unique_name"],
            subnet=row["subnet"],
            target=row["target"],
            strategy=Strategy(row["strategy"] or Strategy.EMPTIEST_NODE),
        )
        for row in rows
    }


async def under_way(conn: Connection, ids: Sequence[UUID]) -> list[str]:
    """The names of those of the services that have an operation under way."""
    rows = await conn.fetch(
        "SELECT unique_name FROM services WHERE id = ANY($1) AND operation IS NOT NULL ORDER BY unique_name", list(ids)
    )
    return [row["unique_name"] for row in rows]


async def wake_followers(conn: Connection, service: Service) -> None:
    """Look at the services of the stack whose operations waited for this one's; a locked one looks by itself."""
    if service.stack_id is None:
        return
    await conn.execute(
        "UPDATE services SET look_at = least(look_at, clock_timestamp()) WHERE id IN (SELECT id FROM services"
        " WHERE stack_id = $1 AND id <> $2 AND operation IS NOT NULL ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)",
        service.stack_id,
        service.id,
    )
    await conn.execute("SELECT pg_notify('tutela_service', '')")


async def volume_users(conn: Connection, service_id: UUID) -> list[str]:
    """The names of live services that mount this service's volumes."""
    rows = await conn.fetch(
        "SELECT unique_name FROM services WHERE want <> 'TERMINATED' AND id <> $1"
        " AND spec->'bindings' @> jsonb_build_array(jsonb_build_object('volumes_from', $1::text)) ORDER BY 1",
        str(service_id),
    )
    return [row["unique_name"] for row in rows]
