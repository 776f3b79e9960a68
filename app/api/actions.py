"""/api/v1/action/ (spec 4.2)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import Caller, command, database, ident
from app.api.responses import reply
from app.commands import actions as commands
from app.wire.lists import ACTIONS, envelope, read_query
from app.wire.others import action_out
from orchestrator.store import actions

router = APIRouter(prefix="/api/v1/action")


@router.get("/")
async def list_actions(request: Request, caller: Caller) -> Response:
    """Actions, newest first."""
    params = request.query_params.multi_items()
    query = read_query(params, ACTIONS)
    async with database(request).read() as conn:
        found, total = await actions.page(conn, caller.id, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [action_out(each) for each in found]))


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
