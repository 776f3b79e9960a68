"""What only a cloud has: read as empty, refused to be written with a clear text (spec 4.6, 4.7, 5.7)."""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter, Request, Response

from app.api.asking import asked
from app.api.deps import Caller, command, database, settings
from app.api.responses import reply
from app.api.routing import Operation
from app.commands.services import record_refusal, refusals_recorded
from app.fleet.authority import open_authority
from app.fleet.tokens import TOKEN_URI, make_token
from app.wire.lists import CLOUD, REGISTRIES, envelope, page_of, read_query
from app.wire.resource_output import registry_out
from app.wire.tokens import read_token_request, token_out
from domain.errors import Invalid, NotFound
from orchestrator.store import images

router = APIRouter(prefix="/api/v1", route_class=Operation)
NO_CLOUD = "this installation has no cloud providers; register nodes with a token"


@router.get("/provider/")
@router.get("/region/")
@router.get("/nodetype/")
@router.get("/az/")
@router.get("/nodecluster/")
@router.get("/repository/")
async def list_nothing(request: Request, _caller: Caller) -> Response:
    """There are none."""
    params = request.query_params.multi_items()
    query = read_query(params, CLOUD)
    return reply(request, envelope(request.url.path, params, query, 0, []))


@router.get("/provider/{name:path}/")
@router.get("/region/{name:path}/")
@router.get("/nodetype/{name:path}/")
@router.get("/az/{name:path}/")
@router.get("/nodecluster/{name:path}/")
@router.get("/repository/{name:path}/")
async def get_nothing(request: Request, _caller: Caller, name: str) -> Response:
    """There is no such thing."""
    kind = request.url.path.split("/")[3]
    raise NotFound(f"there is no {kind} {name[:80]}")


@router.post("/nodecluster/")
async def create_cluster(request: Request, caller: Caller) -> Response:
    """Refused: nodes are the operator's own."""
    await _refuse(request, caller, "Node Cluster Create", "/api/v1/nodecluster/", Invalid({"provider": NO_CLOUD}))


@router.post("/token/")
async def create_token(request: Request, caller: Caller) -> Response:
    """A token with which a host joins; told once."""
    body, context = await asked(request, caller, "Token Create", TOKEN_URI)
    async with refusals_recorded(context, "Token Create", None, TOKEN_URI):
        given = read_token_request(body)
    authority = await open_authority(database(request), request.app.state.secrets)
    made = await make_token(context, authority, uses=given.uses, seconds=given.expires_in)
    return reply(request, token_out(made.token, made.expires_at, made.uses, settings(request).agents_door), 201)


async def _refuse(request: Request, caller: Caller, verb: str, object_uri: str, error: Invalid) -> NoReturn:
    await record_refusal(command(request, caller, None), verb, str(error), None, object_uri)
    raise error


@router.get("/registry/")
async def list_registries(request: Request, caller: Caller) -> Response:
    """The registries that images of the account come from."""
    params = request.query_params.multi_items()
    query = read_query(params, REGISTRIES)
    async with database(request).read() as conn:
        hosts = await images.registries(conn, caller.id)
    found, total = page_of([registry_out(host) for host in hosts], query)
    return reply(request, envelope(request.url.path, params, query, total, found))


@router.get("/registry/{host}/")
async def get_registry(request: Request, caller: Caller, host: str) -> Response:
    """One registry by its host, or by the uuid that the list gives it."""
    async with database(request).read() as conn:
        hosts = await images.registries(conn, caller.id)
    for shown in map(registry_out, hosts):
        if host in {shown["host"], shown["uuid"]}:
            return reply(request, shown)
    raise NotFound(f"there is no registry {host[:80]}")
