"""/api/v1/admin/node/: what operators do with hosts beyond the Tutum API (decision 16)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.asking import asked
from app.api.deps import Caller, command, ident, settings
from app.api.nodes import node_shown, own_name
from app.api.routing import Operation
from app.commands import nodes as commands
from app.commands.nodes import Attributes, node_uri
from app.commands.services import refusals_recorded
from app.wire.resource_input import read_admin_node
from domain.quarantine import Word

router = APIRouter(prefix="/api/v1/admin/node", route_class=Operation)


@router.patch("/{uuid}/")
async def administer_node(request: Request, caller: Caller, uuid: str) -> Response:
    """Rename it, or say where it can be reached."""
    node_id = ident(uuid, "node")
    body, context = await asked(request, caller, "Node Update", node_uri(node_id))
    async with refusals_recorded(context, "Node Update", None, node_uri(node_id)):
        given = read_admin_node(body)
    wanted = Attributes(name=given.name, public_ip=given.public_ip)
    await commands.administer(context, node_id, wanted, own_name=own_name(settings(request)))
    return await node_shown(request, caller, node_id, 200)


@router.post("/{uuid}/cordon/")
async def cordon_node(request: Request, caller: Caller, uuid: str) -> Response:
    """It takes no new containers; those on it stay."""
    node_id = ident(uuid, "node")
    await commands.cordon(command(request, caller, None), node_id, cordoned=True)
    return await node_shown(request, caller, node_id, 202)


@router.post("/{uuid}/uncordon/")
async def uncordon_node(request: Request, caller: Caller, uuid: str) -> Response:
    """It takes containers again; a drain under way ends."""
    node_id = ident(uuid, "node")
    await commands.cordon(command(request, caller, None), node_id, cordoned=False)
    return await node_shown(request, caller, node_id, 202)


@router.post("/{uuid}/drain/")
async def drain_node(request: Request, caller: Caller, uuid: str) -> Response:
    """Cordon it and move its containers away; the action ends when nothing is left that can be moved."""
    node_id = ident(uuid, "node")
    await commands.drain(command(request, caller, None), node_id)
    return await node_shown(request, caller, node_id, 202)


@router.post("/{uuid}/release/")
async def release_node(request: Request, caller: Caller, uuid: str) -> Response:
    """What nothing asks for on a quarantined node is removed."""
    node_id = ident(uuid, "node")
    await commands.release(command(request, caller, None), node_id, Word.REMOVE)
    return await node_shown(request, caller, node_id, 202)


@router.post("/{uuid}/keep/")
async def keep_node(request: Request, caller: Caller, uuid: str) -> Response:
    """What nothing asks for on a quarantined node stays as it is, without Tutela."""
    node_id = ident(uuid, "node")
    await commands.release(command(request, caller, None), node_id, Word.KEEP)
    return await node_shown(request, caller, node_id, 202)


@router.post("/{uuid}/accept-engine/")
async def accept_engine(request: Request, caller: Caller, uuid: str) -> Response:
    """The engine that a quarantined node has now is its own; its containers are made anew there."""
    node_id = ident(uuid, "node")
    await commands.accept_engine(command(request, caller, None), node_id)
    return await node_shown(request, caller, node_id, 202)
