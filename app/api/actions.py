"""/api/v1/action/ (spec 4.2)."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from app.api.deps import Caller, command, database, flag, ident
from app.api.responses import reply
from app.api.routing import Operation
from app.commands import actions as commands
from app.wire.lists import ACTIONS, Query, envelope, read_query
from app.wire.others import action_out
from orchestrator.store import actions, related
from orchestrator.store.accounts import Account
from orchestrator.store.db import Connection

router = APIRouter(prefix="/api/v1/action", route_class=Operation)


@router.get("/")
async def list_actions(request: Request, caller: Caller) -> Response:
    """Actions, newest first."""
    params = request.query_params.multi_items()
    query = read_query(params, ACTIONS)
    wider = flag(request, "include_related", default=False)
    async with database(request).read() as conn:
        if wider:
            query = await _with_relatives(conn, caller, query)
        found, total = await actions.page(conn, caller.id, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [action_out(each) for each in found]))


async def _with_relatives(conn: Connection, caller: Account, query: Query) -> Query:
    """The same request, over the actions of the object's relatives too (spec 4.2)."""
    filters = []
    for each in query.filters:
        if each.field == "object":
            uris = [str(one) for one in each.value] if isinstance(each.value, list) else [str(each.value)]
            each = replace(each, operator="in", value=await related.uris(conn, caller.id, uris))
        filters.append(each)
    return replace(query, filters=tuple(filters))


@router.get("/{uuid}/")
async def get_action(request: Request, caller: Caller, uuid: str) -> Response:
    """One action."""
    async with database(request).read() as conn:
        action = await actions.get(conn, caller.id, ident(uuid, "action"))
    return reply(request, action_out(action))


@router.post("/{uuid}/cancel/")
async def cancel_action(request: Request, caller: Caller, uuid: str) -> Response:
    """Let go of what is under way; what was done stays done."""
    action_id = ident(uuid, "action")
    await commands.cancel_action(command(request, caller, None), action_id)
    request.state.action_id = action_id
    async with database(request).read() as conn:
        return reply(request, action_out(await actions.get(conn, caller.id, action_id)), 202)


@router.post("/{uuid}/retry/")
async def retry_action(request: Request, caller: Caller, uuid: str) -> Response:
    """Do it again; the answer is the new action."""
    context = command(request, caller, None)
    await commands.retry_action(context, ident(uuid, "action"))
    async with database(request).read() as conn:
        return reply(request, action_out(await actions.get(conn, caller.id, context.action_id)), 202)
