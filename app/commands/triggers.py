"""Make and take away the triggers of a service (spec 4.10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from app.commands.recording import recorded
from app.commands.services import SERVICES_URI, Context
from domain.errors import Invalid
from domain.service import ServiceWant
from domain.trigger import Trigger, TriggerOperation
from orchestrator.ids import new_id
from orchestrator.store import services, triggers
from orchestrator.store.db import now

MOST = 100


async def create(
    context: Context, service_id: UUID, read: Callable[[], Sequence[tuple[str | None, TriggerOperation]]]
) -> list[Trigger]:
    """New triggers, named as asked or by their number. Raises NotFound, Invalid."""
    async with recorded(context, "Trigger Create", f"{SERVICES_URI}{service_id}/", service_id) as work:
        service = await services.lock(work.conn, context.account.id, service_id)
        asked = read()
        there = await triggers.count(work.conn, service_id)
        if service.want is ServiceWant.TERMINATED:
            raise Invalid({"service": "is terminated: nothing can trigger it any more"})
        if there + len(asked) > MOST:
            raise Invalid({"triggers": f"must be at most {MOST} for one service"})
        at = await now(work.conn)
        made = []
        for number, (name, operation) in enumerate(asked, start=there + 1):
            trigger = Trigger(
                id=new_id(), service_id=service_id, name=name or f"trigger-{number}", operation=operation, created_at=at
            )
            await triggers.insert(work.conn, trigger)
            made.append(trigger)
    return made


async def delete(context: Context, service_id: UUID, trigger_id: UUID) -> Trigger:
    """Take it away; returns what it was. Raises NotFound."""
    async with recorded(context, "Trigger Delete", f"{SERVICES_URI}{service_id}/", service_id) as work:
        await services.lock(work.conn, context.account.id, service_id)
        trigger = await triggers.get_by_id(work.conn, service_id, trigger_id)
        await triggers.delete(work.conn, trigger_id)
    return trigger
