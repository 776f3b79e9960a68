"""What users may do to a node (spec 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

from app.commands.recording import recorded
from app.commands.services import Context, record_refusal
from domain.action import ActionState
from domain.errors import DomainError, Invalid, NotAllowed
from domain.node import Node, NodeState
from orchestrator.store import actions, containers, nodes, wake
from orchestrator.store.db import now

NODES_URI = "/api/v1/node/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What people say of a node."""

    tags: tuple[str, ...]
    nickname: str | None


def node_uri(node_id: UUID) -> str:
    """The resource path of a node."""
    return f"{NODES_URI}{node_id}/"


async def update(context: Context, node_id: UUID, read: Callable[[Node], Description]) -> None:
    """Set tags and nickname, from the present ones. Raises NotFound, NotAllowed, Invalid."""
    async with recorded(context, "Node Update", node_uri(node_id)) as work:
        node = await nodes.lock(work.conn, node_id)
        _there(node)
        wanted = read(node)
        await nodes.describe(work.conn, node_id, wanted.tags, wanted.nickname)
        if set(wanted.tags) != set(node.tags):
            # A service that waits for a node with its tags may have one now.
            await wake.waiting_services(work.conn)


async def health_check(context: Context, node_id: UUID) -> None:
    """Have the node's agent look and say how it is; its answer shows in `last_seen`. Raises NotFound, NotAllowed."""
    async with recorded(context, "Node Health Check", node_uri(node_id)) as work:
        _there(await nodes.get(work.conn, node_id))
        await wake.node(work.conn, node_id)


async def refuse_deploy(context: Context, node_id: UUID) -> NoReturn:
    """Raises NotAllowed, or NotFound: a self-hosted node needs no deployment."""
    await _refuse(context, node_id, "Node Deploy", NotAllowed("the node is your own: its agent deploys it"))


async def refuse_upgrade(context: Context, node_id: UUID) -> NoReturn:
    """Raises Invalid, or NotFound: the engine is the host's, and is upgraded with it."""
    text = "is not done by this installation: upgrade the engine with the host's own tools; containers come back"
    await _refuse(context, node_id, "Node Upgrade", Invalid({"docker-upgrade": text}))


async def _refuse(context: Context, node_id: UUID, verb: str, error: DomainError) -> NoReturn:
    async with context.db.read() as conn:
        await nodes.get(conn, node_id)
    await record_refusal(context, verb, str(error), None, node_uri(node_id))
    raise error


async def terminate(context: Context, node_id: UUID, *, own_name: str | None, force: bool) -> None:
    """Take the node out. `own_name`: the node whose agent this process runs. Raises NotFound, NotAllowed.

    With `force` the containers and volumes on it are given up: the user says that the host will not come back.
    If it does, its agent is told that nothing of it is wanted.
    """
    async with recorded(context, "Node Terminate", node_uri(node_id)) as work:
        conn = work.conn
        # Services are locked before nodes, here as everywhere.
        concerned = await nodes.services_on(conn, node_id) if force else []
        await wake.services(conn, concerned)
        node = await nodes.lock(conn, node_id)
        _there(node)
        if node.name == own_name and node.state is NodeState.DEPLOYED:
            raise NotAllowed("this is the host that Tutela itself runs on, and it is up: stop Tutela there first")
        on_it = [row for row in await containers.open_rows(conn, concerned) if row.node_id == node_id]
        live, kept = (await nodes.live_counts(conn, [node_id])).get(node_id, 0), await nodes.volumes_on(conn, node_id)
        if live > len(on_it) or (kept and not force):
            raise NotAllowed(
                f"there are {live} containers and {kept} volumes on it: terminate their services first, or give"
                " force=true when the host will not come back; their data is then given up"
            )
        at = await now(conn)
        for row in on_it:
            await containers.forget(conn, row.id, at)
            if row.order is not None:
                await actions.end(conn, row.order.actions, ActionState.FAILED, f"node {node.name} was taken out", at)
        await nodes.terminate(conn, node_id, at)


def _there(node: Node) -> None:
    if node.state is NodeState.TERMINATED:
        raise NotAllowed("the node was terminated")
