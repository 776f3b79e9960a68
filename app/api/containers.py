"""/api/v1/container/ (spec 4.1). Containers come only from services, so none is created here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.asking import asked_flag
from app.api.deps import Caller, addresses, command, database, fleet, ident, log_source, settings, visible
from app.api.logs import read_tail
from app.api.responses import reply
from app.api.routing import Operation
from app.commands import containers as commands
from app.wire.container_output import ContainerDetails, container_out
from app.wire.lists import CONTAINERS, envelope, read_query
from app.wire.logs import joined
from domain.container import Container
from domain.node import NodeState
from domain.service import Verb
from orchestrator.store import actions, containers, nodes, services
from orchestrator.store.db import Connection

router = APIRouter(prefix="/api/v1/container", route_class=Operation)


@router.get("/")
async def list_containers(request: Request, caller: Caller) -> Response:
    """Current and recently terminated containers."""
    params = request.query_params.multi_items()
    query = read_query(params, CONTAINERS)
    async with database(request).read() as conn:
        found, total = await containers.page(conn, caller.id, query.filters, query.limit, query.offset)
        objects = await containers_out(conn, request, caller.id, found)
    return reply(request, envelope(request.url.path, params, query, total, objects))


@router.get("/{uuid}/")
async def get_container(request: Request, caller: Caller, uuid: str) -> Response:
    """One container."""
    return await _one(request, caller, ident(uuid, "container"), 200)


@router.get("/{uuid}/logs/")
async def container_logs(request: Request, caller: Caller, uuid: str) -> Response:
    """The container's output."""
    tail = read_tail(request)
    async with database(request).read() as conn:
        row = await containers.get(conn, caller.id, ident(uuid, "container"))
    source = log_source(request)
    lines = await source.logs([row.id], tail) if source else []
    return reply(request, {"logs": joined(lines, None, tail)})


@router.post("/{uuid}/start/")
async def start_container(request: Request, caller: Caller, uuid: str) -> Response:
    """Start a stopped container."""
    return await _operate(request, caller, uuid, Verb.START)


@router.post("/{uuid}/stop/")
async def stop_container(request: Request, caller: Caller, uuid: str) -> Response:
    """Stop a running container; its crash policies do not react to it."""
    return await _operate(request, caller, uuid, Verb.STOP)


@router.post("/{uuid}/redeploy/")
async def redeploy_container(request: Request, caller: Caller, uuid: str) -> Response:
    """Replace the container by one of the present definition, with its index, name and (by default) volumes."""
    return await _operate(request, caller, uuid, Verb.REDEPLOY)


@router.delete("/{uuid}/")
async def terminate_container(request: Request, caller: Caller, uuid: str) -> Response:
    """Remove the container with its data; the service's target stays, and its next operation fills the gap."""
    return await _operate(request, caller, uuid, Verb.TERMINATE)


async def _operate(request: Request, caller: Caller, uuid: str, verb: Verb) -> Response:
    container_id = ident(uuid, "container")
    context, uri = command(request, caller, None), commands.container_uri(container_id)
    reuse = await asked_flag(request, context, commands.verb_name(verb), uri, "reuse_volumes", default=True)
    await commands.run(context, container_id, verb, reuse_volumes=reuse)
    return await _one(request, caller, container_id, 202)


async def _one(request: Request, caller: Caller, container_id: UUID, status: int) -> Response:
    async with database(request).read() as conn:
        row = await containers.get(conn, caller.id, container_id)
        (shown,) = await containers_out(conn, request, caller.id, [row])
    return reply(request, shown, status)


async def containers_out(
    conn: Connection, request: Request, account_id: UUID, found: Sequence[Container]
) -> list[dict[str, Any]]:
    """The representations of containers, in a fixed number of statements."""
    owners = await services.many(conn, account_id, sorted({row.service_id for row in found}))
    targets = sorted({link.to_service for each in owners.values() for link in each.spec.links})
    sequential = sorted(each.id for each in owners.values() if each.spec.sequential_deployment)
    others: dict[UUID, list[Container]] = {}
    for row in await containers.linked(conn, targets, sequential) if targets or sequential else ():
        others.setdefault(row.service_id, []).append(row)
    concerned = {row.node_id for rows in (found, *others.values()) for row in rows}
    hosts = await nodes.around(conn, sorted(concerned))
    present = [node for node in hosts.values() if node.state is not NodeState.TERMINATED]
    there, known = fleet(request, present), addresses(request, present)
    newest = await actions.newest_of_objects(conn, account_id, [commands.container_uri(row.id) for row in found])
    shown = [
        container_out(
            ContainerDetails(
                container=row,
                service=owners[row.service_id],
                others=others,
                actions=newest.get(commands.container_uri(row.id), ()),
                node=hosts.get(row.node_id),
                fleet=there,
                address=known.get(row.node_id, ""),
            ),
            public_domain=settings(request).public_domain,
            host=settings(request).public_host,
        )
        for row in found
    ]
    return visible(request, shown)
