"""Create, operate, update and terminate a service: record what is wanted, open an action, wake the reconciler.

All of it commits together, and the answer is given after the commit: what was accepted is never lost (I1).
A refused request leaves a Failed action, so that its caller can ask why later (spec 1.11).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid4

from domain.action import Action, ActionState, Request
from domain.errors import DomainError, Invalid, NotFound
from domain.image import Reference, parse
from domain.service import (
    Accepted,
    Counts,
    Effect,
    Service,
    ServiceState,
    ServiceWant,
    Verb,
    counts,
    operate,
    service_state,
)
from domain.service import change as apply_change
from domain.spec import Link, ServiceSpec
from orchestrator.store import actions, containers, services, wake
from orchestrator.store.accounts import Account
from orchestrator.store.db import Connection, Database, now

SERVICES_URI = "/api/v1/service/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Who asks for what, and where it is recorded."""

    db: Database
    account: Account
    request: Request
    action_id: UUID
    network_pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRequest:
    """A link to be resolved: the target as the user named it, the link's name (None: the target's), its path."""

    to_service: str
    name: str | None
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An accepted request."""

    service_id: UUID
    effect: Effect


Spec = Callable[[Service], tuple[ServiceSpec, int | None, Sequence[LinkRequest] | None]]


def verb_name(verb: Verb) -> str:
    """`Service Start`: the wire's name of the action."""
    return f"Service {verb.value.capitalize()}"


@asynccontextmanager
async def refusals_recorded(context: Context, verb: str, service_id: UUID | None = None) -> AsyncIterator[None]:
    """A refusal inside the block becomes a Failed action, and goes on to the caller."""
    try:
        yield
    except NotFound:
        raise
    except DomainError as refusal:
        await record_refusal(context, verb, str(refusal), service_id)
        raise


async def record_refusal(context: Context, verb: str, message: str, service_id: UUID | None) -> None:
    """A Failed action for a request that changed nothing, in a transaction of its own."""
    async with context.db.transaction() as conn:
        at = await now(conn)
        await actions.insert(
            conn,
            Action(
                id=context.action_id,
                account_id=context.account.id,
                service_id=service_id,
                verb=verb,
                object_uri=f"{SERVICES_URI}{service_id}/" if service_id else SERVICES_URI,
                state=ActionState.FAILED,
                request=context.request,
                message=message[:2000],
                start_date=at,
                end_date=at,
            ),
        )


async def create(context: Context, *, name: str, target: int, spec: ServiceSpec, links: Sequence[LinkRequest]) -> Done:
    """A new service; nothing is deployed. Raises Invalid for a link that leads nowhere, Conflict on a lost race."""
    async with refusals_recorded(context, "Service Create"), context.db.transaction() as conn:
        at = await now(conn)
        service = Service(
            id=uuid4(),
            account_id=context.account.id,
            account=context.account.username,
            name=name,
            unique_name=await services.free_unique_name(conn, context.account.id, name),
            spec=replace(spec, links=await _resolve(conn, context.account.id, links, own=None)),
            target=target,
            want=ServiceWant.INIT,
            subnet=await services.next_subnet(conn, context.network_pool),
            created_at=at,
        )
        await services.insert(conn, service, ServiceState.INIT)
        await _open(conn, context, service.id, "Service Create", Effect.STORED, at)
    return Done(service_id=service.id, effect=Effect.STORED)


async def run(context: Context, service_id: UUID, verb: Verb) -> Done:
    """Start, stop, scale, redeploy or terminate. Raises NotFound, NotAllowed."""

    def rule(service: Service, count: Counts, at: datetime) -> Accepted:
        return operate(service, count, verb, context.action_id, at)

    return await _change(context, service_id, verb, rule)


async def redeploy_tag(context: Context, service_id: UUID, tag: str) -> Done:
    """Change the image's tag, then redeploy. Raises NotFound, NotAllowed, Invalid."""

    def rule(service: Service, count: Counts, at: datetime) -> Accepted:
        present = parse(service.spec.image)
        wanted = parse(str(Reference(name=present.name, tag=tag, digest=None))) if present else None
        if wanted is None:
            raise Invalid({"tag": "is no image tag"})
        accepted = operate(service, count, Verb.REDEPLOY, context.action_id, at)
        spec = replace(service.spec, image=str(wanted))
        return replace(accepted, service=replace(accepted.service, spec=spec))

    return await _change(context, service_id, Verb.REDEPLOY, rule)


async def update(context: Context, service_id: UUID, read: Spec) -> Done:
    """Apply a PATCH: `read` gives the new definition from the present one. Raises NotFound, NotAllowed, Invalid."""
    recording = refusals_recorded(context, "Service Update", service_id)
    async with recording, context.db.transaction() as conn:
        service, count, at = await _locked(conn, context, service_id)
        spec, target, asked = read(service)
        if asked is not None:
            spec = replace(spec, links=await _resolve(conn, context.account.id, asked, own=service_id))
        accepted = apply_change(
            service,
            count,
            spec=spec,
            target=service.target if target is None else target,
            action=context.action_id,
            now=at,
        )
        await _accept(conn, context, accepted, count, "Service Update", at)
    return Done(service_id=service_id, effect=accepted.effect)


async def _change(
    context: Context, service_id: UUID, verb: Verb, rule: Callable[[Service, Counts, datetime], Accepted]
) -> Done:
    terminating = verb is Verb.TERMINATE
    recording = refusals_recorded(context, verb_name(verb), service_id)
    async with recording, context.db.transaction() as conn:
        if terminating:
            await services.lock_with_clients(conn, context.account.id, service_id)
        service, count, at = await _locked(conn, context, service_id)
        accepted = rule(service, count, at)
        await _accept(conn, context, accepted, count, verb_name(verb), at)
        if terminating:
            await services.unlink(conn, service_id)
    return Done(service_id=service_id, effect=accepted.effect)


async def _locked(conn: Connection, context: Context, service_id: UUID) -> tuple[Service, Counts, datetime]:
    service = await services.lock(conn, context.account.id, service_id)
    rows = await containers.open_rows(conn, [service_id])
    return service, counts(rows), await now(conn)


async def _accept(
    conn: Connection, context: Context, accepted: Accepted, count: Counts, verb: str, at: datetime
) -> None:
    await _open(conn, context, accepted.service.id, verb, accepted.effect, at)
    if accepted.effect is not Effect.NOTHING:
        await services.save(conn, accepted.service, service_state(accepted.service, count))
        await wake.service(conn, accepted.service.id)


async def _open(conn: Connection, context: Context, service_id: UUID, verb: str, effect: Effect, at: datetime) -> None:
    begun = effect is Effect.BEGUN
    await actions.insert(
        conn,
        Action(
            id=context.action_id,
            account_id=context.account.id,
            service_id=service_id,
            verb=verb,
            object_uri=f"{SERVICES_URI}{service_id}/",
            state=ActionState.IN_PROGRESS if begun else ActionState.SUCCESS,
            request=context.request,
            start_date=at,
            end_date=None if begun else at,
        ),
    )


async def _resolve(
    conn: Connection, account_id: UUID, asked: Sequence[LinkRequest], *, own: UUID | None
) -> tuple[Link, ...]:
    """The links with their targets found. Raises Invalid with every link that leads nowhere (spec 2.8)."""
    errors: dict[str, str] = {}
    out: list[Link] = []
    for each in asked:
        text = each.to_service.rstrip("/").rsplit("/", 1)[-1]
        try:
            target = await services.resolve(conn, account_id, text)
        except DomainError as error:
            errors[f"{each.path}.to_service"] = str(error)
            continue
        if target is None:
            errors[f"{each.path}.to_service"] = f"there is no service {text[:80]}"
            continue
        if target == own:
            errors[f"{each.path}.to_service"] = "is the service itself"
            continue
        name = each.name or (await services.get(conn, account_id, target)).name
        if name in {link.name for link in out}:
            errors[f"{each.path}.name"] = f"the link name {name} is given twice"
            continue
        out.append(Link(name=name, to_service=target))
    if errors:
        raise Invalid(errors)
    return tuple(out)
