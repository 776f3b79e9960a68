"""A trigger is called: its uuid is the secret, so nobody has logged in (spec 4.10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from app.commands.services import Context, call_trigger, refusals_recorded, verb_name
from domain.access import Role, at_most
from domain.action import Request
from domain.errors import NotFound
from domain.service import Queued, Verb
from domain.trigger import TriggerOperation
from orchestrator.store import accounts, triggers
from orchestrator.store.db import Database


async def caller_of(
    db: Database, service_id: UUID, trigger_id: UUID
) -> tuple[accounts.Account, Role, TriggerOperation]:
    """On whose behalf a call is made, that user's role, and what the call does. Raises NotFound."""
    async with db.read() as conn:
        trigger = await triggers.get_by_id(conn, service_id, trigger_id)
        account, role = await accounts.of_service(conn, service_id)
    if not at_most(Role.MEMBER, role):
        raise NotFound("there is no such trigger")  # as for any other that does nothing: the address is a secret
    return account, role, trigger.operation


async def call(
    context: Context,
    service_id: UUID,
    operation: TriggerOperation,
    read: Callable[[], tuple[int, str]],
    *,
    most_containers: int,
) -> None:
    """Begin the trigger's operation, or put it behind the one under way. Raises NotFound, NotAllowed, Invalid.

    `read` gives the number of containers, and the body. The action does not hold the path: it is the secret.
    """
    scaling = operation is TriggerOperation.SCALEUP
    verb = Verb.SCALE if scaling else Verb.REDEPLOY
    origin: Request = replace(context.request, path=f"/api/v1/service/{service_id}/trigger/", is_user_action=False)
    context = replace(context, request=origin)
    async with refusals_recorded(context, verb_name(verb), service_id):
        amount, body = read()
    queued = Queued(
        verb=verb,
        action=context.action_id,
        amount=amount if scaling else 0,
        trigger_body=body,
    )
    await call_trigger(context, service_id, queued, most_containers=most_containers)
