"""Triggers of a service, and the older name of them (spec 4.10). Their calls are not here: those need no account."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.asking import asked
from app.api.deps import Caller, command, database, ident
from app.api.responses import reply
from app.api.routing import Operation
from app.commands import triggers as commands
from app.commands.services import SERVICES_URI
from app.wire.lists import TRIGGERS, Query, envelope, read_query
from app.wire.resource_input import read_triggers
from app.wire.resource_output import trigger_out
from domain.trigger import TriggerOperation
from orchestrator.store import services, triggers

router = APIRouter(prefix="/api/v1/service", route_class=Operation)
_HANDLER = "/{uuid}/webhook/handler"


@router.get("/{uuid}/trigger/")
@router.get(_HANDLER + "/")
async def list_triggers(request: Request, caller: Caller, uuid: str) -> Response:
    """The service's triggers."""
    params = request.query_params.multi_items()
    query = read_query(params, TRIGGERS)
    async with database(request).read() as conn:
        service = await services.get(conn, caller.id, ident(uuid, "service"))
        found, total = await triggers.page(conn, service.id, query.filters, query.limit, query.offset)
    return reply(request, envelope(request.url.path, params, query, total, [trigger_out(each) for each in found]))


@router.post("/{uuid}/trigger/")
@router.post(_HANDLER + "/")
async def create_trigger(request: Request, caller: Caller, uuid: str) -> Response:
    """A new trigger; a list makes several, and its answer is a list."""
    service_id = ident(uuid, "service")
    body, context = await asked(request, caller, "Trigger Create", f"{SERVICES_URI}{service_id}/", service_id)

    def read() -> list[tuple[str | None, TriggerOperation]]:
        return [(each.name, each.operation) for each in read_triggers(body)]

    made = [trigger_out(each) for each in await commands.create(context, service_id, read)]
    answer: Any = made[0]
    if isinstance(body, list):
        answer = envelope(request.url.path, [], Query(filters=(), limit=len(made), offset=0), len(made), made)
    return reply(request, answer, 201)


@router.get("/{uuid}/trigger/{trigger}/")
@router.get(_HANDLER + "/{trigger}/")
async def get_trigger(request: Request, caller: Caller, uuid: str, trigger: str) -> Response:
    """One trigger."""
    async with database(request).read() as conn:
        service = await services.get(conn, caller.id, ident(uuid, "service"))
        found = await triggers.get_by_id(conn, service.id, ident(trigger, "trigger"))
    return reply(request, trigger_out(found))


@router.delete("/{uuid}/trigger/{trigger}/")
@router.delete(_HANDLER + "/{trigger}/")
async def delete_trigger(request: Request, caller: Caller, uuid: str, trigger: str) -> Response:
    """Take it away; the answer is what it was, since Go reads it."""
    context = command(request, caller, None)
    gone = await commands.delete(context, ident(uuid, "service"), ident(trigger, "trigger"))
    return reply(request, trigger_out(gone))
