"""Tell agents that their assignment changed: one new revision for each touched node, in id order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from domain.container import Container
from orchestrator.store import containers, nodes, wake
from orchestrator.store.db import Connection


async def publish(conn: Connection, touched: Sequence[Container], asked: Iterable[UUID] = ()) -> None:
    """The containers whose rows changed, and nodes that were asked something; agents learn of it at commit."""
    for node_id in sorted({row.node_id for row in touched} | set(asked)):
        revision = await nodes.bump_revision(conn, node_id)
        changed = [row.id for row in touched if row.node_id == node_id]
        if changed:
            await containers.assign(conn, changed, node_id, revision)
        await wake.node(conn, node_id)
