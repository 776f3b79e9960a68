"""Tell agents that their assignment changed: one new revision for each touched node, in id order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from domain.container import Container
from orchestrator.store import containers, nodes, swarm, wake
from orchestrator.store.db import Connection


class Load:
    """What a transaction adds to the nodes and takes off them: containers, MB of memory, CPU shares."""

    def __init__(self) -> None:
        self.by_node: dict[UUID, tuple[int, int, int]] = {}

    def take(self, row: Container) -> None:
        """The container was placed."""
        self._add(row, 1)

    def give_back(self, row: Container) -> None:
        """The container is gone."""
        self._add(row, -1)

    def _add(self, row: Container, sign: int) -> None:
        live, memory, shares = self.by_node.get(row.node_id, (0, 0, 0))
        self.by_node[row.node_id] = (
            live + sign,
            memory + sign * (row.spec.memory or 0),
            shares + sign * (row.spec.cpu_shares or 0),
        )


async def publish(
    conn: Connection, touched: Sequence[Container], asked: Iterable[UUID] = (), load: Load | None = None
) -> None:
    """The containers whose rows changed, and nodes that were asked something; agents learn of it at commit.

    Overlay networks that they are on are asked of the swarm's managers, once.

    What changes of a node's load is among what touches it.
    """
    overlays = {each.network.name: each.network for row in touched for each in row.networks if each.network.overlay}
    making = await swarm.ask_networks(conn, list(overlays.values())) if overlays else []
    for node_id in sorted({row.node_id for row in touched} | set(asked) | set(making)):
        more = load.by_node.get(node_id, (0, 0, 0)) if load else (0, 0, 0)
        revision = await nodes.bump_revision(conn, node_id, *more)
        changed = [row.id for row in touched if row.node_id == node_id]
        if changed:
            await containers.assign(conn, changed, node_id, revision)
        await wake.node(conn, node_id)
