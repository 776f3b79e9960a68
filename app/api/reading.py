"""Nodes, and who one is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import Caller, database, ident
from app.api.responses import reply
from app.wire.lists import NODES, Query, envelope, read_query
from app.wire.others import node_out
from orchestrator.store import nodes

router = APIRouter(prefix="/api/v1")


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
