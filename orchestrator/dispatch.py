"""The side that agents see: register, fetch what must be there, report what is. No agent touches the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import structlog

from domain.assignment import NodeAssignments, NodeHello, NodeReport, Registration, SessionLost
from domain.errors import Conflict
from domain.node import starts
from domain.spec import Env
from orchestrator.store import containers, nodes, wake
from orchestrator.store.db import Database, now

log = structlog.get_logger("dispatch")


async def register(db: Database, hello: NodeHello) -> Registration:
    """Begin a session for the node's agent; an older session of it ends.

    Raises Conflict when the agent served another installation: it keeps its containers and says so.
    """
    async with db.transaction() as conn:
        cluster = await nodes.cluster_id(conn)
        if hello.cluster_id not in {None, cluster}:
            raise Conflict(
                f"this node's ledger is of another installation ({hello.cluster_id}, not {cluster}): its containers"
                " are left alone; move the ledger away to let it join here"
            )
        node_id, session = await nodes.register(conn, hello.name, hello.engine)
        await wake.waiting_services(conn)
    log.info("agent registered", node=hello.name, session=session)
    return Registration(cluster_id=cluster, node_id=node_id, session=session)


def _no_secrets(_container_id: UUID) -> Env:
    return ()


def _sealed(_password: bytes) -> None:
    return None


async def assignments_since(
    db: Database,
    registration: Registration,
    since: int,
    secrets: Callable[[UUID], Env] = _no_secrets,
    unseal: Callable[[bytes], str | None] = _sealed,
) -> NodeAssignments:
    """What changed for the node after revision `since`; 0 means everything. Raises SessionLost.

    `secrets`: the environment of a container with a role, which is told to its node and not stored (spec 2.20).
    `unseal` opens the stored password of a registry; None when it cannot be opened (spec 4.3).
    """
    async with db.transaction() as conn:
        session, revision = await nodes.session_of(conn, registration.node_id)
        if session != registration.session:
            raise SessionLost(f"session {registration.session} was followed by {session}")
        return NodeAssignments(
            cluster_id=registration.cluster_id,
            session=session,
            base=since,
            revision=revision,
            containers=tuple(
                replace(each, secret_env=secrets(each.container_id)) if each.spec.token else each
                for each in await containers.assignments(conn, registration.node_id, since)
            ),
            images=tuple(await nodes.open_image_requests(conn, registration.node_id, unseal)),
        )


async def record(db: Database, report: NodeReport) -> None:
    """Write a report; returns when it is durable. Raises SessionLost.

    Locks the services first, as passes do, so the two cannot deadlock.
    """
    async with db.transaction() as conn:
        affected: list[UUID] = []
        if report.containers or report.images:
            ids = await containers.services_of(conn, [each.container_id for each in report.containers])
            ids += await nodes.image_services(conn, report.node_id, report.images)
            await wake.services(conn, ids)
            affected = ids
        changed = await nodes.touch(conn, report.node_id, report.session, report.engine, report.applied_revision)
        if changed is None:
            raise SessionLost(f"session {report.session} is over")
        seen = await containers.observe(conn, report.node_id, report.session, report.seq, report.containers)
        failed, started = starts(seen, await now(conn)) if seen else ((), False)
        await nodes.note_starts(conn, report.node_id, failed, started=started)
        await nodes.answer_images(conn, report.node_id, report.images)
        if changed:
            await wake.waiting_services(conn)
    if affected:
        log.debug("report", node=str(report.node_id), seq=report.seq, services=len(affected))
