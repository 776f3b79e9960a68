"""Write containers and tell agents that their assignment changed: one new revision for each touched node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from domain.container import Container, Want
from orchestrator.store import containers, nodes, ports, swarm, wake
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
    conn: Connection,
    changed: Sequence[Container] = (),
    *,
    made: Sequence[containers.Made] = (),
    asked: Iterable[UUID] = (),
    load: Load | None = None,
) -> None:
    """Write containers that changed and new ones, and tell their nodes, and those that were asked something; agents
    learn of it at commit. The number of statements does not grow with theirs.

    Nodes are locked first: their locks guard the rows of their containers, here and where reports are written
    (decision 24). Overlay networks that containers are on are asked of the swarm's managers, once.

    Raises Conflict when a port was taken meanwhile, or a node of a new container lost or taken out.
    """
    new = [each.row for each in made]
    touched = [*changed, *new]
    overlays = {each.network.name: each.network for row in touched for each in row.networks if each.network.overlay}
    making = await swarm.ask_networks(conn, list(overlays.values())) if overlays else []
    rows = containers.encoded(made)
    node_ids = sorted({row.node_id for row in touched} | set(asked) | set(making))
    await wake.nodes(conn, node_ids)  # heard at commit, so that it need not be said while they are locked
    needed = {row.node_id for row in new if row.want is Want.RUN}
    revisions = await nodes.bump_revisions(conn, node_ids, load.by_node if load else {}, needed)
    await containers.write(conn, changed, revisions)
    await containers.insert(conn, rows, revisions)
    await ports.hold(conn, new)
