"""Tags in use: those of the account's services and of the nodes (spec 4.4)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.node import NodeState
from domain.service import ServiceWant
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where

_IN_USE = f"""
    FROM (SELECT jsonb_array_elements_text(spec->'tags') AS name FROM services
          WHERE account_id = $1 AND want <> '{ServiceWant.TERMINATED.value}'
          UNION SELECT unnest(tags) FROM nodes WHERE state <> '{NodeState.TERMINATED.value}') t
"""  # noqa: S608 - constants of the domain
_FILTERS = {"name": "name", "origin": "'user'::text"}


async def page(
    conn: Connection, account_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[str], int]:
    """A page of the tags by name, and how many there are. All of them were given by users."""
    condition, arguments = where(filters, _FILTERS, first=2)
    total = await conn.fetchval(f"SELECT count(*) {_IN_USE} WHERE {condition}", account_id, *arguments)
    rows = await conn.fetch(
        f"SELECT name {_IN_USE} WHERE {condition} ORDER BY name"
        f" LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        account_id,
        *arguments,
        limit,
        offset,
    )
    return [row["name"] for row in rows], total
