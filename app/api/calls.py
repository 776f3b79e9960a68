"""`POST .../trigger/<t>/call/`: the one operation without credentials, since the address is the secret (spec 4.10)."""

from __future__ import annotations

import time
from collections import OrderedDict
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api.deps import command, database, ident, settings
from app.api.once import begin
from app.api.responses import reply
from app.api.security import FailedLogins, Refused
from app.commands import calls as commands
from app.wire.reading import Reading
from app.wire.resource_output import trigger_out
from domain.access import Via
from domain.errors import Invalid, NotFound
from orchestrator.store import triggers
from orchestrator.store.audit import Entry

router = APIRouter(prefix="/api/v1/service")
CALLS, WINDOW = 30, 60.0
MOST_BODY = 64 * 1024
_REMEMBERED = 4096


class Calls:
    """Calls by trigger: beyond thirty a minute the answer is 429."""

    def __init__(self) -> None:
        self._calls: OrderedDict[UUID, list[float]] = OrderedDict()

    def count(self, trigger: UUID) -> int | None:
        """Note a call; returns the seconds to wait when there were too many, else None."""
        now = time.monotonic()
        recent = [at for at in self._calls.pop(trigger, []) if now - at < WINDOW]
        wait = int(WINDOW - (now - recent[0])) + 1 if len(recent) >= CALLS else None
        if wait is None:
            recent.append(now)
        self._calls[trigger] = recent
        while len(self._calls) > _REMEMBERED:
            self._calls.popitem(last=False)
        return wait


@router.post("/{uuid}/trigger/{trigger}/call/")
async def call_trigger(request: Request, uuid: str, trigger: str) -> Response:
    """Redeploy, or add one container; the body becomes TUTUM_TRIGGER_BODY of the new containers."""
    return await _call(request, uuid, trigger, 1)


@router.post("/{uuid}/trigger/{trigger}/call/{count}/")
async def call_trigger_for(request: Request, uuid: str, trigger: str, count: str) -> Response:
    """Redeploy, or add that many containers."""
    reading = Reading()
    amount = reading.integer(count, "count", low=1, high=settings(request).max_containers)
    if amount is None:
        raise Invalid(reading.errors)
    return await _call(request, uuid, trigger, amount)


async def _call(request: Request, uuid: str, trigger: str, amount: int) -> Response:
    service_id, trigger_id = ident(uuid, "service"), ident(trigger, "trigger")
    try:
        account, role, operation = await commands.caller_of(database(request), service_id, trigger_id)
    except NotFound:
        logins: FailedLogins = request.app.state.failed_logins
        if logins.count(request.client.host if request.client else "") is not None:
            raise Refused(429, "Too many wrong addresses.", "throttled", {"Retry-After": "60"}) from None
        raise
    entry: Entry = request.scope["tutela.audit"]
    entry.account_id, entry.username, entry.via = account.id, account.username, Via.TRIGGER
    await begin(request, account.id, "")
    calls: Calls = request.app.state.calls
    wait = calls.count(trigger_id)
    if wait is not None:
        text = f"This trigger was called more than {CALLS} times in a minute: wait {wait} seconds."
        raise Refused(429, text, "throttled", {"Retry-After": str(wait)})
    raw = await request.body()
    if len(raw) > MOST_BODY:
        raise Invalid({"body": f"must have at most {MOST_BODY} bytes"})
    await commands.call(
        command(request, account, None, owner=role),
        service_id,
        operation,
        amount=amount,
        body=raw.decode("utf-8", "replace").replace("\x00", ""),
        most_containers=settings(request).max_containers,
    )
    async with database(request).read() as conn:
        return reply(request, trigger_out(await triggers.get_by_id(conn, service_id, trigger_id)), 202)
