"""Resources that this version only shows: containers, actions, nodes, and who one is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import Caller, database, ident, log_source, settings
from app.api.logs import read_tail
from app.api.responses import reply
from app.wire.lists import ACTIONS, CONTAINERS, NODES, Query, envelope, read_query
from app.wire.logs import joined
from app.wire.others import action_out, container_out, node_out
from orchestrator.store import actions, containers, nodes, services

router = APIRouter(prefix="/api/v1")


@router.get("/container/")
async def list_containers(request: Request, caller: Caller) -> Response:
    """Current and recently terminated containers."""
    params = request.query_params.multi_items()
    query = read_query(params, CONTAINERS)
    async with database(request).read() as conn:
        found, total = await containers.page(conn, caller.id, query.filters, query.limit, query.offset)
        owners = await services.many(conn, caller.id, sorted({row.service_id for row in found}))
    domain = settings(request).public_domain
    objects = [container_out(row, owners[row.service_id], public_domain=domain) for row in found]
    return reply(request, envelope(request.url.path, params, query, total, objects))


@router.get("/container/{uuid}/")
async def get_container(request: Request, caller: Caller, uuid: str) -> Response:
    """One container."""
    async with database(request).read() as conn:
        row = await containers.get(conn, caller.id, ident(uuid, "container"))
        service = await services.get(conn, caller.id, row.service_id)
    return reply(request, container_out(row, service, public_domain=settings(request).public_domain))


@router.get("/container/{uuid}/logs/")
async def container_logs(request: Request, caller: Caller, uuid: str) -> Response:
    """The container's output."""
    tail = read_tail(request)
    async with database(request).read() as conn:
        row = await containers.get(conn, caller.id, ident(uuid, "container"))
    source = log_source(request)
    lines = await source.logs([row.id], tail) if source else []
    return reply(request, {"logs": joined(lines, None, tail)})


@router.get("/action/")
async def list_actions(request: Request, caller: Caller) -> Response:
    """Actions, newest first."""
    params = request.query_params.multi_items()
    query = read_query(params, ACTIONS)
    async with database(request).read() as conn:
        found, total = await actions.page(conn, caller.id, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [action_out(each) for each in found]))


@router.get("/action/{uuid}/")
async def get_action(request: Request, caller: Caller, uuid: str) -> Response:
    """One action."""
    async with database(request).read() as conn:
        action = await actions.get(conn, caller.id, ident(uuid, "action"))
    return reply(request, action_out(action))


@router.get("/node/")
async def list_nodes(request: Request, _caller: Caller) -> Response:
    """The hosts."""
    params = request.query_params.multi_items()
    query = read_query(params, NODES)
    async with database(request).read() as conn:
        found, total = await nodes.page(conn, query.filters, query.limit, query.offset)
        live = await nodes.live_counts(conn, [node.id for node in found])
    objects = [node_out(node, containers=live.get(node.id, 0)) for node in found]
    return reply(request, envelope(request.url.path, params, query, total, objects))


@router.get("/node/{uuid}/")
async def get_node(request: Request, _caller: Caller, uuid: str) -> Response:
    """One host."""
    async with database(request).read() as conn:
        node = await nodes.get(conn, ident(uuid, "node"))
        live = await nodes.live_counts(conn, [node.id])
    return reply(request, node_out(node, containers=live.get(node.id, 0)))


@router.get("/auth/")
async def who_am_i(request: Request, caller: Caller) -> Response:
    """The caller's user name, and the key that it used (spec 1.4)."""
    objects = [{"username": caller.username, "key": request.state.key}]
    query = Query(filters=(), limit=25, offset=0)
    return reply(request, envelope(request.url.path, [], query, 1, objects))
