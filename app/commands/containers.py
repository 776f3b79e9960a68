"""Operations on one container: start, stop, redeploy, terminate (spec 4.1)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from app.commands import policy
from app.commands.services import DEPLOYING, Context, noting, open_action, refusals_recorded
from domain.action import ActionState
from domain.container import Container
from domain.orders import order
from domain.service import Effect, Verb, counts, service_state
from orchestrator.planning.rest import judge_orders
from orchestrator.planning.steps import FinishOrder
from orchestrator.planning.view import Policy
from orchestrator.publish import publish
from orchestrator.store import actions, containers, mounts, services, wake
from orchestrator.store.db import Connection, now


def container_uri(container_id: UUID) -> str:
    """The resource path of a container."""
    return f"/api/v1/container/{container_id}/"


def verb_name(verb: Verb) -> str:
    """`Container Start`: the wire's name of the action."""
    return f"Container {verb.value.capitalize()}"


async def run(context: Context, container_id: UUID, verb: Verb, *, reuse_volumes: bool = True) -> None:
    """Begin the operation on the container. Raises NotFound, NotAllowed."""
    name, context = verb_name(verb), noting(context, reuse_volumes)
    async with context.db.read() as conn:
        found = await containers.get(conn, context.account.id, container_id)
    recording = refusals_recorded(context, name, found.service_id, container_uri(container_id))
    async with recording, context.db.transaction() as conn:
        service = await services.lock(conn, context.account.id, found.service_id)
        row = await containers.get(conn, context.account.id, container_id)
        at = await now(conn)
        if verb in DEPLOYING:
            await policy.check_again(conn, context.account.id, service.spec, context.owner_may)
        before = row
        service, row = order(service, row, verb, context.action_id, at, reuse_volumes=reuse_volumes)
        await _end_earlier(conn, before, at)
        await open_action(
            conn,
            context,
            verb=name,
            object_uri=container_uri(container_id),
            service_id=service.id,
            effect=Effect.BEGUN,
            at=at,
        )
        await mounts.terminate(conn, row.drop_volumes)
        await publish(conn, [row])
        rows = await containers.open_rows(conn, [service.id])
        await services.save(conn, service, service_state(service, counts(rows)), relinked=False)
        await wake.service(conn, service.id)


async def _end_earlier(conn: Connection, row: Container, at: datetime) -> None:
    """The container's order before this one is done, else no other would be allowed; no pass has said so yet."""
    if row.order is None:
        return
    steps, _ = judge_orders([row], Policy(), at)
    ended = next((step for step in steps if isinstance(step, FinishOrder)), None)
    well = ended is not None and ended.success
    message = ended.message if ended else "another operation on the container followed"
    state = ActionState.SUCCESS if well else ActionState.FAILED
    await actions.end(conn, row.order.actions, state, message, at)
