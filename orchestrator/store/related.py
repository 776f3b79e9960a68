"""Which objects belong together, for the actions of one and its relatives (spec 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from orchestrator.store.db import Connection

_FAMILY = """
    WITH whole AS (SELECT id, stack_id FROM services WHERE account_id = $1 AND (stack_id = ANY($2) OR id = ANY($3))),
    part AS (SELECT s.id, s.stack_id FROM containers c JOIN services s ON s.id = c.service_id
        WHERE c.id = ANY($4) AND s.account_id = $1)
    SELECT 'container' AS kind, c.id FROM containers c JOIN whole w ON w.id = c.service_id
    UNION SELECT 'service', id FROM whole UNION SELECT 'service', id FROM part
    UNION SELECT 'stack', stack_id FROM whole WHERE stack_id IS NOT NULL
    UNION SELECT 'stack', stack_id FROM part WHERE stack_id IS NOT NULL
"""


async def uris(conn: Connection, account_id: UUID, of: Sequence[str]) -> list[str]:
    """These URIs and those of their relatives: of a container its service and stack, of a service its containers
    and stack, of a stack its services and their containers. Costs what the family is large."""
    given: dict[str, list[UUID]] = {"stack": [], "service": [], "container": []}
    for uri in of:
        kind, _, ident = uri.strip("/").removeprefix("api/v1/").partition("/")
        if kind in given:
            # A text that is no URI of an object is one of nothing.
            with suppress(ValueError):
                given[kind].append(UUID(ident))
    rows = await conn.fetch(_FAMILY, account_id, given["stack"], given["service"], given["container"])
    return sorted({*of, *(f"/api/v1/{row['kind']}/{row['id']}/" for row in rows)})
