"""What hosts keep a copy of, for a rebuild: the definitions of what runs there, as rows, and the host's own row.

Nothing is told to a host that it does not have anyway: environments are those of its own containers (S26). Passwords,
keys, and triggers are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.assignment import Copy
from orchestrator.store.db import Connection

MOST = 200
"""Copies for one node in one answer; the rest follows with the next."""

Due = tuple[UUID, UUID, int]
"""A node, what it keeps a copy of, and the version that it is due for; 0: it has it."""

# What is of a service is the same for all hosts, and read once; what is of a host is told to that host only (S26).
_READ = """
    SELECT NULL::uuid AS node_id, s.id AS of, jsonb_build_object(
        'accounts', jsonb_build_array(jsonb_build_object('id', a.id, 'username', a.username, 'role', a.role,
            'created_at', a.created_at)),
        'stacks', CASE WHEN k.id IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(to_jsonb(k)) END,
        'services', jsonb_build_array(to_jsonb(s) - '{operation,queued}'::text[]),
        'volume_groups', (SELECT coalesce(jsonb_agg(to_jsonb(g)), '[]') FROM volume_groups g
            WHERE g.service_id = s.id AND g.terminated_at IS NULL),
        'volumes', '[]'::jsonb, 'containers', '[]'::jsonb) AS rows
    FROM services s JOIN accounts a ON a.id = s.account_id LEFT JOIN stacks k ON k.id = s.stack_id
    WHERE s.id = ANY($2)
    UNION ALL SELECT v.node_id, g.service_id, jsonb_build_object('volumes', jsonb_agg(to_jsonb(v)))
    FROM volume_groups g JOIN volumes v ON v.group_id = g.id
    WHERE g.service_id = ANY($2) AND v.node_id = ANY($1) AND v.terminated_at IS NULL GROUP BY v.node_id, g.service_id
    UNION ALL SELECT c.node_id, c.service_id, jsonb_build_object('containers', jsonb_agg(jsonb_build_object(
        'id', c.id, 'slot', c.slot, 'made_from', c.made_from, 'deploy_gen', c.deploy_gen, 'created_at', c.created_at,
        'leaving', c.leaving)))
    FROM containers c WHERE c.node_id = ANY($1) AND c.service_id = ANY($2) AND c.terminated_at IS NULL
    GROUP BY c.node_id, c.service_id
    UNION ALL SELECT n.id, n.id, jsonb_build_object('nodes', jsonb_build_array(jsonb_build_object('id', n.id,
        'name', n.name, 'tags', n.tags, 'nickname', n.nickname, 'public_ip', n.public_ip, 'cordoned', n.cordoned,
        'accepted', n.accepted, 'credential_key', n.credential_key, 'joined_with', n.joined_with,
        'credential_expires', n.credential_expires, 'created_at', n.created_at)))
    FROM nodes n WHERE n.id = ANY($2)
"""


async def due(conn: Connection, node_ids: Sequence[UUID]) -> list[Due]:
    """What the nodes were not told the newest of."""
    rows = await conn.fetch(
        "SELECT d.node_id, d.of, d.version FROM unnest($1::uuid[]) AS h(id) CROSS JOIN LATERAL"
        " (SELECT * FROM copies_due WHERE node_id = h.id ORDER BY version LIMIT $2) d ORDER BY d.version",
        list(node_ids),
        MOST,
    )
    return [(row["node_id"], row["of"], row["version"]) for row in rows]


async def everything(conn: Connection, node_ids: Sequence[UUID]) -> list[Due]:
    """All that the nodes keep copies of; what is due of it in that version, 0 when nothing is."""
    rows = await conn.fetch(
        "SELECT w.node_id, w.of, coalesce(d.version, 0) AS version FROM (SELECT DISTINCT node_id, service_id AS of"
        " FROM containers WHERE node_id = ANY($1) AND terminated_at IS NULL"
        " UNION SELECT id, id FROM unnest($1::uuid[]) AS h(id)) w"
        " LEFT JOIN copies_due d ON d.node_id = w.node_id AND d.of = w.of ORDER BY w.of",
        list(node_ids),
    )
    return [(row["node_id"], row["of"], row["version"]) for row in rows]


async def told(conn: Connection, had: Sequence[Due]) -> None:
    """The nodes have these now. One that changes at the moment stays due."""
    await conn.execute(
        "DELETE FROM copies_due WHERE ctid = ANY(ARRAY(SELECT c.ctid FROM copies_due c"
        " JOIN unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS h(node_id, of, version)"
        " ON h.node_id = c.node_id AND h.of = c.of AND h.version = c.version"
        " WHERE c.node_id = ANY($1) FOR UPDATE OF c SKIP LOCKED))",
        [node_id for node_id, _, _ in had],
        [of for _, of, _ in had],
        [version for _, _, version in had],
    )


async def read(conn: Connection, which: Sequence[Due]) -> dict[UUID, list[Copy]]:
    """The copies of each node as they are now; what is gone by now is left out."""
    found = await conn.fetch(_READ, list({node_id for node_id, _, _ in which}), list({of for _, of, _ in which}))
    general = {row["of"]: row["rows"] for row in found if row["node_id"] is None}
    own: dict[tuple[UUID, UUID], dict[str, Any]] = {}
    for row in found:
        if row["node_id"] is not None:
            own.setdefault((row["node_id"], row["of"]), {}).update(row["rows"])
    out: dict[UUID, list[Copy]] = {}
    for node_id, of, version in which:
        if of in general or (of == node_id and (node_id, of) in own):
            rows = {**general.get(of, {}), **own.get((node_id, of), {})}
            out.setdefault(node_id, []).append(Copy(of=of, version=version, rows=rows))
    return out
