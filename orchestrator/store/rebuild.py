"""Rows of a record that is made anew from what hosts keep (decision 21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from domain.assignment import Position
from domain.container import Container, Want
from domain.node import NodeState
from orchestrator.store import containers
from orchestrator.store.db import Connection

Row = Mapping[str, Any]


async def under_way(conn: Connection) -> bool:
    """Whether the record is being made anew from what hosts keep."""
    return bool(await conn.fetchval("SELECT rebuilding FROM installation"))


async def known(conn: Connection, node_id: UUID) -> bool:
    """Whether there is such a node."""
    return bool(await conn.fetchval("SELECT 1 FROM nodes WHERE id = $1", node_id))


async def node(conn: Connection, row: Row, seen: Position | None, *, whole: bool) -> None:
    """The host's own row. What its agent was told last counts as contained in this record if the `whole` is."""
    await conn.execute(
        "INSERT INTO nodes (id, name, state, tags, nickname, public_ip, cordoned, accepted, credential_key,"
        " joined_with, credential_expires, created_at, assignment_revision, restored_revision)"
        " SELECT id, name, $2, coalesce(tags, '{}'), nickname, coalesce(public_ip, ''), coalesce(cordoned, false),"
        " coalesce(accepted, ''), credential_key, joined_with, credential_expires, coalesce(created_at, now()),"
        " greatest($3::bigint, 1), $4 FROM jsonb_populate_record(NULL::nodes, $1)",
        dict(row),
        NodeState.DEPLOYING.value,
        seen.revision if seen else 0,
        seen.revision if seen and whole else -1,
    )
    if seen is not None:
        await conn.execute(
            "UPDATE installation SET restored_from = $1, restored_at = coalesce(restored_at, now())"
            " WHERE restored_from IS NULL",
            seen.lineage,
        )


async def service(conn: Connection, rows: Mapping[str, Sequence[Row]]) -> None:
    """A service with its owner, stack and volumes. Of several copies the newest counts; volumes are the host's own."""
    (owner,), (found,) = rows["accounts"], rows["services"]
    username = str(owner["username"])
    await conn.execute(
        "INSERT INTO accounts (id, username, role, created_at) SELECT id, username, role, created_at"
        " FROM jsonb_populate_record(NULL::accounts, $1) r WHERE NOT EXISTS (SELECT 1 FROM accounts a"
        " WHERE a.username = r.username AND a.deleted_at IS NULL) ON CONFLICT DO NOTHING",
        dict(owner),
    )
    for each in rows.get("stacks", ()):
        await conn.execute(
            "INSERT INTO stacks (id, account_id, name, nickname, created_at, deployed_at)"
            " SELECT r.id, a.id, r.name, r.nickname, r.created_at, r.deployed_at"
            " FROM jsonb_populate_record(NULL::stacks, $1) r JOIN accounts a ON a.username = $2"
            " AND a.deleted_at IS NULL ON CONFLICT DO NOTHING",
            dict(each),
            username,
        )
    await conn.execute(
        "INSERT INTO services (id, account_id, name, unique_name, image_name, state, target, want, spec, deploy_gen,"
        " start_gen, image, subnet, created_at, deployed_at, started_at, stopped_at, stack_id, copy_version)"
        " SELECT r.id, a.id, r.name, r.unique_name, r.image_name, r.state, r.target, r.want, r.spec, r.deploy_gen,"
        " r.start_gen, r.image, r.subnet, r.created_at, r.deployed_at, r.started_at, r.stopped_at, r.stack_id,"
        " r.copy_version FROM jsonb_populate_record(NULL::services, $1) r JOIN accounts a ON a.username = $2"
        " AND a.deleted_at IS NULL"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, image_name = excluded.image_name,"
        " target = excluded.target, want = excluded.want, spec = excluded.spec, deploy_gen = excluded.deploy_gen,"
        " start_gen = excluded.start_gen, image = excluded.image, deployed_at = excluded.deployed_at,"
        " started_at = excluded.started_at, stopped_at = excluded.stopped_at, copy_version = excluded.copy_version"
        " WHERE services.copy_version < excluded.copy_version",
        dict(found),
        username,
    )
    await conn.execute(
        "SELECT setval('copy_version', greatest((SELECT last_value FROM copy_version), $1))", found["copy_version"]
    )
    for each in rows.get("volume_groups", ()):
        await conn.execute(
            "INSERT INTO volume_groups (id, account_id, service_id, name, path, created_at) SELECT r.id, a.id,"
            " r.service_id, r.name, r.path, r.created_at FROM jsonb_populate_record(NULL::volume_groups, $1) r"
            " JOIN accounts a ON a.username = $2 AND a.deleted_at IS NULL ON CONFLICT DO NOTHING",
            dict(each),
            username,
        )
    for each in rows.get("volumes", ()):
        await conn.execute(
            "INSERT INTO volumes (id, account_id, group_id, node_id, slot, created_at) SELECT r.id, a.id, r.group_id,"
            " r.node_id, r.slot, r.created_at FROM jsonb_populate_record(NULL::volumes, $1) r"
            " JOIN accounts a ON a.username = $2 AND a.deleted_at IS NULL ON CONFLICT DO NOTHING",
            dict(each),
            username,
        )


async def older_leaves(conn: Connection, row: Container) -> bool:
    """Whether the container may have its slot: nobody has it, or an older one, which leaves it then. Hosts come in any
    order, and one that was silent for long has what runs elsewhere by now."""
    held = await conn.fetchrow(
        "SELECT id, (deploy_gen, created_at) < ($3, $4) AS older FROM containers"
        " WHERE service_id = $1 AND slot = $2 AND terminated_at IS NULL AND NOT leaving",
        row.service_id,
        row.slot,
        row.deploy_gen,
        row.created_at,
    )
    if held is not None and held["older"]:
        await conn.execute("UPDATE containers SET leaving = true WHERE id = $1", held["id"])
    return held is None or bool(held["older"])


async def container(conn: Connection, row: Container) -> None:
    """A container as its host has it, with the ports that it holds. One on its way out may have handed them over."""
    account_id = await conn.fetchval("SELECT account_id FROM services WHERE id = $1", row.service_id)
    await containers.insert(conn, containers.encoded([containers.Made(account_id=account_id, row=row)]))
    for port in row.spec.ports:
        if port.outer_port is not None:
            await conn.execute(
                "INSERT INTO ports (node_id, protocol, port, container_id) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (node_id, protocol, port) DO UPDATE SET container_id = excluded.container_id WHERE $5",
                row.node_id,
                port.protocol.value,
                port.outer_port,
                row.id,
                row.want is not Want.GONE,
            )


async def settle(conn: Connection, node_id: UUID, container_ids: Sequence[UUID]) -> None:
    """What is told of the host's containers, the load of the host, and the links that have both ends by now."""
    revision = await conn.fetchval("SELECT assignment_revision FROM nodes WHERE id = $1", node_id)
    await containers.assign(conn, container_ids, node_id, revision)
    await conn.execute(
        "UPDATE nodes n SET live = c.live, reserved_memory = c.memory, reserved_cpu = c.shares"
        " FROM (SELECT count(*) AS live, coalesce(sum((spec->>'memory')::bigint), 0) AS memory,"
        "   coalesce(sum((spec->>'cpu_shares')::bigint), 0) AS shares FROM containers"
        "   WHERE node_id = $1 AND terminated_at IS NULL) c WHERE n.id = $1",
        node_id,
    )
    await conn.execute(
        "INSERT INTO links (from_service, name, to_service) SELECT s.id, l->>'name', (l->>'to_service')::uuid"
        " FROM services s, jsonb_array_elements(s.spec->'links') l WHERE EXISTS"
        " (SELECT 1 FROM services t WHERE t.id = (l->>'to_service')::uuid) ON CONFLICT DO NOTHING"
    )


async def begin(conn: Connection, cluster_id: UUID, certificate: str, sealed_key: bytes) -> None:
    """An empty record becomes that of the installation; nothing is decided before its hosts were heard."""
    await conn.execute(
        "UPDATE installation SET cluster_id = $1, rebuilding = true, paused_by = 'rebuild', paused_at = now()",
        cluster_id,
    )
    await conn.execute("INSERT INTO authority (certificate, sealed_key) VALUES ($1, $2)", certificate, sealed_key)


async def finish(conn: Connection) -> None:
    """All hosts were heard: links to services that nobody has are given up."""
    await conn.execute(
        "UPDATE services s SET spec = jsonb_set(spec, '{links}', (SELECT coalesce(jsonb_agg(l), '[]') FROM"
        " jsonb_array_elements(s.spec->'links') l WHERE EXISTS (SELECT 1 FROM services t"
        " WHERE t.id = (l->>'to_service')::uuid))) WHERE EXISTS (SELECT 1 FROM jsonb_array_elements(s.spec->'links') l"
        " WHERE NOT EXISTS (SELECT 1 FROM services t WHERE t.id = (l->>'to_service')::uuid))"
    )
    await conn.execute("UPDATE installation SET rebuilding = false")
