"""The outer ports that containers hold on their nodes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from domain.container import BoundPort, Container
from domain.spec import PortSpec, Transport
from orchestrator.store.db import Connection

DYNAMIC_PORTS = (32768, 60999)

Key = tuple[UUID, str, int]
"""A port of a node: node, protocol, number."""


def unpublished(ports: Sequence[PortSpec]) -> tuple[BoundPort, ...]:
    """Ports that nobody outside the service's network reaches."""
    return tuple(BoundPort(protocol=port.protocol, inner_port=port.inner_port) for port in ports)


async def choose(
    conn: Connection, container_id: UUID, node_id: UUID, ports: Sequence[PortSpec], chosen: set[Key]
) -> tuple[BoundPort, ...]:
    """The ports with their outer numbers: the user's own, or a free dynamic one of the node. They are not held yet.

    `chosen`: what this transaction has chosen before; added to. The search for a free one begins at a place given by
    the container, so that it rarely meets a taken one.
    """
    out, (low, high) = [], DYNAMIC_PORTS
    for number, port in enumerate(ports):
        outer = port.outer_port
        if port.published and outer is None:
            start = low + zlib.crc32(f"{container_id}/{number}".encode()) % (high - low + 1)
            mine = [p for node, protocol, p in chosen if (node, protocol) == (node_id, port.protocol.value)]
            outer = await conn.fetchval(
                "SELECT p FROM (SELECT generate_series($3::int, $5) UNION ALL SELECT generate_series($4::int, $3 - 1))"
                " AS candidates(p) WHERE p <> ALL($6::int[])"
                " AND NOT EXISTS (SELECT 1 FROM ports WHERE node_id = $1 AND protocol = $2 AND port = p) LIMIT 1",
                node_id,
                port.protocol.value,
                start,
                low,
                high,
                mine,
            )
        if outer is not None:
            chosen.add((node_id, port.protocol.value, outer))
        out.append(BoundPort(protocol=port.protocol, inner_port=port.inner_port, outer_port=outer))
    return tuple(out)


async def hold(conn: Connection, rows: Sequence[Container]) -> None:
    """The containers hold their ports from now on; one that follows another gets those that both have from it. Raises
    Conflict when one was taken meanwhile.
    """
    held = [(row, port) for row in rows for port in row.spec.ports if port.outer_port is not None]
    handed = [(row.follows, port) for row, port in held if row.follows is not None]
    if handed:
        await conn.execute(
            "DELETE FROM ports p USING unnest($1::uuid[], $2::text[], $3::int[]) AS h(container_id, protocol, port)"
            " WHERE p.container_id = h.container_id AND p.protocol = h.protocol AND p.port = h.port",
            [before for before, _ in handed],
            [port.protocol.value for _, port in handed],
            [port.outer_port for _, port in handed],
        )
    if held:
        await conn.execute(
            "INSERT INTO ports (node_id, protocol, port, container_id)"
            " SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::uuid[])",
            [row.node_id for row, _ in held],
            [port.protocol.value for _, port in held],
            [port.outer_port for _, port in held],
            [row.id for row, _ in held],
        )


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
