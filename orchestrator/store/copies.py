"""What hosts keep a copy of, for a rebuild: the definitions of what runs there, as rows, and the host's own row.

Nothing is told to a host that it does not have anyway: environments are those of its own containers (S26). Passwords,
keys, and triggers are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.assignment import Copy
from orchestrator.store.db import Connection

MOST = 200
"""Copies in one answer; the rest follows with the next."""


async def due(conn: Connection, node_id: UUID) -> list[tuple[UUID, int]]:
    """What the node was not told the newest of, with the version that it is due for."""
    rows = await conn.fetch("SELECT of, version FROM copies_due WHERE node_id = $1 ORDER BY version LIMIT $2",
                            node_id, MOST)  # fmt: skip
    return [(row["of"], row["version"]) for row in rows]


async def everything(conn: Connection, node_id: UUID) -> list[tuple[UUID, int]]:
    """All that the node keeps copies of; what is due of it in that version, 0 when nothing is."""
    rows = await conn.fetch(
        "SELECT w.of, coalesce(d.version, 0) AS version FROM (SELECT DISTINCT service_id AS of FROM containers"
        " WHERE node_id = $1 AND terminated_at IS NULL UNION SELECT $1) w"
        " LEFT JOIN copies_due d ON d.node_id = $1 AND d.of = w.of ORDER BY w.of",
        node_id,
    )
    return [(row["of"], row["version"]) for row in rows]


async def told(conn: Connection, node_id: UUID, had: Sequence[tuple[UUID, int]]) -> None:
    """The node has these now. One that changes at the moment stays due."""
    await conn.execute(
        "DELETE FROM copies_due WHERE node_id = $1 AND of IN (SELECT c.of FROM copies_due c"
        " JOIN unnest($2::uuid[], $3::bigint[]) AS h(of, version) ON h.of = c.of AND h.version = c.version"
        " WHERE c.node_id = $1 FOR UPDATE OF c SKIP LOCKED)",
        node_id,
        [of for of, _ in had],
        [version for _, version in had],
    )


async def read(conn: Connection, node_id: UUID, which: Sequence[tuple[UUID, int]]) -> list[Copy]:
    """The copies as they are now."""
    versions, ids = dict(which), [of for of, _ in which]
    rows = await conn.fetch(
        "SELECT s.id AS of, jsonb_build_object("
        " 'accounts', jsonb_build_array(jsonb_build_object('id', a.id, 'username', a.username, 'role', a.role,"
        "   'created_at', a.created_at)),"
        " 'stacks', CASE WHEN k.id IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(to_jsonb(k)) END,"
        " 'services', jsonb_build_array(to_jsonb(s) - '{operation,queued}'::text[]),"
        " 'volume_groups', (SELECT coalesce(jsonb_agg(to_jsonb(g)), '[]') FROM volume_groups g"
        "   WHERE g.service_id = s.id AND g.terminated_at IS NULL),"
        " 'volumes', (SELECT coalesce(jsonb_agg(to_jsonb(v)), '[]') FROM volumes v JOIN volume_groups g"
        "   ON g.id = v.group_id WHERE g.service_id = s.id AND v.node_id = $1 AND v.terminated_at IS NULL),"
        " 'containers', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', c.id, 'slot', c.slot, 'made_from',"
        "   c.made_from, 'deploy_gen', c.deploy_gen, 'created_at', c.created_at, 'leaving', c.leaving)), '[]')"
        "   FROM containers c WHERE c.service_id = s.id AND c.node_id = $1 AND c.terminated_at IS NULL)) AS rows"
        " FROM services s JOIN accounts a ON a.id = s.account_id LEFT JOIN stacks k ON k.id = s.stack_id"
        " WHERE s.id = ANY($2)"
        " UNION ALL SELECT n.id, jsonb_build_object('nodes', jsonb_build_array(jsonb_build_object('id', n.id,"
        "   'name', n.name, 'tags', n.tags, 'nickname', n.nickname, 'public_ip', n.public_ip, 'cordoned', n.cordoned,"
        "   'accepted', n.accepted, 'credential_key', n.credential_key, 'joined_with', n.joined_with,"
        "   'credential_expires', n.credential_expires, 'created_at', n.created_at)))"
        " FROM nodes n WHERE n.id = $1 AND n.id = ANY($2)",
        node_id,
        ids,
    )
    return [Copy(of=row["of"], version=versions[row["of"]], rows=row["rows"]) for row in rows]
