"""/api/v1/volume/ and /api/v1/volumegroup/, to be read (spec 4.11)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import Caller, database, ident
from app.api.responses import reply
from app.api.routing import Operation
from app.wire.lists import VOLUME_GROUPS, VOLUMES, envelope, read_query
from app.wire.resource_output import volume_group_out, volume_out
from orchestrator.store import volumes

router = APIRouter(prefix="/api/v1", route_class=Operation)


@router.get("/volume/")
async def list_volumes(request: Request, caller: Caller) -> Response:
    """Managed volumes, those that ended within the last hour too."""
    params = request.query_params.multi_items()
    query = read_query(params, VOLUMES)
    async with database(request).read() as conn:
        found, total = await volumes.page(conn, caller.id, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [volume_out(each) for each in found]))


@router.get("/volume/{uuid}/")
async def get_volume(request: Request, caller: Caller, uuid: str) -> Response:
    """One volume."""
    async with database(request).read() as conn:
        return reply(request, volume_out(await volumes.get(conn, caller.id, ident(uuid, "volume"))))


@router.get("/volumegroup/")
async def list_volume_groups(request: Request, caller: Caller) -> Response:
    """The groups: one a mount path of a service."""
    params = request.query_params.multi_items()
    query = read_query(params, VOLUME_GROUPS)
    async with database(request).read() as conn:
        found, total = await volumes.page_of_groups(conn, caller.id, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [volume_group_out(each) for each in found]))


@router.get("/volumegroup/{uuid}/")
async def get_volume_group(request: Request, caller: Caller, uuid: str) -> Response:
    """One volume group."""
    async with database(request).read() as conn:
        return reply(request, volume_group_out(await volumes.get_group(conn, caller.id, ident(uuid, "volume group"))))
