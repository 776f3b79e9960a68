"""What users may do to a node (spec 4.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn
from uuid import UUID

from app.commands.recording import recorded
from app.commands.services import Context, open_action, record_refusal, refusals_recorded
from domain.action import ActionState
from domain.container import Container, Observed, Seen, Want
from domain.errors import DomainError, Invalid, NotAllowed
from domain.node import Node, NodeState
from domain.quarantine import Cause, Quarantine, Word, answer
from domain.service import Effect
from orchestrator.store import actions, containers, drains, nodes, quarantines, services, wake
from orchestrator.store.db import Connection, now

NODES_URI = "/api/v1/node/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What people say of a node."""

    tags: tuple[str, ...]
    nickname: str | None


TERMINATE = "Node Terminate"
"""The wire's name of the action."""


def node_uri(node_id: UUID) -> str:
    """The resource path of a node."""
    return f"{NODES_URI}{node_id}/"


async def update(context: Context, node_id: UUID, read: Callable[[Node], Description]) -> None:
    """Set tags and nickname, from the present ones. Raises NotFound, NotAllowed, Invalid."""
    async with recorded(context, "Node Update", node_uri(node_id)) as work:
        node = await nodes.lock(work.conn, node_id)
        there(node)
        wanted = read(node)
        await nodes.describe(work.conn, node_id, wanted.tags, wanted.nickname)
        if set(wanted.tags) != set(node.tags):
            # A service that waits for a node with its tags may have one now.
            await wake.waiting_services(work.conn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What operators say of a node; None: as it is. `public_ip` empty: not known."""

    name: str | None
    public_ip: str | None


async def administer(context: Context, node_id: UUID, wanted: Attributes, *, own_name: str | None) -> None:
    """Rename the node, and say where it can be reached. Raises NotFound, NotAllowed, Conflict."""
    async with recorded(context, "Node Update", node_uri(node_id)) as work:
        node = await nodes.lock(work.conn, node_id)
        there(node)
        if wanted.name not in {None, node.name} and node.name == own_name:
            raise NotAllowed("the node of this process has its name from the setting TUTELA_NODE_NAME: change it there")
        await nodes.administer(
            work.conn,
            node_id,
            node.name if wanted.name is None else wanted.name,
            node.public_ip if wanted.public_ip is None else wanted.public_ip,
        )
        await wake.node(work.conn, node_id)


async def cordon(context: Context, node_id: UUID, *, cordoned: bool) -> None:
    """Let the node take no new containers, or take them again; then a drain under way ends too.

    Raises NotFound, NotAllowed.
    """
    async with recorded(context, "Node Cordon" if cordoned else "Node Uncordon", node_uri(node_id)) as work:
        concerned = [] if cordoned else await nodes.services_on(work.conn, node_id)
        await wake.services(work.conn, concerned)
        there(await nodes.lock(work.conn, node_id))
        drain = await drains.cordon(work.conn, node_id, cordoned=cordoned)
        if drain is not None:
            await actions.cancel(work.conn, drain, [drain], await now(work.conn))
        if not cordoned:
            await wake.waiting_services(work.conn)


async def drain(context: Context, node_id: UUID) -> None:
    """Cordon the node and move its containers away, each started elsewhere before it stops here.

    The action ends when nothing is left that can be moved. Raises NotFound, NotAllowed.
    """
    verb, uri = "Node Drain", node_uri(node_id)
    async with refusals_recorded(context, verb, None, uri), context.db.transaction() as conn:
        await wake.services(conn, await nodes.services_on(conn, node_id))
        node = await nodes.lock(conn, node_id)
        there(node)
        if node.drain_action is not None:
            raise NotAllowed(f"the node is being drained already, by action {node.drain_action}")
        at = await now(conn)
        await open_action(conn, context, verb=verb, object_uri=uri, service_id=None, effect=Effect.BEGUN, at=at)
        await drains.begin(conn, node_id, context.action_id)
        await drains.end_finished(conn, [node_id], at)


async def release(context: Context, node_id: UUID, word: Word) -> None:
    """Say what becomes of containers on the node that nothing asks for; the node goes on.

    Raises NotFound, NotAllowed.
    """
    async with recorded(context, "Node Release" if word is Word.REMOVE else "Node Keep", node_uri(node_id)) as work:
        node, question = await _asked(work.conn, node_id)
        if question.cause is Cause.ENGINE:
            raise NotAllowed(f"{question.reason}; {question.remedy}")
        ahead = node.ahead if question.cause is Cause.RECORD else None
        await quarantines.say(work.conn, node_id, answer(word, question.key), ahead=ahead)
        await _heard(work.conn, node_id)


async def accept_engine(context: Context, node_id: UUID) -> None:
    """The engine that the node has now is its own: its containers are made anew there. Raises NotFound, NotAllowed."""
    async with recorded(context, "Node Accept Engine", node_uri(node_id)) as work:
        _, question = await _asked(work.conn, node_id)
        if question.cause is not Cause.ENGINE:
            raise NotAllowed(f"its engine is the one that it joined with, but {question.reason}; {question.remedy}")
        await quarantines.accept_engine(work.conn, node_id, question.key)
        await _heard(work.conn, node_id)


async def _asked(conn: Connection, node_id: UUID) -> tuple[Node, Quarantine]:
    """The node, locked, and why it is quarantined. Services are locked before nodes, here as everywhere."""
    await wake.services(conn, await nodes.services_on(conn, node_id))
    node = await nodes.lock(conn, node_id)
    there(node)
    question = node.quarantine
    if question is None:
        raise NotAllowed(f"{node.name} is not quarantined")
    return node, question


async def _heard(conn: Connection, node_id: UUID) -> None:
    await wake.node(conn, node_id)
    await wake.waiting_services(conn)


async def health_check(context: Context, node_id: UUID) -> None:
    """Have the node's agent look and say how it is; its answer shows in `last_seen`. Raises NotFound, NotAllowed."""
    async with recorded(context, "Node Health Check", node_uri(node_id)) as work:
        there(await nodes.get(work.conn, node_id))
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
    async with recorded(context, TERMINATE, node_uri(node_id)) as work:
        conn = work.conn
        # Services are locked before nodes, here as everywhere.
        concerned = await nodes.services_on(conn, node_id) if force else []
        await wake.services(conn, concerned)
        node = await nodes.lock(conn, node_id)
        there(node)
        if node.name == own_name and node.state is NodeState.DEPLOYED:
            raise NotAllowed("this is the host that Tutela itself runs on, and it is up: stop Tutela there first")
        on_it = await containers.open_on(conn, concerned, node_id)
        live, kept = (await nodes.live_counts(conn, [node_id])).get(node_id, 0), await nodes.volumes_on(conn, node_id)
        if live > len(on_it) or (kept and not force):
            raise NotAllowed(
                f"there are {live} containers and {kept} volumes on it: terminate their services first, or give"
                " force=true when the host will not come back; their data is then given up"
            )
        at = await now(conn)
        running = await services.running(conn, concerned)
        # What is wanted is gone, and followed by the pass that sees it; of the rest nothing is left.
        gone, over = list[Container](), list[Container]()
        for row in on_it:
            if row.service_id in running and (row.refill or _stays(row)):
                gone.append(replace(row, want=Want.GONE, refill=True, order=None))
            else:
                over.append(replace(row, terminated_at=at))
        await containers.write(conn, over, {})
        await containers.write(conn, gone, {}, seen=Observed(state=Seen.GONE))
        for row in on_it:
            if row.order is not None:
                await actions.end(conn, row.order.actions, ActionState.FAILED, f"node {node.name} was taken out", at)
        await nodes.terminate(conn, node_id, at)
        if node.drain_action is not None:
            await actions.end(conn, [node.drain_action], ActionState.SUCCESS, "the node was taken out", at)
        # Its agent's session is over: whoever serves it says so at once.
        await wake.node(conn, node_id)
        await wake.revoked(conn, node_id)
        await wake.waiting_services(conn)


def _stays(row: Container) -> bool:
    return row.want is Want.RUN and not row.leaving


def there(node: Node) -> None:
    """Raises NotAllowed for a node that was taken out."""
    if node.state is NodeState.TERMINATED:
        raise NotAllowed("the node was terminated")
