"""Cancel what is under way, and repeat what has ended (spec 4.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import UUID

from app.commands import containers as container_commands
from app.commands import services as service_commands
from app.commands import stacks as stack_commands
from app.commands.services import Context, refusals_recorded
from domain.action import ENDED, Action, can_be_canceled, can_be_retried
from domain.container import Want
from domain.errors import NotAllowed, NotFound
from domain.orders import never_ran
from domain.service import Service, Verb, cancel, counts, service_state
from orchestrator.publish import publish
from orchestrator.store import actions, containers, drains, nodes, services, wake
from orchestrator.store.db import Connection, now

_KINDS: dict[str, Callable[[Context, UUID, Verb], Awaitable[object]]] = {
    "Service": service_commands.run,
    "Container": container_commands.run,
    "Stack": stack_commands.run,
}


def action_uri(action_id: UUID) -> str:
    """The resource path of an action."""
    return f"/api/v1/action/{action_id}/"


async def cancel_action(context: Context, action_id: UUID) -> None:
    """End what the action waits for; what was done stays done. Raises NotFound, NotAllowed.

    Containers of a cancelled deployment that never ran are taken away again. All of it is one transaction:
    the workers have let go when it commits, so that nobody sees `Canceling` for long.
    """
    async with context.db.read() as conn:
        seen = await actions.get(conn, context.account.id, action_id)
        concerned = await _services_of(conn, context, seen)
    uri = action_uri(action_id)
    recording = refusals_recorded(context, "Action Cancel", object_uri=uri)
    async with recording, context.db.transaction() as conn:
        for service_id in sorted(concerned):
            await services.lock(conn, context.account.id, service_id)
        # A node before the action, as passes have them.
        drained = await drains.let_go(conn, action_id)
        action = await actions.lock(conn, context.account.id, action_id)
        if action.state in ENDED:
            raise NotAllowed(f"the action has ended ({action.state.value}): there is nothing to cancel")
        if not can_be_canceled(action):
            raise NotAllowed("a termination cannot be canceled: its containers and their data are being removed")
        if drained is not None and not context.administers:
            raise NotAllowed("a drain is canceled by an admin, as it is begun")
        at = await now(conn)
        ended: set[UUID] = {action_id}
        if drained is not None:
            await wake.waiting_services(conn)
        for service_id in sorted(concerned):
            ended |= await _let_go(conn, context, service_id, action_id)
        await actions.log(conn, [(each, "canceled by the user") for each in sorted(ended)])
        await actions.cancel(conn, action_id, sorted(ended), at)
        await service_commands.audited(conn, replace(context, action_id=action_id), "Action Cancel", uri, begun=True)


async def _services_of(conn: Connection, context: Context, action: Action) -> Sequence[UUID]:
    if action.object_uri.startswith("/api/v1/stack/"):
        stack_id = UUID(action.object_uri.strip("/").rsplit("/", 1)[-1])
        return [service.id for service in await services.of_stack(conn, stack_id)]
    return [action.service_id] if action.service_id else []


async def _let_go(conn: Connection, context: Context, service_id: UUID, action_id: UUID) -> set[UUID]:
    """Take the action off the service and its containers; the actions that end with it."""
    service = await services.get(conn, context.account.id, service_id)
    rows = await containers.open_rows(conn, [service_id])
    ended: set[UUID] = set()
    changed = []
    for row in rows:
        if row.order is not None and action_id in row.order.actions:
            ended |= set(row.order.actions)
            changed.append(replace(row, order=None))
    if _concerns(service, action_id):
        service, more = cancel(service, action_id)
        ended |= set(more)
        if service.operation is None:
            await nodes.withdraw_image_requests(conn, service_id)
            changed += [
                replace(row, want=Want.GONE) for row in rows if never_ran(row) and row not in changed and not row.order
            ]
    if changed:
        await publish(conn, changed)
    by_id = {row.id: row for row in rows} | {row.id: row for row in changed}
    await services.save(conn, service, service_state(service, counts(list(by_id.values()))))
    await wake.service(conn, service_id)
    return ended


def _concerns(service: Service, action_id: UUID) -> bool:
    under_way = service.operation is not None and action_id in service.operation.actions
    return under_way or any(action_id in each.actions for each in service.queued)


async def retry_action(context: Context, action_id: UUID) -> None:
    """Do the operation again, as a new action. Raises NotFound, NotAllowed."""
    async with context.db.read() as conn:
        action = await actions.get(conn, context.account.id, action_id)
    async with _retrying(context, action_id):
        if action.state not in ENDED:
            raise NotAllowed(f"the action is still {action.state.value}: wait for its end, or cancel it")
        if not can_be_retried(action):
            raise NotAllowed(
                f"{action.verb} cannot be repeated from its record, which keeps no values: send the request again"
            )
    kind, verb = action.verb.split(" ", 1)
    object_id = UUID(action.object_uri.strip("/").rsplit("/", 1)[-1])
    try:
        # What this refuses is on record as the operation's own.
        await _KINDS[kind](context, object_id, Verb(verb.lower()))
    except NotFound:
        async with _retrying(context, action_id):
            raise NotAllowed(f"what it was done to is gone: {action.object_uri}") from None


def _retrying(context: Context, action_id: UUID) -> AbstractAsyncContextManager[None]:
    return refusals_recorded(context, "Action Retry", object_uri=action_uri(action_id))
