"""Create, operate, update and terminate a service: record what is wanted, open an action, wake the reconciler.

All of it commits together, and the answer is given after the commit: what was accepted is never lost (I1).
A refused request leaves a Failed action, so that its caller can ask why later (spec 1.11).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from app.commands import policy, quotas
from app.commands.relations import check_volumes_from, resolve_links
from domain import versions
from domain.action import Action, ActionState, Request
from domain.asked import AskedLink
from domain.calls import call
from domain.errors import DomainError, Invalid, NotAllowed, NotFound
from domain.image import Reference, parse
from domain.policy import Allowance
from domain.quota import grows
from domain.service import (
    Accepted,
    Counts,
    Effect,
    Queued,
    Service,
    ServiceState,
    ServiceWant,
    Verb,
    counts,
    operate,
    service_state,
)
from domain.service import change as apply_change
from domain.spec import ServiceSpec
from orchestrator.ids import new_id
from orchestrator.store import actions, audit, containers, relations, services, wake
from orchestrator.store.accounts import Account
from orchestrator.store.audit import Entry
from orchestrator.store.db import Connection, Database, now

SERVICES_URI = "/api/v1/service/"
DEPLOYING = frozenset({Verb.START, Verb.SCALE, Verb.REDEPLOY})
"""Operations that make containers from the definition as it is."""

GROWING = frozenset({Verb.START, Verb.SCALE})
"""Operations after which the account may have more containers than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Who asks for what, and where it is recorded.

    `may` is what the caller may ask of hosts in a definition, `owner_may` what services of the account may have there:
    a key of less than its owner's role redeploys what the owner has defined, but does not define it.
    """

    db: Database
    account: Account
    request: Request
    action_id: UUID
    network_pool: str
    audit: Entry
    may: Allowance
    owner_may: Allowance
    administers: bool = False
    """Whether the caller may do what concerns hosts."""
    unchanged: Callable[[str], None] = lambda _version: None
    """Raises Stale when what is changed has another version (`domain.versions`) than the caller expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An accepted request. `version`: of what it left (`domain.versions`)."""

    service_id: UUID
    effect: Effect
    version: str


Spec = Callable[[Service], tuple[ServiceSpec, int | None, Sequence[AskedLink] | None]]


def verb_name(verb: Verb) -> str:
    """`Service Start`: the wire's name of the action."""
    return f"Service {verb.value.capitalize()}"


@asynccontextmanager
async def refusals_recorded(
    context: Context, verb: str, service_id: UUID | None = None, object_uri: str | None = None
) -> AsyncIterator[None]:
    """A refusal inside the block becomes a Failed action, and goes on to the caller."""
    try:
        yield
    except NotFound:
        raise
    except DomainError as refusal:
        await record_refusal(context, verb, str(refusal), service_id, object_uri)
        raise


async def record_refusal(
    context: Context, verb: str, message: str, service_id: UUID | None, object_uri: str | None = None
) -> None:
    """A Failed action for a request that changed nothing, in a transaction of its own.

    Raises NotFound for a service that the account has not: what was not done to anything is not recorded.
    """
    uri = object_uri or (f"{SERVICES_URI}{service_id}/" if service_id else SERVICES_URI)
    async with context.db.transaction() as conn:
        if service_id is not None:
            await services.get(conn, context.account.id, service_id)
        at = await now(conn)
        await actions.insert(
            conn,
            Action(
                id=context.action_id,
                account_id=context.account.id,
                service_id=service_id,
                verb=verb,
                object_uri=uri,
                state=ActionState.FAILED,
                request=context.request,
                message=message[:2000],
                start_date=at,
                end_date=at,
            ),
        )
    # The audit's row is added with the answer, when its code is known.
    context.audit.verb, context.audit.object_uri, context.audit.action_id = verb, uri, context.action_id


async def create(context: Context, *, name: str, target: int, spec: ServiceSpec, links: Sequence[AskedLink]) -> Done:
    """A new service; nothing is deployed. Raises Invalid for a link that leads nowhere and beyond the account's quota,
    Conflict on a lost race."""
    async with refusals_recorded(context, "Service Create"), context.db.transaction() as conn:
        at = await now(conn)
        service = await new_service(conn, context, name=name, target=target, spec=spec, stack_id=None, at=at)
        linked = await resolve_links(conn, context.account.id, links, own=None, stack_id=None)
        service = replace(service, spec=replace(spec, links=linked))
        await services.insert(conn, service, ServiceState.INIT)
        await _open(conn, context, service.id, "Service Create", Effect.STORED, at)
        await quotas.check(conn, context.account)
    return Done(service_id=service.id, effect=Effect.STORED, version=versions.of_service(service))


async def new_service(
    conn: Connection,
    context: Context,
    *,
    name: str,
    target: int,
    spec: ServiceSpec,
    stack_id: UUID | None,
    at: datetime,
) -> Service:
    """A service with its own unique name and network, not yet written. Raises Invalid for foreign volumes, and for
    what the caller may not ask of a host."""
    await check_volumes_from(conn, context.account.id, spec)
    await policy.check(conn, context.account.id, spec, context.may)
    return Service(
        id=new_id(),
        account_id=context.account.id,
        account=context.account.username,
        name=name,
        unique_name=await services.free_unique_name(conn, context.account.id, name, stack_id),
        spec=spec,
        target=target,
        want=ServiceWant.INIT,
        subnet=await services.next_subnet(conn, context.network_pool),
        created_at=at,
        stack_id=stack_id,
    )


async def run(context: Context, service_id: UUID, verb: Verb, *, reuse_volumes: bool = True) -> Done:
    """Start, stop, scale, redeploy or terminate. Raises NotFound, NotAllowed, and Invalid beyond the quota."""

    def rule(service: Service, count: Counts, at: datetime) -> Accepted:
        return _with_volumes(operate(service, count, verb, context.action_id, at), reuse_volumes)

    return await _change(noting(context, reuse_volumes), service_id, verb, rule)


def noting(context: Context, reuse_volumes: bool) -> Context:
    """With fresh volumes on the action's record, if they are asked for: it is not repeated without them."""
    if reuse_volumes or context.request.body:
        return context
    return replace(context, request=replace(context.request, body='{"reuse_volumes": false}'))


def _with_volumes(accepted: Accepted, reuse: bool) -> Accepted:
    operation = accepted.service.operation
    if reuse or operation is None:
        return accepted
    return replace(accepted, service=replace(accepted.service, operation=replace(operation, reuse_volumes=False)))


async def call_trigger(context: Context, service_id: UUID, queued: Queued, *, most_containers: int) -> Done:
    """A trigger was called: begin its operation, or put it behind the one under way (spec 4.10).

    Raises NotFound, NotAllowed, and Invalid for a scaling beyond the limit.
    """

    def rule(service: Service, count: Counts, at: datetime) -> Accepted:
        if service.target + queued.amount + sum(each.amount for each in service.queued) > most_containers:
            raise Invalid({"count": f"would make more than {most_containers} containers"})
        return call(service, count, queued, at)

    return await _change(context, service_id, queued.verb, rule)


async def redeploy_tag(context: Context, service_id: UUID, tag: str, *, reuse_volumes: bool = True) -> Done:
    """Change the image's tag, then redeploy. Raises NotFound, NotAllowed, Invalid."""

    def rule(service: Service, count: Counts, at: datetime) -> Accepted:
        present = parse(service.spec.image)
        wanted = parse(str(Reference(name=present.name, tag=tag, digest=None))) if present else None
        if wanted is None:
            raise Invalid({"tag": "is no image tag"})
        accepted = operate(service, count, Verb.REDEPLOY, context.action_id, at)
        spec = replace(service.spec, image=str(wanted))
        if service.operation is not None and spec != service.spec:
            # It would join a PATCH's redeployment, which may have its image already: it takes that over instead.
            accepted = apply_change(service, count, spec=spec, target=service.target, action=context.action_id, now=at)
        else:
            accepted = replace(accepted, service=replace(accepted.service, spec=spec))
        return _with_volumes(accepted, reuse_volumes)

    return await _change(context, service_id, Verb.REDEPLOY, rule)


async def update(context: Context, service_id: UUID, read: Spec) -> Done:
    """Apply a PATCH: `read` gives the new definition from the present one. Raises NotFound, NotAllowed, Invalid."""
    recording = refusals_recorded(context, "Service Update", service_id)
    async with recording, context.db.transaction() as conn:
        service, count, at = await _locked(conn, context, service_id)
        spec, target, asked = read(service)
        if asked is not None:
            linked = await resolve_links(conn, context.account.id, asked, own=service_id, stack_id=service.stack_id)
            spec = replace(spec, links=linked)
        if spec.bindings != service.spec.bindings:
            await check_volumes_from(conn, context.account.id, spec, service_id)
        if spec != service.spec:
            await policy.check(conn, context.account.id, spec, context.may)
        target = service.target if target is None else target
        if target > service.target:
            await policy.check_again(conn, context.account.id, spec, context.owner_may)
        accepted = apply_change(service, count, spec=spec, target=target, action=context.action_id, now=at)
        await _accept(conn, context, service, accepted, count, "Service Update", at)
        if grows(service, accepted.service):
            await quotas.check(conn, context.account)
    return _done(accepted)


async def _change(
    context: Context, service_id: UUID, verb: Verb, rule: Callable[[Service, Counts, datetime], Accepted]
) -> Done:
    terminating = verb is Verb.TERMINATE
    recording = refusals_recorded(context, verb_name(verb), service_id)
    async with recording, context.db.transaction() as conn:
        if terminating:
            await services.lock_with_clients(conn, context.account.id, service_id)
        service, count, at = await _locked(conn, context, service_id)
        if verb in DEPLOYING:
            await policy.check_again(conn, context.account.id, service.spec, context.owner_may)
        accepted = rule(service, count, at)
        if accepted.service.spec != service.spec:
            await policy.check(conn, context.account.id, accepted.service.spec, context.may)
        users = await relations.volume_users(conn, service_id) if terminating else []
        if users:
            raise NotAllowed(f"its volumes are used by {', '.join(users)}: terminate or change those services first")
        await _accept(conn, context, service, accepted, count, verb_name(verb), at)
        if terminating:
            await services.unlink(conn, service_id)
        if verb in GROWING and accepted.effect is not Effect.NOTHING:
            await quotas.check(conn, context.account)
    return _done(accepted)


def _done(accepted: Accepted) -> Done:
    return Done(service_id=accepted.service.id, effect=accepted.effect, version=versions.of_service(accepted.service))


async def _locked(conn: Connection, context: Context, service_id: UUID) -> tuple[Service, Counts, datetime]:
    service = await services.lock(conn, context.account.id, service_id)
    context.unchanged(versions.of_service(service))
    rows = await containers.open_rows(conn, [service_id])
    return service, counts(rows), await now(conn)


async def _accept(
    conn: Connection,
    context: Context,
    before: Service,
    accepted: Accepted,
    count: Counts,
    verb: str,
    at: datetime,
) -> None:
    await _open(conn, context, accepted.service.id, verb, accepted.effect, at)
    if accepted.effect is not Effect.NOTHING:
        relinked = accepted.service.spec.links != before.spec.links
        await services.save(conn, accepted.service, service_state(accepted.service, count), relinked=relinked)
        await wake.service(conn, accepted.service.id)


async def _open(conn: Connection, context: Context, service_id: UUID, verb: str, effect: Effect, at: datetime) -> None:
    await open_action(
        conn, context, verb=verb, object_uri=f"{SERVICES_URI}{service_id}/", service_id=service_id, effect=effect, at=at
    )


_OPENED = {Effect.BEGUN: ActionState.IN_PROGRESS, Effect.QUEUED: ActionState.PENDING}


async def open_action(
    conn: Connection,
    context: Context,
    *,
    verb: str,
    object_uri: str,
    service_id: UUID | None,
    effect: Effect,
    at: datetime,
    parts: int = 1,
) -> None:
    """The record of an accepted request: open while there is work for it, else ended well at once."""
    state = _OPENED.get(effect, ActionState.SUCCESS)
    await actions.insert(
        conn,
        Action(
            id=context.action_id,
            account_id=context.account.id,
            service_id=service_id,
            verb=verb,
            object_uri=object_uri,
            state=state,
            request=context.request,
            start_date=at,
            end_date=None if effect in _OPENED else at,
            parts=parts,
        ),
    )
    await audited(conn, context, verb, object_uri, begun=effect is Effect.BEGUN)


async def audited(conn: Connection, context: Context, verb: str, object_uri: str, *, begun: bool) -> None:
    """The request's row in the audit log, in the transaction of what it changed."""
    entry = context.audit
    entry.verb, entry.object_uri, entry.action_id = verb, object_uri, context.action_id
    await audit.write(conn, entry, entry.begun if begun else entry.done)
