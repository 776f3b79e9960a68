"""/api/v1/auth/key/ and /api/v1/auth/account/: what everybody administers of itself."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.asking import asked
from app.api.deps import Caller, command, database, ident, who
from app.api.responses import nothing, reply
from app.api.routing import Operation
from app.commands import users as commands
from app.commands.services import refusals_recorded
from app.wire.lists import KEYS, envelope, read_query
from app.wire.users import OWN_KEYS_URI, key_out, read_key, user_out
from orchestrator.store import users
from orchestrator.store.users import ApiKey

router = APIRouter(prefix="/api/v1/auth", route_class=Operation)


@router.get("/account/")
async def own_account(request: Request, caller: Caller) -> Response:
    """One's own user, and what the key that asks may do."""
    present = who(request)
    async with database(request).read() as conn:
        user = await users.get(conn, caller.id)
    shown = user_out(user) | {"resource_uri": request.url.path}
    key = str(present.key_id) if present.key_id else None
    return reply(request, {**shown, "effective_role": present.role.value, "via": present.via.value, "key": key})


@router.get("/key/")
async def list_keys(request: Request, caller: Caller) -> Response:
    """One's own keys, without their secrets."""
    return await keys_listed(request, caller.id, OWN_KEYS_URI)


@router.post("/key/")
async def create_key(request: Request, caller: Caller) -> Response:
    """One more key of one's own, which may do no more than the one that asks; its secret is told once."""
    body, context = await asked(request, caller, "Key Create", OWN_KEYS_URI)
    async with refusals_recorded(context, "Key Create", None, OWN_KEYS_URI):
        wanted = read_key(body)
    by = who(request)
    key, secret = await commands.add_key(
        context, caller.id, wanted, limit=by.role, collection=OWN_KEYS_URI, by=by.key_id
    )
    return made(request, key, secret, OWN_KEYS_URI)


@router.delete("/key/{key}/")
async def revoke_key(request: Request, caller: Caller, key: str) -> Response:
    """End one of one's own keys."""
    context, limit = command(request, caller, None), who(request).role
    await commands.revoke_key(context, caller.id, ident(key, "key"), OWN_KEYS_URI, limit=limit)
    return nothing(request)


async def keys_listed(request: Request, user_id: UUID, collection: str) -> Response:
    """The page of a user's keys that the query asks for. Raises NotFound."""
    params = request.query_params.multi_items()
    query = read_query(params, KEYS)
    async with database(request).read() as conn:
        await users.get(conn, user_id)
        found, total = await users.keys(conn, user_id, query.filters, query.limit, query.offset)
    objects = [key_out(each, collection) for each in found]
    return reply(request, envelope(request.url.path, params, query, total, objects))


def made(request: Request, key: ApiKey, secret: str, collection: str) -> Response:
    """The answer that tells a new key's secret."""
    return reply(request, {**key_out(key, collection), "key": secret}, 201)
