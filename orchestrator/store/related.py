"""Which objects belong together, for the actions of one and its relatives (spec 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from orchestrator.store.db import Connection


async def uris(conn: Connection, account_id: UUID, of: Sequence[str]) -> list[str]:
    """These URIs and those of their relatives: of a container its service and stack, of a service its containers
    and stack, of a stack its services and their containers."""
    rows = await conn.fetch(
        "WITH family AS ("
        " SELECT s.id AS service, s.stack_id AS stack, c.id AS container FROM services s"
        " LEFT JOIN containers c ON c.service_id = s.id WHERE s.account_id = $1)"
        " SELECT DISTINCT r.uri FROM family f CROSS JOIN LATERAL (VALUES"
        " ('container', '/api/v1/container/' || f.container || '/'),"
        " ('service', '/api/v1/service/' || f.service || '/'), ('stack', '/api/v1/stack/' || f.stack || '/'))"
        " AS r(kind, uri)"
        " WHERE r.uri IS NOT NULL AND ('/api/v1/stack/' || f.stack || '/' = ANY($2)"
        " OR '/api/v1/service/' || f.service || '/' = ANY($2)"
        " OR ('/api/v1/container/' || f.container || '/' = ANY($2)))",
        account_id,
        list(of),
    )
    return sorted({*of, *(row["uri"] for row in rows)})
