"""How services stand: their containers and the nodes that these are on, in one statement (a pass reads no more)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.container import Container
from domain.node import Node
from orchestrator.store import containers, nodes
from orchestrator.store.db import Connection

_QUERY = f"""
    SELECT {", ".join(f"c.{each}" + "::text" * (each in containers.TEXTS) for each in containers.COLUMNS)},
        {", ".join(f"n.{each}" + "::text" * (each in nodes.TEXTS) + f" AS at_{each}" for each in nodes.COLUMNS)}
    FROM containers c JOIN nodes n ON n.id = c.node_id
    WHERE c.service_id = ANY($1) AND c.terminated_at IS NULL ORDER BY c.slot
"""  # noqa: S608 - columns of ours


async def of_services(conn: Connection, service_ids: Sequence[UUID]) -> tuple[list[Container], list[Node]]:
    """The containers of the services that are not yet forgotten, by slot, and their nodes, by name."""
    rows = await conn.fetch(_QUERY, list(service_ids))
    there: dict[UUID, Node] = {}
    for row in rows:
        if row["node_id"] not in there:
            there[row["node_id"]] = nodes.of_row({each: row[f"at_{each}"] for each in nodes.COLUMNS})
    return [containers.of_row(row) for row in rows], sorted(there.values(), key=lambda each: each.name)
