"""Rows about the engines' swarm: the installation's one swarm, each node's part in it, overlay networks asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.assignment import RETURN_SECONDS
from domain.container import NetworkSpec
from domain.node import NodeState
from domain.swarm import Member, Swarm, SwarmRole, SwarmSeen
from orchestrator.store import codec
from orchestrator.store.db import Connection

_TERMINATED, _DEPLOYED = NodeState.TERMINATED.value, NodeState.DEPLOYED.value


async def note_away(conn: Connection) -> bool:
    """Remember since when nodes are not up, and that those taken out have no part; few rows change, and seldom any.

    Whether any did, or a node is away.
    """
    return bool(
        await conn.fetchval(
            "WITH moved AS (UPDATE nodes SET swarm_role = CASE WHEN state = $2 THEN '' ELSE swarm_role END,"
            " away_since = CASE WHEN state = $1 THEN NULL ELSE clock_timestamp() END WHERE id IN (SELECT id FROM nodes"
            " WHERE ((state = $1) = (away_since IS NOT NULL) AND state <> $2) OR (state = $2 AND swarm_role <> '')"
            " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) RETURNING 1) SELECT EXISTS (SELECT 1 FROM moved)"
            " OR EXISTS (SELECT 1 FROM nodes WHERE away_since IS NOT NULL AND state <> $2)",
            _DEPLOYED,
            _TERMINATED,
        )
    )


async def lock(conn: Connection) -> Swarm:
    """The swarm, locked: one decides about it at a time."""
    row = await conn.fetchrow("SELECT founder, cluster, lead, recover FROM swarm FOR NO KEY UPDATE")
    return _swarm(row)


async def get(conn: Connection) -> tuple[Swarm, bytes | None]:
    """The swarm and its sealed token."""
    row = await conn.fetchrow("SELECT founder, cluster, lead, recover, worker_token FROM swarm")
    assert row is not None  # noqa: S101 - made by the migration
    return _swarm(row), row["worker_token"]


def _swarm(row: Any) -> Swarm:
    return Swarm(founder=row["founder"], cluster=row["cluster"], lead=row["lead"], recover=row["recover"])


async def any_part(conn: Connection) -> bool:
    """Whether there is anything to end where no swarm is wanted: its record, a node's part, an engine in ours."""
    return bool(
        await conn.fetchval(
            "SELECT EXISTS (SELECT 1 FROM swarm WHERE founder IS NOT NULL OR cluster <> '' OR lead IS NOT NULL"
            " OR recover IS NOT NULL) OR EXISTS (SELECT 1 FROM nodes WHERE state <> $1 AND (swarm_role <> ''"
            " OR swarm_reset <> '' OR overlay OR network_note <> '' OR (swarm @> '{\"inside\": true}'"
            " AND (swarm @> '{\"ours\": true}' OR swarm @> '{\"entered\": true}'))))",
            _TERMINATED,
        )
    )


# Nobody is silent for as long as nobody could be heard, and until each had its time to come back: a swarm is not lost
# with the way to it (decision 27).
_MEMBERS = f"""SELECT id, name, created_at, CASE WHEN state = $2 THEN 0 ELSE 0.001 + greatest(0, extract(epoch FROM
            clock_timestamp() - greatest(coalesce(away_since, clock_timestamp()),
                (SELECT unheard_at FROM installation) + interval '{RETURN_SECONDS} s')))::float END AS silent,
        coalesce(nullif(public_ip, ''), address) AS reach, swarm, swarm_role, swarm_reset, overlay, network_note
    FROM nodes WHERE state <> $1
"""  # noqa: S608 - a number of ours


async def members(conn: Connection) -> list[Member]:
    """All nodes that were not taken out, oldest first."""
    return [_member(row) for row in await conn.fetch(f"{_MEMBERS} ORDER BY created_at, id", _TERMINATED, _DEPLOYED)]


async def managing(conn: Connection) -> list[Member]:
    """Those of them whose engines manage a swarm, whosesoever; there are few."""
    statement = f"{_MEMBERS} AND swarm @> '{{\"manager\": true}}' ORDER BY created_at, id"
    return [_member(row) for row in await conn.fetch(statement, _TERMINATED, _DEPLOYED)]


async def member(conn: Connection, node_id: UUID, session: int | None = None) -> Member | None:
    """One node; None when it was taken out, or when its agent's session is not that one."""
    statement = f"{_MEMBERS} AND id = $3 AND ($4::bigint IS NULL OR session = $4)"
    row = await conn.fetchrow(statement, _TERMINATED, _DEPLOYED, node_id, session)
    return _member(row) if row else None


def _member(row: Any) -> Member:
    return Member(
        id=row["id"],
        name=row["name"],
        since=row["created_at"],
        silent=row["silent"],
        address=row["reach"],
        seen=codec.load(codec.SWARM_SEEN, row["swarm"]),
        role=SwarmRole(row["swarm_role"]),
        reset=row["swarm_reset"],
        overlay=row["overlay"],
        note=row["network_note"],
    )


async def save(conn: Connection, swarm: Swarm) -> None:
    """The record of the swarm; a token of another swarm is forgotten with it."""
    await conn.execute(
        "UPDATE swarm SET founder = $1, cluster = $2, lead = $3, recover = $4,"
        " worker_token = CASE WHEN $2 = '' THEN NULL ELSE worker_token END",
        swarm.founder,
        swarm.cluster,
        swarm.lead,
        swarm.recover,
    )


async def forget_networks(conn: Connection, *, remake: bool) -> None:
    """A swarm is over, and its networks with it: those that are still wanted are to be made anew."""
    if remake:
        await conn.execute("DELETE FROM overlays WHERE gone")
        await conn.execute("UPDATE overlays SET made = false")
    else:
        await conn.execute("DELETE FROM overlays")


async def save_members(conn: Connection, changed: Sequence[Member]) -> None:
    """The parts of nodes, which the caller holds."""
    await conn.execute(
        "UPDATE nodes n SET swarm_role = m.role, swarm_reset = m.reset, overlay = m.overlay, network_note = m.note FROM"
        " unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::text[]) AS m(id, role, reset, overlay, note)"
        " WHERE n.id = m.id",
        [each.id for each in changed],
        [each.role.value for each in changed],
        [each.reset for each in changed],
        [each.overlay for each in changed],
        [each.note for each in changed],
    )


async def take(conn: Connection, node_id: UUID, session: int, seen: SwarmSeen) -> bool:
    """What the node's agent says; whether its session is still on."""
    return bool(
        await conn.fetchval(
            "UPDATE nodes SET swarm = $3 WHERE id = $1 AND session = $2 RETURNING true",
            node_id,
            session,
            codec.dump(codec.SWARM_SEEN, seen),
        )
    )


async def set_token(conn: Connection, sealed: bytes) -> None:
    """The token with which engines join as workers."""
    await conn.execute("UPDATE swarm SET worker_token = $1", sealed)


async def ask_networks(conn: Connection, networks: Sequence[NetworkSpec]) -> list[UUID]:
    """Have the managers make these overlay networks; the managers' nodes when any of them is new."""
    ordered = sorted(networks, key=lambda each: each.service_id)
    new = await conn.fetch(
        "INSERT INTO overlays (service_id, name, subnet) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])"
        " ON CONFLICT DO NOTHING RETURNING service_id",
        [each.service_id for each in ordered],
        [each.name for each in ordered],
        [each.subnet for each in ordered],
    )
    return await managers(conn) if new else []


async def drop_network(conn: Connection, service_id: UUID) -> list[UUID]:
    """Nobody needs the service's overlay network any more; the managers' nodes when there is one."""
    known = await conn.fetchval("UPDATE overlays SET gone = true WHERE service_id = $1 RETURNING true", service_id)
    return await managers(conn) if known else []


async def managers(conn: Connection) -> list[UUID]:
    """The nodes that are to manage the swarm."""
    rows = await conn.fetch(
        "SELECT id FROM nodes WHERE swarm_role = $1 AND state <> $2 ORDER BY id", SwarmRole.MANAGER.value, _TERMINATED
    )
    return [row["id"] for row in rows]


async def open_networks(conn: Connection) -> tuple[tuple[NetworkSpec, ...], tuple[str, ...]]:
    """Those to be made, and the names of those to be removed."""
    rows = await conn.fetch(
        "SELECT service_id, name, subnet, gone FROM overlays WHERE gone OR NOT made ORDER BY service_id"
    )
    return (
        tuple(
            NetworkSpec(name=row["name"], service_id=row["service_id"], subnet=row["subnet"], overlay=True)
            for row in rows
            if not row["gone"]
        ),
        tuple(row["name"] for row in rows if row["gone"]),
    )


async def networks_done(conn: Connection, made: Sequence[str], removed: Sequence[str]) -> None:
    """A manager has made and removed these."""
    if made:
        await conn.execute("UPDATE overlays SET made = true WHERE name = ANY($1)", list(made))
    if removed:
        await conn.execute("DELETE FROM overlays WHERE gone AND name = ANY($1)", list(removed))
