"""Pause, resume, and force a look: for one service, for one node, for everything. Each is an action of the admin."""

from __future__ import annotations

from uuid import UUID

from app.commands.nodes import node_uri, there
from app.commands.recording import recorded
from app.commands.services import SERVICES_URI, Context
from domain.errors import NotAllowed
from domain.pause import Pause
from domain.service import Service
from orchestrator.store import nodes, pauses, rebuild, services, wake
from orchestrator.store.db import Connection

RECONCILER_URI = "/api/v1/admin/reconciler/"


async def pause_all(context: Context) -> None:
    """No more passes, for no service. Raises NotAllowed when that is so."""
    async with recorded(context, "Reconciler Pause", RECONCILER_URI) as work:
        _not_yet(await pauses.lock_all(work.conn), "the reconciler")
        await pauses.set_all(work.conn, context.account.username)


async def resume_all(context: Context) -> None:
    """Passes again; a rebuild under way is over. Raises NotAllowed when nothing is paused."""
    async with recorded(context, "Reconciler Resume", RECONCILER_URI) as work:
        _paused(await pauses.lock_all(work.conn), "the reconciler")
        if await rebuild.under_way(work.conn):
            await rebuild.finish(work.conn)
            await wake.every_service(work.conn)
        await pauses.set_all(work.conn, None)


async def look_all(context: Context) -> None:
    """A pass for every service that is there. Raises NotAllowed while the reconciler is paused."""
    async with recorded(context, "Reconciler Look", RECONCILER_URI) as work:
        _running(await pauses.of_all(work.conn), "the reconciler")
        await wake.every_service(work.conn)


async def pause_service(context: Context, service_id: UUID) -> None:
    """No more passes for the service: its containers stay as they were last wanted. Raises NotFound, NotAllowed."""
    async with recorded(context, "Service Pause", _uri(service_id)) as work:
        service = await _locked(work.conn, service_id)
        _not_yet(service.paused, service.unique_name)
        await pauses.set_service(work.conn, service_id, context.account.username)


async def resume_service(context: Context, service_id: UUID) -> None:
    """Passes for the service again, the first one now. Raises NotFound, NotAllowed."""
    async with recorded(context, "Service Resume", _uri(service_id)) as work:
        service = await _locked(work.conn, service_id)
        _paused(service.paused, service.unique_name)
        await pauses.set_service(work.conn, service_id, None)
        await wake.service(work.conn, service_id)


async def look_service(context: Context, service_id: UUID) -> None:
    """A pass for the service now. Raises NotFound, NotAllowed."""
    async with recorded(context, "Service Look", _uri(service_id)) as work:
        service = await _locked(work.conn, service_id)
        _running(service.paused, service.unique_name)
        await wake.service(work.conn, service_id)


async def pause_node(context: Context, node_id: UUID) -> None:
    """The node is told nothing new, and takes no containers; its agent goes on with what it was told.

    Raises NotFound, NotAllowed.
    """
    async with recorded(context, "Node Pause", node_uri(node_id)) as work:
        node = await nodes.lock(work.conn, node_id)
        there(node)
        _not_yet(node.paused, node.name)
        await pauses.set_node(work.conn, node_id, context.account.username)
        await wake.waiting_services(work.conn)


async def resume_node(context: Context, node_id: UUID) -> None:
    """The node is told at once what is wanted by now. Raises NotFound, NotAllowed."""
    async with recorded(context, "Node Resume", node_uri(node_id)) as work:
        # Services are locked before nodes, here as everywhere.
        await wake.services(work.conn, await nodes.services_on(work.conn, node_id))
        node = await nodes.lock(work.conn, node_id)
        there(node)
        _paused(node.paused, node.name)
        await pauses.set_node(work.conn, node_id, None)
        await wake.node(work.conn, node_id)
        await wake.waiting_services(work.conn)


async def look_node(context: Context, node_id: UUID) -> None:
    """A pass for every service on the node, and its agent asks anew. Raises NotFound, NotAllowed."""
    async with recorded(context, "Node Look", node_uri(node_id)) as work:
        await wake.services(work.conn, await nodes.services_on(work.conn, node_id))
        node = await nodes.get(work.conn, node_id)
        there(node)
        _running(node.paused, node.name)
        await wake.node(work.conn, node_id)


def _uri(service_id: UUID) -> str:
    return f"{SERVICES_URI}{service_id}/"


async def _locked(conn: Connection, service_id: UUID) -> Service:
    await pauses.lock_service(conn, service_id)
    service = await services.locked(conn, service_id)
    if service.destroyed_at is not None:
        raise NotAllowed("the service was terminated")
    return service


def _not_yet(pause: Pause | None, name: str) -> None:
    if pause is not None:
        raise NotAllowed(f"{name} is paused already, since {pause.since:%Y-%m-%d %H:%M:%S} UTC by {pause.by}")


def _paused(pause: Pause | None, name: str) -> None:
    if pause is None:
        raise NotAllowed(f"{name} is not paused")


def _running(pause: Pause | None, name: str) -> None:
    if pause is not None:
        raise NotAllowed(f"{name} is paused, by {pause.by}: resume it, then it is looked at")
