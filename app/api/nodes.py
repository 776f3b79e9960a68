"""/api/v1/node/ (spec 4.5). Nodes register themselves, so none is created here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.asking import asked, asked_flag
from app.api.deps import Caller, command, database, ident, settings
from app.api.responses import reply
from app.api.routing import Operation
from app.commands import nodes as commands
from app.commands.nodes import Description, node_uri
from app.settings import Settings
from app.wire.lists import NODES, envelope, read_query
from app.wire.others import node_out
from app.wire.resource_input import read_node
from domain.node import Node
from orchestrator.store import nodes
from orchestrator.store.accounts import Account

router = APIRouter(prefix="/api/v1/node", route_class=Operation)


@router.get("/")
async def list_nodes(request: Request, caller: Caller) -> Response:
    """The hosts."""
    params = request.query_params.multi_items()
    query = read_query(params, NODES)
    async with database(request).read() as conn:
        found, total = await nodes.page(
            conn,
            query.filters,
            query.limit,
            query.offset,
            account=caller.username,
            domain=settings(request).public_domain,
        )
        live = await nodes.live_counts(conn, [node.id for node in found])
    objects = [_shown(request, caller, node, live) for node in found]
    return reply(request, envelope(request.url.path, params, query, total, objects))


@router.get("/{uuid}/")
async def get_node(request: Request, caller: Caller, uuid: str) -> Response:
    """One host."""
    return await node_shown(request, caller, ident(uuid, "node"), 200)


@router.patch("/{uuid}/")
async def update_node(request: Request, caller: Caller, uuid: str) -> Response:
    """Set tags and nickname."""
    node_id = ident(uuid, "node")
    body, context = await asked(request, caller, "Node Update", node_uri(node_id))

    def read(present: Node) -> Description:
        given = read_node(body)
        return Description(
            tags=present.tags if given.tags is None else given.tags,
            nickname=present.nickname if given.nickname is None else given.nickname or None,
        )

    await commands.update(context, node_id, read)
    return await node_shown(request, caller, node_id, 200)


@router.post("/{uuid}/health-check/")
async def check_node(request: Request, caller: Caller, uuid: str) -> Response:
    """Have the node's agent report."""
    node_id = ident(uuid, "node")
    await commands.health_check(command(request, caller, None), node_id)
    return await node_shown(request, caller, node_id, 202)


@router.post("/{uuid}/deploy/")
async def deploy_node(request: Request, caller: Caller, uuid: str) -> Response:
    """Refused: for nodes of a cloud."""
    node_id = ident(uuid, "node")
    await commands.refuse_deploy(command(request, caller, None), node_id)


@router.post("/{uuid}/docker-upgrade/")
async def upgrade_node(request: Request, caller: Caller, uuid: str) -> Response:
    """Refused: the engine is the host's."""
    node_id = ident(uuid, "node")
    await commands.refuse_upgrade(command(request, caller, None), node_id)


@router.delete("/{uuid}/")
async def terminate_node(request: Request, caller: Caller, uuid: str) -> Response:
    """Take an empty node out; with `force=true` also one that will not come back."""
    node_id = ident(uuid, "node")
    context = command(request, caller, None)
    force = await asked_flag(request, context, commands.TERMINATE, node_uri(node_id), "force", default=False)
    await commands.terminate(context, node_id, own_name=own_name(settings(request)), force=force)
    return await node_shown(request, caller, node_id, 202)


def own_name(config: Settings) -> str | None:
    """The name of the node whose agent this process runs."""
    return config.node_name if "agent" in config.role_set else None


async def node_shown(request: Request, caller: Account, node_id: UUID, status: int) -> Response:
    """The answer that shows the node. Raises NotFound."""
    async with database(request).read() as conn:
        node = await nodes.get(conn, node_id)
        live = await nodes.live_counts(conn, [node.id])
    return reply(request, _shown(request, caller, node, live), status)


def _shown(request: Request, caller: Account, node: Node, live: Mapping[UUID, int]) -> dict[str, Any]:
    domain = settings(request).public_domain
    return node_out(node, containers=live.get(node.id, 0), account=caller.username, domain=domain)
