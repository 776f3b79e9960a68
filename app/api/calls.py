"""`POST .../trigger/<t>/call/`: the one operation without credentials, since the address is the secret (spec 4.10)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import command, database, ident, settings
from app.api.once import begin
from app.api.responses import reply
from app.api.routing import Operation
from app.api.security import limits, place, throttled
from app.commands import calls as commands
from app.wire.reading import Reading
from app.wire.resource_output import trigger_out
from domain.access import Via
from domain.errors import Invalid, NotFound
from orchestrator.store import triggers
from orchestrator.store.audit import Entry

router = APIRouter(prefix="/api/v1/service", route_class=Operation)
MOST_BODY = 64 * 1024


@router.post("/{uuid}/trigger/{trigger}/call/")
async def call_trigger(request: Request, uuid: str, trigger: str) -> Response:
    """Redeploy, or add one container; the body becomes TUTUM_TRIGGER_BODY of the new containers."""
    return await _call(request, uuid, trigger, "1")


@router.post("/{uuid}/trigger/{trigger}/call/{count}/")
async def call_trigger_for(request: Request, uuid: str, trigger: str, count: str) -> Response:
    """Redeploy, or add that many containers."""
    return await _call(request, uuid, trigger, count)


async def _call(request: Request, uuid: str, trigger: str, count: str) -> Response:
    service_id, trigger_id = ident(uuid, "service"), ident(trigger, "trigger")
    try:
        account, role, operation = await commands.caller_of(database(request), service_id, trigger_id)
    except NotFound:
        throttled(limits(request).failed.take(place(request)), "wrong addresses from here")
        raise
    entry: Entry = request.scope["tutela.audit"]
    entry.account_id, entry.username, entry.via = account.id, account.username, Via.TRIGGER
    throttled(limits(request).callers.take(place(request)), "calls of triggers from this address")
    throttled(limits(request).triggers.take(trigger_id), "calls of this trigger")
    await begin(request, account.id, "")
    raw = await request.body()
    most = settings(request).max_containers

    def read() -> tuple[int, str]:
        reading = Reading()
        amount = reading.integer(count, "count", low=1, high=most)
        if len(raw) > MOST_BODY:
            reading.fail("body", f"must have at most {MOST_BODY} bytes")
        if amount is None or reading.errors:
            raise Invalid(reading.errors)
        return amount, raw.decode("utf-8", "replace").replace("\x00", "")

    await commands.call(
        command(request, account, None, owner=role),
        service_id,
        operation,
        read,
        most_containers=most,
    )
    async with database(request).read() as conn:
        return reply(request, trigger_out(await triggers.get_by_id(conn, service_id, trigger_id)), 202)
