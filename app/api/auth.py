"""/api/v1/auth/: who one is, and one's password (spec 1.4)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.asking import asked
from app.api.deps import Caller, database, who
from app.api.responses import reply
from app.api.routing import Operation
from app.api.security import ASK_FOR_KEY, Refused
from app.commands import accounts as commands
from app.commands.services import refusals_recorded
from app.wire.lists import Query, envelope
from app.wire.resource_input import read_password
from domain.access import Role
from domain.errors import NotAllowed

router = APIRouter(prefix="/api/v1/auth", route_class=Operation)


@router.get("/")
async def who_am_i(request: Request, caller: Caller) -> Response:
    """The caller's user name, and a key: the one that it used, or for a password the one of that password."""
    key = request.state.key or await commands.login_key(
        database(request), request.app.state.secrets, caller, who(request).password_hash or ""
    )
    if key is None:
        raise Refused(401, "The password was changed just now: use the new one.", "unauthorized", ASK_FOR_KEY)
    query = Query(filters=(), limit=25, offset=0)
    return reply(request, envelope(request.url.path, [], query, 1, [{"username": caller.username, "key": key}]))


@router.post("/password/")
async def set_password(request: Request, caller: Caller) -> Response:
    """Set one's own password, or as an admin that of `username`; who is logged in by the old one is logged out."""
    body, context = await asked(request, caller, "Account Update", commands.AUTH_URI)
    async with refusals_recorded(context, "Account Update", None, commands.AUTH_URI):
        username, password = read_password(body)
        present = who(request)
        if present.role is not present.owner_role:
            raise NotAllowed("a key of less than its owner's role sets no password: with that one could do more")
    await commands.set_password(context, username or caller.username, password, anybodys=present.role is Role.ADMIN)
    return reply(request, {"username": username or caller.username})
