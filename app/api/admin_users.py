"""/api/v1/admin/user/: the users of the installation and their keys."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.asking import asked
from app.api.deps import Caller, command, database, ident
from app.api.keys import keys_listed, made
from app.api.responses import nothing, reply
from app.api.routing import Operation
from app.commands import users as commands
from app.commands.services import refusals_recorded
from app.wire.lists import USERS, envelope, read_query
from app.wire.users import USERS_URI, read_change, read_key, read_user, user_out
from orchestrator.store import users

router = APIRouter(prefix="/api/v1/admin/user", route_class=Operation)


@router.get("/")
async def list_users(request: Request) -> Response:
    """All users."""
    params = request.query_params.multi_items()
    query = read_query(params, USERS)
    async with database(request).read() as conn:
        found, total = await users.page(conn, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [user_out(each) for each in found]))


@router.post("/")
async def create_user(request: Request, caller: Caller) -> Response:
    """A new user, who comes in with the password given or with a key made for it."""
    body, context = await asked(request, caller, "User Create", USERS_URI)
    async with refusals_recorded(context, "User Create", None, USERS_URI):
        wanted = read_user(body)
    return await _one(request, await commands.create(context, wanted), 201)


@router.get("/{uuid}/")
async def get_user(request: Request, uuid: str) -> Response:
    """One user."""
    return await _one(request, ident(uuid, "user"), 200)


@router.patch("/{uuid}/")
async def change_user(request: Request, caller: Caller, uuid: str) -> Response:
    """Give it another role or quota, disable it, enable it."""
    user_id = ident(uuid, "user")
    uri = commands.user_uri(user_id)
    body, context = await asked(request, caller, "User Update", uri)
    async with refusals_recorded(context, "User Update", None, uri):
        wanted = read_change(body)
    await commands.change(context, user_id, wanted)
    return await _one(request, user_id, 200)


@router.delete("/{uuid}/")
async def delete_user(request: Request, caller: Caller, uuid: str) -> Response:
    """Take it away; refused while it has services."""
    await commands.delete(command(request, caller, None), ident(uuid, "user"))
    return nothing(request)


@router.get("/{uuid}/key/")
async def list_keys(request: Request, uuid: str) -> Response:
    """A user's keys, without their secrets."""
    return await keys_listed(request, ident(uuid, "user"), _keys_uri(uuid))


@router.post("/{uuid}/key/")
async def create_key(request: Request, caller: Caller, uuid: str) -> Response:
    """A key for a user; its secret is told once."""
    user_id, collection = ident(uuid, "user"), _keys_uri(uuid)
    body, context = await asked(request, caller, "Key Create", collection)
    async with refusals_recorded(context, "Key Create", None, collection):
        wanted = read_key(body)
    key, secret = await commands.add_key(context, user_id, wanted, limit=None, collection=collection)
    return made(request, key, secret, collection)


@router.delete("/{uuid}/key/{key}/")
async def revoke_key(request: Request, caller: Caller, uuid: str, key: str) -> Response:
    """End a user's key."""
    context = command(request, caller, None)
    await commands.revoke_key(context, ident(uuid, "user"), ident(key, "key"), _keys_uri(uuid))
    return nothing(request)


def _keys_uri(uuid: str) -> str:
    return f"{USERS_URI}{ident(uuid, 'user')}/key/"


async def _one(request: Request, user_id: UUID, status: int) -> Response:
    async with database(request).read() as conn:
        return reply(request, user_out(await users.get(conn, user_id)), status)
