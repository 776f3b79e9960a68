"""Operations on one container: start, stop, redeploy, terminate (spec 4.1)."""

from __future__ import annotations

from uuid import UUID

from app.commands import policy
from app.commands.services import DEPLOYING, Context, open_action, refusals_recorded
from domain.orders import order
from domain.service import Effect, Verb, counts, service_state
from orchestrator.publish import publish
from orchestrator.store import containers, mounts, services, wake
from orchestrator.store.db import now


def container_uri(container_id: UUID) -> str:
    """The resource path of a container."""
    return f"/api/v1/container/{container_id}/"


async def run(context: Context, container_id: UUID, verb: Verb, *, reuse_volumes: bool = True) -> None:
    """Begin the operation on the container. Raises NotFound, NotAllowed."""
    name = f"Container {verb.value.capitalize()}"
    async with context.db.read() as conn:
        found = await containers.get(conn, context.account.id, container_id)
    recording = refusals_recorded(context, name, found.service_id, container_uri(container_id))
    async with recording, context.db.transaction() as conn:
        service = await services.lock(conn, context.account.id, found.service_id)
        row = await containers.get(conn, context.account.id, container_id)
        at = await now(conn)
        if verb in DEPLOYING:
            await policy.check_again(conn, context.account.id, service.spec, context.owner_may)
        service, row = order(service, row, verb, context.action_id, at, reuse_volumes=reuse_volumes)
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
