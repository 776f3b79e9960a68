"""Rows of nodes, of what they were asked about images, and the installation's identity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from domain.assignment import EngineInfo, ImageRequest
from domain.errors import Conflict, NotFound
from domain.image import Pull, ResolvedImage, parse
from domain.node import Node, NodeState
from domain.registry import RegistryAuth, canonical
from orchestrator.ids import new_id
from orchestrator.store import codec, images
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where
from orchestrator.store.pauses import of_row as paused

COLUMNS = (
    "id", "name", "state", "tags", "engine", "last_seen", "created_at", "nickname", "cordoned", "drain_action",
    "public_ip", "live", "reserved_memory", "reserved_cpu", "failures", "terminated_at", "paused_at", "paused_by",
    "address", "overlay", "network_note", "accepted", "ahead", "strangers",
)  # fmt: skip
TEXTS = ("engine", "failures")
"""Read as texts, whose values are remembered (`codec.load`)."""

_COLUMNS = ", ".join(f"{name}::text" if name in TEXTS else name for name in COLUMNS)
_FILTERS = {
    "uuid": "id",
    "state": "state",
    "nickname": "coalesce(nickname, name)",
    "name": "name",
    "external_fqdn": "external_fqdn",
    "tags": "tags",
    "docker_version": "engine->>'version'",
    # No node of ours has them, so that nothing fits (spec 4.7).
    "node_cluster": "NULL::uuid",
    "node_type": "NULL::text",
    "region": "NULL::text",
}
# A terminated node is listed as long as a listed container or volume points at it: the CLI looks it up (spec 4.1).
_SHOWN = f"""
    (state <> '{NodeState.TERMINATED.value}'
     OR EXISTS (SELECT 1 FROM containers c WHERE c.node_id = nodes.id AND c.terminated_at > now() - interval '1 hour')
     OR EXISTS (SELECT 1 FROM volumes v WHERE v.node_id = nodes.id AND v.terminated_at > now() - interval '1 hour'))
"""  # noqa: S608 - constants of the domain


def of_row(row: Any) -> Node:
    """The node of a row with all COLUMNS."""
    return Node(
        id=row["id"],
        name=row["name"],
        state=NodeState(row["state"]),
        tags=tuple(row["tags"]),
        engine=codec.load(codec.ENGINE, row["engine"]),
        last_seen=row["last_seen"],
        created_at=row["created_at"],
        nickname=row["nickname"],
        cordoned=row["cordoned"],
        drain_action=row["drain_action"],
        public_ip=row["public_ip"],
        live=row["live"],
        reserved_memory=row["reserved_memory"],
        reserved_cpu=row["reserved_cpu"],
        failures=codec.load(codec.FAILURES, row["failures"]) or (),
        terminated_at=row["terminated_at"],
        paused=paused(row),
        address=row["address"],
        overlay=row["overlay"],
        network_note=row["network_note"],
        accepted=row["accepted"],
        ahead=codec.load(codec.POSITION, row["ahead"]),
        strangers=codec.load(codec.STRANGERS, row["strangers"]),
    )


async def cluster_id(conn: Connection) -> UUID:
    """The identity of this installation: engine objects carry it, so that no other one touches them."""
    value: UUID = await conn.fetchval("SELECT cluster_id FROM installation")
    return value


async def register(conn: Connection, name: str, engine: EngineInfo | None) -> tuple[UUID, int]:
    """A new session of the node's agent; the node is made at its first one. Returns node id and session."""
    row = await conn.fetchrow(
        "INSERT INTO nodes (id, name, state, engine, session, last_seen) VALUES ($1, $2, $3, $4, 1, clock_timestamp())"
        " ON CONFLICT (name) DO UPDATE SET session = nodes.session + 1, state = $3, last_seen = clock_timestamp(),"
        " engine = coalesce($4, nodes.engine) RETURNING id, session",
        new_id(),
        name,
        (NodeState.DEPLOYED if engine else NodeState.UNREACHABLE).value,
        codec.dump(codec.ENGINE, engine),
    )
    assert row is not None  # noqa: S101 - RETURNING of an upsert
    return row["id"], row["session"]


async def hold(conn: Connection, node_ids: Iterable[UUID]) -> None:
    """Lock the nodes that are about to be written until the transaction ends, in id order as everywhere.

    A statement of its own: one that locks rows and writes them by what it read before meets, where they changed in
    between, its own locks behind those who wait for it, which Postgres ends as a deadlock (decision 26).
    """
    await conn.execute("SELECT 1 FROM nodes WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", sorted(set(node_ids)))


async def wait_for(conn: Connection, node_ids: Iterable[UUID]) -> None:
    """The same for who takes only what is free otherwise; for a second at most. Raises DatabaseAway."""
    await conn.execute("SELECT set_config('lock_timeout', '1s', true)")
    await hold(conn, node_ids)


async def bump_revisions(
    conn: Connection,
    node_ids: Iterable[UUID],
    load: Mapping[UUID, tuple[int, int, int]] = MappingProxyType({}),
    needed: Collection[UUID] = (),
) -> dict[UUID, int]:
    """The next revision of each node's assignment. `load`: added to its containers, MB, CPU shares. `needed`: those on
    which something is to run that was placed by what they were a moment ago.

    Raises Conflict where one of these is lost or taken out by now: nobody would look at it there again.

    The row locks make revisions commit in their order, and guard the rows of the containers on these nodes until the
    transaction ends.
    """
    ids = sorted(set(node_ids))
    if not ids:
        return {}
    await hold(conn, ids)
    added = [load.get(each, (0, 0, 0)) for each in ids]
    rows = await conn.fetch(
        "UPDATE nodes n SET assignment_revision = n.assignment_revision + 1, live = n.live + l.live,"
        " reserved_memory = n.reserved_memory + l.memory, reserved_cpu = n.reserved_cpu + l.shares"
        " FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::bigint[]) AS l(id, live, memory, shares)"
        " WHERE n.id = ANY($1) AND n.id = l.id RETURNING n.id, n.name, n.state, n.assignment_revision",
        ids,
        [live for live, _, _ in added],
        [memory for _, memory, _ in added],
        [shares for _, _, shares in added],
    )
    for row in rows:
        if row["id"] in needed and row["state"] != NodeState.DEPLOYED.value:
            raise Conflict(f"node {row['name']} is {row['state']} by now")
    return {row["id"]: row["assignment_revision"] for row in rows}


async def gateway(conn: Connection, name: str) -> str:
    """The host's address on the default bridge of the node's engine; empty when it is not known yet."""
    value: str | None = await conn.fetchval("SELECT engine->>'gateway' FROM nodes WHERE name = $1", name)
    return value or ""


async def everyone(conn: Connection) -> list[Node]:
    """All nodes that were not terminated, by name; there are few."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM nodes WHERE state <> $1 ORDER BY name",  # noqa: S608 - constants of this module
        NodeState.TERMINATED.value,
    )
    return [of_row(row) for row in rows]


async def get(conn: Connection, node_id: UUID) -> Node:
    """One node. Raises NotFound."""
    row = await conn.fetchrow(f"SELECT {_COLUMNS} FROM nodes WHERE id = $1", node_id)  # noqa: S608 - as above
    if row is None:
        raise NotFound(f"there is no node {node_id}")
    return of_row(row)


async def lock(conn: Connection, node_id: UUID) -> Node:
    """The same, with its row locked until the transaction ends. Raises NotFound."""
    await conn.execute("SELECT 1 FROM nodes WHERE id = $1 FOR NO KEY UPDATE", node_id)
    return await get(conn, node_id)


async def describe(conn: Connection, node_id: UUID, tags: Sequence[str], nickname: str | None) -> None:
    """Write what people say of the node."""
    await conn.execute("UPDATE nodes SET tags = $2, nickname = $3 WHERE id = $1", node_id, list(tags), nickname)


async def administer(conn: Connection, node_id: UUID, name: str, public_ip: str) -> None:
    """Write what operators say of the node; its agent is told of it. Raises Conflict when another has the name."""
    await conn.execute(
        "UPDATE nodes SET name = $2, public_ip = $3, assignment_revision = assignment_revision + 1 WHERE id = $1",
        node_id,
        name,
        public_ip,
    )


async def services_on(conn: Connection, *node_ids: UUID) -> list[UUID]:
    """The services with live containers on any of the nodes, in lock order."""
    rows = await conn.fetch(
        "SELECT DISTINCT service_id FROM containers WHERE node_id = ANY($1) AND terminated_at IS NULL ORDER BY 1",
        node_ids,
    )
    return [row["service_id"] for row in rows]


async def volumes_on(conn: Connection, node_id: UUID) -> int:
    """How many volumes with data are on the node."""
    value: int = await conn.fetchval(
        "SELECT count(*) FROM volumes WHERE node_id = $1 AND terminated_at IS NULL", node_id
    )
    return value


async def terminate(conn: Connection, node_id: UUID, at: datetime) -> None:
    """The node leaves with its volumes: its agent's session is over; its row stays for what still points at it."""
    await conn.execute(
        "UPDATE nodes SET state = $2, session = session + 1, terminated_at = $3, drain_action = NULL, live = 0,"
        " reserved_memory = 0, reserved_cpu = 0 WHERE id = $1",
        node_id,
        NodeState.TERMINATED.value,
        at,
    )
    await conn.execute(
        "UPDATE volumes SET terminated_at = $2 WHERE node_id = $1 AND terminated_at IS NULL", node_id, at
    )


async def purge_terminated(conn: Connection, older_than_hours: int, limit: int = 50) -> int:
    """Delete nodes that were taken out that long ago and that nothing points at any more; returns how many."""
    result = await conn.execute(
        "DELETE FROM nodes WHERE id IN (SELECT id FROM nodes n WHERE terminated_at < now() - make_interval(hours => $1)"
        " AND NOT EXISTS (SELECT 1 FROM containers WHERE node_id = n.id)"
        " AND NOT EXISTS (SELECT 1 FROM volumes WHERE node_id = n.id)"
        " AND NOT EXISTS (SELECT 1 FROM ports WHERE node_id = n.id)"
        " AND NOT EXISTS (SELECT 1 FROM image_requests WHERE node_id = n.id) LIMIT $2)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])


_THERE = f"state <> '{NodeState.TERMINATED.value}'"


def _sample(column: str) -> str:
    return f"""
        (SELECT {column} FROM nodes WHERE overlay AND {_THERE} ORDER BY id LIMIT 2)
        UNION ALL (SELECT {column} FROM nodes WHERE NOT overlay AND {_THERE} ORDER BY id LIMIT 2)
    """  # noqa: S608 - constants of the domain


SAMPLE, SAMPLE_KINDS = _sample("id"), _sample("overlay")
"""Nodes that tell what others there are: two of each kind are enough (`domain.networks.Fleet.general`); and their
kinds."""


async def around(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, Node]:
    """Nodes by id, terminated ones too, and a few others that are not: enough to tell whether there are others."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM nodes WHERE id = ANY($1) OR id IN ({SAMPLE})",  # noqa: S608 - as above
        list(ids),
    )
    return {row["id"]: of_row(row) for row in rows}


_FQDN = """
    CASE WHEN $1 = '' THEN coalesce(nullif(public_ip, ''), nullif(address, ''), name)
         ELSE left(id::text, 8) || '-' || $2::text || '.node.' || $1::text END
"""
"""As the API shows it (`app.wire.others.node_out`): $1 the public domain, $2 whose name it is."""


async def page(
    conn: Connection, filters: Sequence[Filter], limit: int, offset: int, *, account: str, domain: str
) -> tuple[list[Node], int]:
    """A page of the nodes by age, and how many there are. Outside names are those of the account in the domain."""
    condition, found = where(filters, _FILTERS, first=3)
    arguments = [domain, account, *found]
    base = f"FROM (SELECT *, {_FQDN} AS external_fqdn FROM nodes) nodes WHERE {_SHOWN} AND {condition}"  # noqa: S608 - as above
    total = await conn.fetchval(f"SELECT count(*) {base}", *arguments)
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY created_at, id LIMIT ${len(arguments) + 1} OFFSET ${len(arguments) + 2}",
        *arguments,
        limit,
        offset,
    )
    return [of_row(row) for row in rows], total


async def live_counts(conn: Connection, ids: Sequence[UUID]) -> dict[UUID, int]:
    """Live containers on each of the nodes."""
    rows = await conn.fetch(
        "SELECT node_id, count(*) AS n FROM containers WHERE node_id = ANY($1) AND terminated_at IS NULL"
        " GROUP BY node_id",
        list(ids),
    )
    return {row["node_id"]: row["n"] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswerRow:
    """The state of an image request; pending while `image` and `error` are None. `node_id`: who was asked last, and
    when."""

    node_id: UUID
    asked_at: datetime
    image: ResolvedImage | None
    error: str | None


async def request_image(conn: Connection, request: ImageRequest, service_id: UUID, node_id: UUID) -> None:
    """Ask the node about an image; under the same id again: it instead of the one that did not answer yet."""
    await conn.execute(
        "INSERT INTO image_requests (id, service_id, node_id, reference, pull) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (id) DO UPDATE SET node_id = excluded.node_id, created_at = clock_timestamp()"
        " WHERE image_requests.answered_at IS NULL",
        request.request_id,
        service_id,
        node_id,
        request.reference,
        request.pull.value,
    )


async def image_answer(conn: Connection, request_id: UUID) -> ImageAnswerRow | None:
    """What became of the request; None when it was not made."""
    row = await conn.fetchrow("SELECT node_id, created_at, image, error FROM image_requests WHERE id = $1", request_id)
    if row is None:
        return None
    image = codec.load(codec.IMAGE, row["image"])
    return ImageAnswerRow(node_id=row["node_id"], asked_at=row["created_at"], image=image, error=row["error"])


async def open_image_requests(
    conn: Connection, node_id: UUID, unseal: Callable[[bytes], str | None]
) -> list[ImageRequest]:
    """What the node was asked and did not answer, each with the credentials that its account registered for the
    repository; `unseal` opens a stored password, or gives None."""
    rows = await conn.fetch(
        "SELECT r.id, r.reference, r.pull, s.account_id FROM image_requests r JOIN services s ON s.id = r.service_id"
        " WHERE r.node_id = $1 AND r.answered_at IS NULL ORDER BY r.created_at, r.id",
        node_id,
    )
    logins = await images.logins(conn, sorted({row["account_id"] for row in rows})) if rows else {}
    out = []
    for row in rows:
        found = parse(row["reference"])
        login = logins.get((row["account_id"], canonical(found.name))) if found else None
        password = unseal(login[1]) if login else None
        auth = RegistryAuth(username=login[0], password=password) if login and password is not None else None
        out.append(ImageRequest(request_id=row["id"], reference=row["reference"], pull=Pull(row["pull"]), auth=auth))
    return out


async def withdraw_image_requests(conn: Connection, service_id: UUID) -> None:
    """Drop the service's requests, so that no agent pulls for nothing."""
    await conn.execute("DELETE FROM image_requests WHERE service_id = $1", service_id)
