"""Tags: those in use, and those of one service or node (spec 2.10, 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.asking import asked
from app.api.deps import Caller, command, database, ident
from app.api.responses import nothing, reply
from app.api.routing import Operation
from app.commands import nodes as node_commands
from app.commands import services as service_commands
from app.commands.nodes import Description, node_uri
from app.commands.services import SERVICES_URI
from app.wire.lists import TAGS, envelope, page_of, read_query
from app.wire.resource_input import added, read_tags
from app.wire.resource_output import tag_out, tags_out
from domain.asked import AskedLink
from domain.errors import NotFound
from domain.node import Node
from domain.service import Service
from domain.spec import ServiceSpec
from orchestrator.store import nodes, services, tags

router = APIRouter(prefix="/api/v1", route_class=Operation)
Names = tuple[str, ...]
Change = Callable[[Names], Names]


@router.get("/tag/")
async def list_tags(request: Request, caller: Caller) -> Response:
    """Every tag that a service of the account or a node has."""
    params = request.query_params.multi_items()
    query = read_query(params, TAGS)
    async with database(request).read() as conn:
        found, total = await tags.page(conn, caller.id, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [tag_out(each) for each in found]))


@router.get("/service/{uuid}/tags/")
async def service_tags(request: Request, caller: Caller, uuid: str) -> Response:
    """A service's tags."""
    return await _of_service(request, caller, ident(uuid, "service"), 200)


@router.post("/service/{uuid}/tags/")
async def add_service_tags(request: Request, caller: Caller, uuid: str) -> Response:
    """Give a service more tags."""
    service_id = ident(uuid, "service")
    body, context = await asked(request, caller, "Service Update", f"{SERVICES_URI}{service_id}/", service_id)
    await service_commands.update(context, service_id, _changed(_adding(body)))
    return await _of_service(request, caller, service_id, 201)


@router.delete("/service/{uuid}/tags/{name}/")
async def drop_service_tag(request: Request, caller: Caller, uuid: str, name: str) -> Response:
    """Take one tag off a service."""
    context = command(request, caller, None)
    await service_commands.update(context, ident(uuid, "service"), _changed(_dropping(name)))
    return nothing(request)


@router.get("/node/{uuid}/tags/")
async def node_tags(request: Request, _caller: Caller, uuid: str) -> Response:
    """A node's tags."""
    return await _of_node(request, ident(uuid, "node"), 200)


@router.post("/node/{uuid}/tags/")
async def add_node_tags(request: Request, caller: Caller, uuid: str) -> Response:
    """Give a node more tags."""
    node_id = ident(uuid, "node")
    body, context = await asked(request, caller, "Node Update", node_uri(node_id))
    await node_commands.update(context, node_id, _described(_adding(body)))
    return await _of_node(request, node_id, 201)


@router.delete("/node/{uuid}/tags/{name}/")
async def drop_node_tag(request: Request, caller: Caller, uuid: str, name: str) -> Response:
    """Take one tag off a node."""
    context = command(request, caller, None)
    await node_commands.update(context, ident(uuid, "node"), _described(_dropping(name)))
    return nothing(request)


def _adding(body: Any) -> Change:
    return lambda present: added(present, read_tags(body))


def _dropping(name: str) -> Change:
    def change(present: Names) -> Names:
        if name not in present:
            raise NotFound(f"there is no tag {name[:80]} on it")
        return tuple(each for each in present if each != name)

    return change


def _changed(change: Change) -> Callable[[Service], tuple[ServiceSpec, int | None, tuple[AskedLink, ...] | None]]:
    return lambda present: (replace(present.spec, tags=change(present.spec.tags)), None, None)


def _described(change: Change) -> Callable[[Node], Description]:
    return lambda present: Description(tags=change(present.tags), nickname=present.nickname)


async def _of_service(request: Request, caller: Caller, service_id: UUID, status: int) -> Response:
    async with database(request).read() as conn:
        service = await services.get(conn, caller.id, service_id)
    return _listed(request, service.spec.tags, status)


async def _of_node(request: Request, node_id: UUID, status: int) -> Response:
    async with database(request).read() as conn:
        node = await nodes.get(conn, node_id)
    return _listed(request, node.tags, status)


def _listed(request: Request, names: Names, status: int) -> Response:
    params = request.query_params.multi_items()
    query = read_query(params, {"name": TAGS["name"]})
    found, total = page_of(tags_out(names), query)
    return reply(request, envelope(request.url.path, params, query, total, found), status)
