"""The side that agents see: register, fetch what must be there, report what is. No agent touches the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from domain.assignment import (
    SILENT_SECONDS,
    EngineInfo,
    NodeAssignments,
    NodeHello,
    Registration,
)
from domain.errors import Conflict, NotAllowed
from domain.node import Node, NodeState, mass_silence
from domain.quarantine import answered, contained, identity, position_key
from orchestrator import rebuilding
from orchestrator.metrics import BEATS
from orchestrator.store import fleet, nodes, quarantines, wake
from orchestrator.store.db import Connection, Database
from orchestrator.telling import TAKEN_OUT

log = structlog.get_logger("dispatch")
TAKEN_OUT_SHORT = "this node was taken out of the installation: its containers are left as they are"
"""What fits into the end of a connection."""

DISRUPTED_SECONDS = 1.0
"""How often it is noted that most hosts are still silent."""


async def register(
    db: Database, hello: NodeHello, *, node_id: UUID | None = None, served_by: UUID | None = None
) -> Registration:
    """Begin a session for the node's agent; an older session of it ends.

    `node_id`: who the agent has proven to be; None for the one in the control plane's own process, which goes by
    its name. `served_by`: the control plane that holds the session. Raises LedgerWanted when the record is being made
    anew and the agent did not bring what it has, Conflict when the agent served another
    installation, or serves an engine that another agent serves too, and NotAllowed for a node that was taken out:
    it keeps its containers and says so.
    """
    async with db.transaction() as conn:
        cluster = await nodes.cluster_id(conn)
        if hello.cluster_id not in {None, cluster}:
            raise Conflict(
                f"this node's ledger is of another installation ({hello.cluster_id}, not {cluster}): its containers"
                " are left alone; move the ledger away to let it join here"
            )
        await rebuilding.adopt(conn, node_id, hello)
        known = node_id or await fleet.node_named(conn, hello.name)
        if hello.engine is not None:
            await refuse_second_agent(conn, hello.engine, known)
        if node_id is None:
            if known is not None and await fleet.has_credential(conn, known):
                raise Conflict(f"{hello.name} is the name of a node that joined: set TUTELA_NODE_NAME to another one")
            if known is None or await fleet.terminated(conn, known):
                known, _ = await nodes.register(conn, hello.name, hello.engine)
                await wake.waiting_services(conn)
        begun = await fleet.begin_session(conn, known, hello.engine, served_by, hello.address) if known else None
        if begun is None:
            raise NotAllowed(TAKEN_OUT)
        node = await _compared(conn, begun.before.id, hello)
        # A cut of all connections is a session for each host and changes none of them.
        if _decided_by(node) != _decided_by(begun.before):
            await wake.waiting_services(conn)
        # Also where its engine is away now: what is to be moved when it falls silent has its time from here on.
        if {begun.before.state, node.state} != {NodeState.DEPLOYED}:
            await wake.services_on(conn, node.id)
    reason = node.quarantine.reason if node.quarantine else ""
    if reason:
        log.warning("a node is quarantined", node=hello.name, node_id=str(node.id), reason=reason)
    log.info("agent registered", node=hello.name, node_id=str(node.id), session=begun.session)
    return Registration(cluster_id=cluster, node_id=node.id, session=begun.session, quarantine=reason)


def _decided_by(node: Node) -> tuple[object, ...]:
    """What decisions about services see of a node, of that which a new session can change."""
    return node.state, node.engine, node.reach, node.quarantine


async def _compared(conn: Connection, node_id: UUID, hello: NodeHello) -> Node:
    """What its agent brings, beside the record; the node as it is now, quarantined or not.

    Revisions of another node say nothing: an agent that joins anew brings the ledger of who it was.
    """
    if hello.engine is not None:
        await quarantines.enrol_engine(conn, node_id, identity(hello.engine))
    record, seen = await quarantines.standing(conn, node_id), hello.seen
    if seen is not None and (
        seen.node_id != node_id
        or contained(seen, now=record.now, restored=record.restored)
        or answered(record.word, position_key(seen)) is not None
    ):
        seen = None
    await quarantines.note_ahead(conn, node_id, seen)
    return await nodes.get(conn, node_id)


async def refuse_second_agent(conn: Connection, engine: EngineInfo, node_id: UUID | None) -> None:
    """Raises Conflict when the agent of another node, which is alive, serves the engine."""
    other = await fleet.engine_served(conn, engine, node_id, SILENT_SECONDS)
    if other is not None:
        raise Conflict(
            f"the agent of node {other} serves this Docker engine ({engine.engine_id[:14]}) and is alive: two would"
            " undo each other's work. Stop that one first, or let this one use another engine"
        )


async def heard(db: Database, beats: Mapping[UUID, tuple[int, bool]], *, wait: bool = False) -> fleet.BeatOutcome:
    """Agents were heard: by node the session, and whether the engine answers. Returns when it is durable.

    One statement as long as nobody's state changes; those whose nodes somebody has are left out, unless they are to
    `wait` their turn, for a second at most: then it raises DatabaseAway.
    """
    async with db.transaction() if wait else db.single() as conn:
        if wait:
            await nodes.wait_for(conn, beats)
        outcome = await fleet.heard(conn, {node_id: session for node_id, (session, _) in beats.items()})
    BEATS.add(n=len(outcome.states))
    for node_id, state in outcome.states.items():
        session, up = beats[node_id]
        present = NodeState.DEPLOYED if up else NodeState.UNREACHABLE
        if state is not present:
            await _turn(db, node_id, session, present)
    return outcome


async def here(db: Database, node_ids: Sequence[UUID]) -> None:
    """Hosts are connected and wait for their sessions to begin."""
    async with db.single() as conn:
        await fleet.here(conn, node_ids)


async def _turn(db: Database, node_id: UUID, session: int, state: NodeState) -> None:
    async with db.transaction() as conn:
        if await fleet.turn(conn, node_id, session, state):
            log.info("node turned", node_id=str(node_id), state=state.value)
            await wake.services_on(conn, node_id)
            await wake.waiting_services(conn)


async def expire(db: Database, *, patient: bool = False) -> datetime:
    """Nodes that were not heard for SILENT_SECONDS become Unreachable; returns when to look again, by the database's
    clock: when the next can be one at the earliest. Nothing is moved here. `patient`: silence means nothing yet, and
    none is called Unreachable.

    Are most of them silent at once, that is noted first: each has its time to come back from then on (decision 27).
    """
    async with db.read() as conn:
        found = await fleet.silence(conn, SILENT_SECONDS)
    soonest = found.at if patient else found.next
    if mass_silence(found.silent, found.nodes, found.gone):
        async with db.transaction() as conn:
            before = await fleet.disrupt(conn, of_all=found.of_all)
        if before is None or found.at - before > timedelta(seconds=SILENT_SECONDS):
            log.warning("most hosts are silent: nothing is moved meanwhile", silent=found.silent, hosts=found.nodes)
        soonest = min(soonest, found.at + timedelta(seconds=DISRUPTED_SECONDS))
    for node_id in () if patient else found.unmarked:
        async with db.transaction() as conn:
            if await fleet.lose(conn, node_id, SILENT_SECONDS):
                log.warning("node is unreachable", node=str(node_id), silent_for=SILENT_SECONDS)
                await wake.services_on(conn, node_id)
                await wake.waiting_services(conn)
    return soonest


async def news(db: Database, told: Sequence[NodeAssignments], node_ids: Sequence[UUID]) -> list[int]:
    """Which of these nodes, by their places, have news beyond what each was told last: one statement for all.

    Everything that `telling.tell` tells changes with the node's revision, but for copies; or with its session.
    """
    async with db.read() as conn:
        return await quarantines.news(
            conn,
            node_ids,
            [each.session for each in told],
            [each.revision for each in told],
            [each.lineage for each in told],
        )
