"""/api/v1/admin/reconciler/, /queue/, and what stops and starts passes for a service or the orders of a node."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.deps import Caller, command, database, ident
from app.api.nodes import node_shown
from app.api.responses import reply
from app.api.routing import Operation
from app.commands import reconciler as commands
from app.wire.lists import QUEUE, envelope, read_query
from app.wire.reconciler import reconciler_out, waiting_out
from orchestrator.store import pauses, queue, schedule

router = APIRouter(prefix="/api/v1/admin", route_class=Operation)


@router.get("/reconciler/")
async def get_reconciler(request: Request) -> Response:
    """What is due, what is blocked, how old the queue is, what is paused."""
    return await _all(request, 200)


@router.post("/reconciler/pause/")
async def pause_all(request: Request, caller: Caller) -> Response:
    """No more passes; agents go on with what they were told."""
    await commands.pause_all(command(request, caller, None))
    return await _all(request, 202)


@router.post("/reconciler/resume/")
async def resume_all(request: Request, caller: Caller) -> Response:
    """Passes again."""
    await commands.resume_all(command(request, caller, None))
    return await _all(request, 202)


@router.post("/reconciler/look/")
async def look_all(request: Request, caller: Caller) -> Response:
    """A pass for every service."""
    await commands.look_all(command(request, caller, None))
    return await _all(request, 202)


@router.get("/queue/")
async def list_queue(request: Request) -> Response:
    """Services that are due, blocked or paused: since when, and why."""
    params = request.query_params.multi_items()
    query = read_query(params, QUEUE)
    async with database(request).read() as conn:
        found, total = await queue.page(conn, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [waiting_out(each) for each in found]))


@router.post("/service/{uuid}/pause/")
async def pause_service(request: Request, caller: Caller, uuid: str) -> Response:
    """No more passes for this service, of whatever user."""
    service_id = ident(uuid, "service")
    await commands.pause_service(command(request, caller, None), service_id)
    return await _service(request, service_id)


@router.post("/service/{uuid}/resume/")
async def resume_service(request: Request, caller: Caller, uuid: str) -> Response:
    """Passes for this service again."""
    service_id = ident(uuid, "service")
    await commands.resume_service(command(request, caller, None), service_id)
    return await _service(request, service_id)


@router.post("/service/{uuid}/look/")
async def look_service(request: Request, caller: Caller, uuid: str) -> Response:
    """A pass for this service now."""
    service_id = ident(uuid, "service")
    await commands.look_service(command(request, caller, None), service_id)
    return await _service(request, service_id)


@router.post("/node/{uuid}/pause/")
async def pause_node(request: Request, caller: Caller, uuid: str) -> Response:
    """The node is told nothing new and takes no containers; its agent goes on with what it was told."""
    node_id = ident(uuid, "node")
    await commands.pause_node(command(request, caller, None), node_id)
    return await node_shown(request, caller, node_id, 202)


@router.post("/node/{uuid}/resume/")
async def resume_node(request: Request, caller: Caller, uuid: str) -> Response:
    """The node is told what is wanted by now."""
    node_id = ident(uuid, "node")
    await commands.resume_node(command(request, caller, None), node_id)
    return await node_shown(request, caller, node_id, 202)


@router.post("/node/{uuid}/look/")
async def look_node(request: Request, caller: Caller, uuid: str) -> Response:
    """A pass for every service on the node now."""
    node_id = ident(uuid, "node")
    await commands.look_node(command(request, caller, None), node_id)
    return await node_shown(request, caller, node_id, 202)


async def _all(request: Request, status: int) -> Response:
    async with database(request).read() as conn:
        shown = reconciler_out(
            await queue.summary(conn),
            pause=await pauses.of_all(conn),
            nodes=await pauses.paused_nodes(conn),
            next_look=await schedule.soonest(conn),
        )
    return reply(request, shown, status)


async def _service(request: Request, service_id: UUID) -> Response:
    async with database(request).read() as conn:
        return reply(request, waiting_out(await queue.get(conn, service_id)), 202)
