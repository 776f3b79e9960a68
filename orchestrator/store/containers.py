"""Rows of containers and of the ports that they hold.

`observe` writes what an agent saw, everything else what the orchestrator wants: one writer a field.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.assignment import ContainerAssignment, ContainerReport
from domain.container import (
    BoundPort,
    Container,
    ContainerState,
    Observed,
    Want,
    container_state,
    news,
    spec_digest,
)
from domain.errors import NotFound
from domain.placement import Verdict
from domain.spec import CrashPolicy, PortSpec, Transport
from orchestrator.store import codec
from orchestrator.store.db import Connection
from orchestrator.store.filters import Columns, Filter, where

COLUMNS = (
    "id", "service_id", "node_id", "slot", "name", "spec", "made_from", "deploy_gen", "want", "start_gen",
    "autorestart", "networks", "seen", "created_at", "terminated_at", "autoreplace", "operation", "refill",
    "drop_volumes", "replaced", "leaving",
)  # fmt: skip
_COLUMNS = ", ".join(COLUMNS)
# In a lookup by name live containers hide terminated ones that had it before them (spec 1.9, 7 no. 3).
_CURRENT = (
    "CASE WHEN terminated_at IS NULL OR NOT EXISTS (SELECT 1 FROM containers o WHERE o.account_id ="
    " containers.account_id AND o.name = containers.name AND o.terminated_at IS NULL) THEN {name} END"
)
_SERVICE = "(SELECT s.{column} FROM services s WHERE s.id = service_id)"
_FILTERS: Columns = {
    "uuid": "id",
    "state": "state",
    # By the service's name too, which containers inherited in the seed's time (spec 6 no. 14).
    "name": (_CURRENT.format(name="name"), _CURRENT.format(name=_SERVICE.format(column="name"))),
    "unique_name": _CURRENT.format(name="name"),
    "image_name": "spec->>'image'",
    "service": "service_id",
    "service__name": _SERVICE.format(column="name"),
    "stack": _SERVICE.format(column="stack_id"),
    "stack__name": "(SELECT k.name FROM services s JOIN stacks k ON k.id = s.stack_id WHERE s.id = service_id)",
    "node": "node_id",
}
DYNAMIC_PORTS = (32768, 60999)


def of_row(row: Any) -> Container:
    """The container of a row with all COLUMNS."""
    spec = codec.load(codec.CONTAINER_SPEC, row["spec"])
    networks = codec.load(codec.NETWORKS, row["networks"])
    assert spec is not None  # noqa: S101 - NOT NULL in the schema
    assert networks is not None  # noqa: S101 - NOT NULL in the schema
    return Container(
        id=row["id"],
        service_id=row["service_id"],
        node_id=row["node_id"],
        slot=row["slot"],
        name=row["name"],
        spec=spec,
        made_from=row["made_from"],
        deploy_gen=row["deploy_gen"],
        want=Want(row["want"]),
        start_gen=row["start_gen"],
        autorestart=CrashPolicy(row["autorestart"]),
        networks=networks,
        created_at=row["created_at"],
        seen=codec.load(codec.OBSERVED, row["seen"]),
        terminated_at=row["terminated_at"],
        autoreplace=CrashPolicy(row["autoreplace"]),
        order=codec.load(codec.ORDER, row["operation"]),
        refill=row["refill"],
        drop_volumes=tuple(row["drop_volumes"]),
        replaced=tuple(row["replaced"]),
        leaving=row["leaving"],
    )


async def of_services(conn: Connection, service_ids: Sequence[UUID]) -> dict[UUID, list[Container]]:
    """The containers of each service by slot, those terminated within the last hour included."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM containers WHERE service_id = ANY($1)"  # noqa: S608 - constants of this module
        " AND (terminated_at IS NULL OR terminated_at > now() - interval '1 hour')"
        " ORDER BY service_id, slot, created_at",
        list(service_ids),
    )
    out: dict[UUID, list[Container]] = {each: [] for each in service_ids}
    for row in rows:
        out[row["service_id"]].append(of_row(row))
    return out


async def open_rows(conn: Connection, service_ids: Sequence[UUID]) -> list[Container]:
    """The containers of the services that are not yet forgotten, by slot."""
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} FROM containers WHERE service_id = ANY($1) AND terminated_at IS NULL ORDER BY slot",  # noqa: S608
        list(service_ids),
    )
    return [of_row(row) for row in rows]


async def get(conn: Connection, account_id: UUID, container_id: UUID) -> Container:
    """One container of the account. Raises NotFound."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM containers WHERE account_id = $1 AND id = $2",  # noqa: S608 - as above
        account_id,
        container_id,
    )
    if row is None:
        raise NotFound(f"there is no container {container_id}")
    return of_row(row)


async def page(
    conn: Connection, account_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[Container], int]:
    """A page of the account's containers by age, and how many there are; terminated ones show for an hour."""
    condition, arguments = where(filters, _FILTERS, first=2)
    base = (
        "FROM containers WHERE account_id = $1"
        f" AND (terminated_at IS NULL OR terminated_at > now() - interval '1 hour') AND {condition}"
    )
    total = await conn.fetchval(f"SELECT count(*) {base}", account_id, *arguments)
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY created_at, id LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        account_id,
        *arguments,
        limit,
        offset,
    )
    return [of_row(row) for row in rows], total


async def insert(conn: Connection, container: Container, account_id: UUID, placement: Sequence[Verdict] = ()) -> None:
    """A new container; `assigned_revision` is set by `assign` at the end of the pass."""
    await conn.execute(
        "INSERT INTO containers (id, service_id, account_id, node_id, slot, name, state, spec, spec_digest, made_from,"
        " deploy_gen, want, start_gen, autorestart, networks, assigned_revision, created_at, autoreplace, operation,"
        " replaced, placement, leaving)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0, $16, $17, $18, $19, $20, $21)",
        container.id,
        container.service_id,
        account_id,
        container.node_id,
        container.slot,
        container.name,
        container_state(container).value,
        codec.dump(codec.CONTAINER_SPEC, container.spec),
        spec_digest(container.spec),
        container.made_from,
        container.deploy_gen,
        container.want.value,
        container.start_gen,
        container.autorestart.value,
        codec.dump(codec.NETWORKS, container.networks),
        container.created_at,
        container.autoreplace.value,
        codec.dump(codec.ORDER, container.order),
        list(container.replaced),
        codec.dump(codec.VERDICTS, tuple(placement)),
        container.leaving,
    )


async def placements(conn: Connection, container_ids: Sequence[UUID]) -> dict[UUID, tuple[Verdict, ...]]:
    """Why each of the containers is where it is."""
    rows = await conn.fetch("SELECT id, placement FROM containers WHERE id = ANY($1)", list(container_ids))
    return {row["id"]: codec.load(codec.VERDICTS, row["placement"]) or () for row in rows}


async def set_spec(conn: Connection, container: Container) -> None:
    """Complete the definition of a container made in this transaction: its ports are known by now."""
    await conn.execute(
        "UPDATE containers SET spec = $2, spec_digest = $3 WHERE id = $1",
        container.id,
        codec.dump(codec.CONTAINER_SPEC, container.spec),
        spec_digest(container.spec),
    )


def unpublished(ports: Sequence[PortSpec]) -> tuple[BoundPort, ...]:
    """Ports that nobody outside the service's network reaches."""
    return tuple(BoundPort(protocol=port.protocol, inner_port=port.inner_port) for port in ports)


async def hold_ports(
    conn: Connection, container_id: UUID, node_id: UUID, ports: Sequence[PortSpec]
) -> tuple[BoundPort, ...]:
    """The ports with their outer numbers: the user's own, or a free dynamic one of the node.

    The search for a free one begins at a place given by the container, so that it rarely meets a taken one.
    Raises Conflict when a fixed port was taken meanwhile.
    """
    out, low, high = [], *DYNAMIC_PORTS
    for number, port in enumerate(ports):
        outer = port.outer_port
        if port.published and outer is None:
            start = low + zlib.crc32(f"{container_id}/{number}".encode()) % (high - low + 1)
            outer = await conn.fetchval(
                "SELECT p FROM (SELECT * FROM generate_series($3::int, $5)"
                " UNION ALL SELECT * FROM generate_series($4::int, $3 - 1)) AS candidates(p)"
                " WHERE NOT EXISTS (SELECT 1 FROM ports WHERE node_id = $1 AND protocol = $2 AND port = p) LIMIT 1",
                node_id,
                port.protocol.value,
                start,
                low,
                high,
            )
        if outer is not None:
            await conn.execute(
                "INSERT INTO ports (node_id, protocol, port, container_id) VALUES ($1, $2, $3, $4)",
                node_id,
                port.protocol.value,
                outer,
                container_id,
            )
        out.append(BoundPort(protocol=port.protocol, inner_port=port.inner_port, outer_port=outer))
    return tuple(out)


async def ports_taken(
    conn: Connection, wanted: Iterable[tuple[Transport, int]]
) -> Mapping[UUID, frozenset[tuple[Transport, int]]]:
    """Which of the wanted outer ports are held, by node."""
    pairs = sorted((transport.value, port) for transport, port in wanted)
    if not pairs:
        return {}
    rows = await conn.fetch(
        "SELECT node_id, protocol, port FROM ports"
        " WHERE (protocol, port) IN (SELECT * FROM unnest($1::text[], $2::int[]))",
        [transport for transport, _ in pairs],
        [port for _, port in pairs],
    )
    out: dict[UUID, set[tuple[Transport, int]]] = {}
    for row in rows:
        out.setdefault(row["node_id"], set()).add((Transport(row["protocol"]), row["port"]))
    return {node: frozenset(taken) for node, taken in out.items()}


async def update_wanted(conn: Connection, container: Container) -> None:
    """Write what is wanted of a container."""
    await conn.execute(
        "UPDATE containers SET want = $2, start_gen = $3, autorestart = $4, networks = $5, state = $6,"
        " autoreplace = $7, operation = $8, refill = $9, drop_volumes = $10, replaced = $11, leaving = $12"
        " WHERE id = $1",
        container.id,
        container.want.value,
        container.start_gen,
        container.autorestart.value,
        codec.dump(codec.NETWORKS, container.networks),
        container_state(container).value,
        container.autoreplace.value,
        codec.dump(codec.ORDER, container.order),
        container.refill,
        list(container.drop_volumes),
        list(container.replaced),
        container.leaving,
    )


async def forget(conn: Connection, container_id: UUID, at: datetime) -> None:
    """Its node confirmed that it is gone: the slot and the ports are free again."""
    await conn.execute(
        "UPDATE containers SET terminated_at = $2, state = $3 WHERE id = $1",
        container_id,
        at,
        ContainerState.TERMINATED.value,
    )
    await conn.execute("DELETE FROM ports WHERE container_id = $1", container_id)


async def assign(conn: Connection, container_ids: Sequence[UUID], node_id: UUID, revision: int) -> None:
    """Mark the containers as changed at this revision of the node's assignment."""
    await conn.execute(
        "UPDATE containers SET assigned_revision = $3 WHERE id = ANY($1) AND node_id = $2",
        list(container_ids),
        node_id,
        revision,
    )


async def assignments(conn: Connection, node_id: UUID, since: int) -> list[ContainerAssignment]:
    """What the node must hold: changes after the revision, or with `since` 0 everything that is not forgotten."""
    rows = await conn.fetch(
        "SELECT id, service_id, name, want, spec, spec_digest, autorestart, autoreplace, start_gen, seen, networks,"
        " drop_volumes FROM containers"
        " WHERE node_id = $1 AND assigned_revision > $2 AND (terminated_at IS NULL OR $2 > 0) ORDER BY created_at, id",
        node_id,
        since,
    )
    out = []
    for row in rows:
        spec, networks = codec.load(codec.CONTAINER_SPEC, row["spec"]), codec.load(codec.NETWORKS, row["networks"])
        seen = codec.load(codec.OBSERVED, row["seen"])
        assert spec is not None  # noqa: S101 - NOT NULL in the schema
        assert networks is not None  # noqa: S101 - NOT NULL in the schema
        out.append(
            ContainerAssignment(
                container_id=row["id"],
                service_id=row["service_id"],
                name=row["name"],
                want=Want(row["want"]),
                spec=spec,
                spec_digest=row["spec_digest"],
                autorestart=CrashPolicy(row["autorestart"]),
                start_gen=row["start_gen"],
                seen_start_gen=seen.start_gen if seen else 0,
                networks=networks,
                autoreplace=CrashPolicy(row["autoreplace"]),
                drop_volumes=tuple(row["drop_volumes"]),
            )
        )
    return out


async def observe(
    conn: Connection, node_id: UUID, session: int, seq: int, reports: Sequence[ContainerReport]
) -> list[tuple[Container, Observed]]:
    """Write what an agent saw, if it is newer than what is there; returns the rows as they were, with that.

    A node writes only about its own containers (RELIABILITY S26). The caller holds the services' locks.
    """
    known = {
        row["id"]: of_row(row)
        for row in await conn.fetch(
            f"SELECT {_COLUMNS} FROM containers WHERE node_id = $1 AND id = ANY($2) AND terminated_at IS NULL"  # noqa: S608
            " AND (seen_session, seen_seq) < ($3, $4)",
            node_id,
            [report.container_id for report in reports],
            session,
            seq,
        )
    }
    changes: list[tuple[Container, Observed]] = [
        (known[report.container_id], news(known[report.container_id].seen, report.observed))
        for report in reports
        if report.container_id in known
    ]
    if not changes:
        return []
    await conn.executemany(
        "UPDATE containers SET seen = $2, seen_session = $3, seen_seq = $4, state = $5 WHERE id = $1",
        [
            (row.id, codec.dump(codec.OBSERVED, seen), session, seq, container_state(replace(row, seen=seen)).value)
            for row, seen in changes
        ],
    )
    return changes


async def purge_terminated(conn: Connection, older_than_hours: int, limit: int = 200) -> int:
    """Delete containers that were terminated that long ago; returns how many."""
    result = await conn.execute(
        "DELETE FROM containers WHERE id IN (SELECT id FROM containers"
        " WHERE terminated_at < now() - make_interval(hours => $1) LIMIT $2)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
