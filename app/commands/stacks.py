"""Create, update and operate stacks: one transaction for the stack and all its services (spec 4.8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from app.commands import policy, quotas
from app.commands.relations import check_volumes_from, resolve_links
from app.commands.services import (
    DEPLOYING,
    GROWING,
    Context,
    new_service,
    noting,
    open_action,
    refusals_recorded,
)
from domain import versions
from domain.asked import Asked, AskedVolumes
from domain.errors import DomainError, Invalid, NotAllowed
from domain.quota import grows
from domain.service import (
    Accepted,
    Effect,
    Service,
    ServiceState,
    Verb,
    change,
    counts,
    operate,
    service_state,
)
from domain.spec import Binding, ServiceSpec
from domain.stack import Stack, check, order
from orchestrator.ids import new_id
from orchestrator.store import containers, relations, services, stacks, wake
from orchestrator.store.db import Connection, now

STACKS_URI = "/api/v1/stack/"


def stack_uri(stack_id: UUID) -> str:
    """The resource path of a stack."""
    return f"{STACKS_URI}{stack_id}/"


def verb_name(verb: Verb) -> str:
    """`Stack Start`: the wire's name of the action."""
    return f"Stack {verb.value.capitalize()}"


class AskedService(Protocol):
    """One service of a body: read as a new one or as an update once it is known which it is.

    Complaints have the paths of the stack's body.
    """

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def volumes_from(self) -> Sequence[AskedVolumes]: ...
    def created(self, most_containers: int) -> Asked:
        """As a new service. Raises Invalid."""
        ...

    def patched(self, present: Service, most_containers: int) -> Asked:
        """As an update of the service. Raises Invalid."""
        ...

    def blamed(self, error: Invalid) -> Invalid:
        """The same complaints with paths in the stack's body."""
        ...


class AskedStack(Protocol):
    """A stack's body. `name` and `nickname` None: it does not say; the empty nickname is the default."""

    @property
    def name(self) -> str | None: ...
    @property
    def nickname(self) -> str | None: ...
    @property
    def services(self) -> Sequence[AskedService]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An accepted request; `begun`: some service has work to do."""

    stack_id: UUID
    begun: bool
    version: str


async def create(context: Context, read: Callable[[], AskedStack], *, most_containers: int) -> Done:
    """A new stack with its services; nothing is deployed. Raises Invalid with every complaint, Conflict."""
    async with refusals_recorded(context, "Stack Create", None, STACKS_URI), context.db.transaction() as conn:
        asked, at = read(), await now(conn)
        stack = Stack(
            id=new_id(),
            account_id=context.account.id,
            name=asked.name or "",
            nickname=asked.nickname or None,
            created_at=at,
        )
        await stacks.insert(conn, stack)
        await _put(conn, context, stack, asked.services, most_containers, at)
        uri = stack_uri(stack.id)
        await open_action(
            conn, context, verb="Stack Create", object_uri=uri, service_id=None, effect=Effect.STORED, at=at
        )
        await quotas.check(conn, context.account)
        version = versions.of_stack(stack, await services.of_stack(conn, stack.id))
    return Done(stack_id=stack.id, begun=False, version=version)


async def update(context: Context, stack_id: UUID, read: Callable[[], AskedStack], *, most_containers: int) -> Done:
    """New services are made, those of the same name updated, the others stay. Raises NotFound, NotAllowed, Invalid."""
    uri = stack_uri(stack_id)
    async with refusals_recorded(context, "Stack Update", None, uri), context.db.transaction() as conn:
        stack = await stacks.get(conn, context.account.id, stack_id, lock=True)
        members = await services.of_stack(conn, stack_id, lock=True)
        context.unchanged(versions.of_stack(stack, members))
        check((await stacks.states(conn, [stack]))[stack.id], "update")
        asked = read()
        if asked.name not in (None, stack.name):
            raise Invalid({"name": "cannot be changed: host names are made of it; use nickname"})
        before = {each.id: each for each in members}
        at = await now(conn)
        begun = await _put(conn, context, stack, asked.services, most_containers, at)
        changed = replace(stack, nickname=stack.nickname if asked.nickname is None else asked.nickname or None)
        if begun:
            changed = replace(changed, action=None, verb=None)
        await stacks.save(conn, changed)
        effect = Effect.BEGUN if begun else Effect.STORED
        await open_action(
            conn,
            context,
            verb="Stack Update",
            object_uri=uri,
            service_id=None,
            effect=effect,
            at=at,
            parts=max(len(begun), 1),
        )
        after = await services.of_stack(conn, stack_id)
        if any(each.id not in before or grows(before[each.id], each) for each in after):
            await quotas.check(conn, context.account)
    return Done(stack_id=stack_id, begun=bool(begun), version=versions.of_stack(changed, after))


async def run(context: Context, stack_id: UUID, verb: Verb, *, reuse_volumes: bool = True) -> Done:
    """Start, stop, redeploy or terminate all services that allow it, in the order of their links.

    One action for all of them: it ends with the last, failed if any failed. Raises NotFound, NotAllowed.
    """
    uri, name, context = stack_uri(stack_id), verb_name(verb), noting(context, reuse_volumes)
    async with refusals_recorded(context, name, None, uri), context.db.transaction() as conn:
        stack = await stacks.get(conn, context.account.id, stack_id, lock=True)
        found = await _locked(conn, stack_id, with_clients=verb is Verb.TERMINATE)
        context.unchanged(versions.of_stack(stack, found))
        check((await stacks.states(conn, [stack]))[stack.id], verb.value)
        at = await now(conn)
        begun = await _operate(conn, context, found, verb, at, reuse_volumes)
        await open_action(
            conn,
            context,
            verb=name,
            object_uri=uri,
            service_id=None,
            effect=Effect.BEGUN if begun else Effect.STORED,
            at=at,
            parts=max(len(begun), 1),
        )
        await stacks.save(conn, _after(stack, verb, context.action_id, at))
        if verb in GROWING and begun:
            await quotas.check(conn, context.account)
        version = versions.of_stack(stack, await services.of_stack(conn, stack_id))
    return Done(stack_id=stack_id, begun=bool(begun), version=version)


def _after(stack: Stack, verb: Verb, action: UUID, at: datetime) -> Stack:
    changed = replace(stack, verb=verb, action=action)
    if verb is Verb.TERMINATE:
        return replace(changed, terminated_at=at)
    return changed if verb is Verb.STOP else replace(changed, deployed_at=at)


async def _locked(conn: Connection, stack_id: UUID, *, with_clients: bool) -> list[Service]:
    """The stack's services, locked in id order with those that link to them where these lose their links."""
    if with_clients:
        await services.lock_stack_with_clients(conn, stack_id)
    return await services.of_stack(conn, stack_id, lock=not with_clients)


async def _operate(
    conn: Connection, context: Context, found: Sequence[Service], verb: Verb, at: datetime, reuse_volumes: bool
) -> list[UUID]:
    """Begin the operation of each service that allows it; those that began."""
    rows = {service.id: await containers.open_rows(conn, [service.id]) for service in found}
    accepted: dict[UUID, Accepted] = {}
    refusals: list[str] = []
    for service in found:
        try:
            taken = operate(service, counts(rows[service.id]), verb, context.action_id, at)
        except NotAllowed as refusal:
            # What is at rest as it is to be takes no part; one that is at something else would be left as it is.
            busy = service.operation is not None and service.operation.verb is not verb
            if busy or verb is Verb.TERMINATE:
                refusals.append(f"{service.name}: {refusal}")
            continue
        if taken.effect is Effect.BEGUN:
            accepted[service.id] = taken
            if verb in DEPLOYING:
                await policy.check_again(conn, context.account.id, service.spec, context.owner_may)
    if refusals:
        raise NotAllowed("; ".join(refusals))
    if verb is Verb.TERMINATE:
        await _check_volumes(conn, found)
    after = order([service for service in found if service.id in accepted], verb)
    for service_id, taken in accepted.items():
        begun = taken.service
        if begun.operation is not None:
            operation = replace(begun.operation, after=after[service_id], reuse_volumes=reuse_volumes)
            begun = replace(begun, operation=operation)
        await services.save(conn, begun, service_state(begun, counts(rows[service_id])))
        await wake.service(conn, service_id)
    if verb is Verb.TERMINATE:
        for service_id in accepted:
            await services.unlink(conn, service_id)
    return list(accepted)


async def _check_volumes(conn: Connection, found: Sequence[Service]) -> None:
    """Raises NotAllowed when a service outside the stack uses volumes of one inside."""
    inside = {service.unique_name for service in found}
    for service in found:
        users = [each for each in await relations.volume_users(conn, service.id) if each not in inside]
        if users:
            raise NotAllowed(f"volumes of {service.name} are used by {', '.join(users)}: terminate those first")


async def _put(
    conn: Connection,
    context: Context,
    stack: Stack,
    asked: Sequence[AskedService],
    most_containers: int,
    at: datetime,
) -> list[UUID]:
    """Make or update the services of a body; those with work to do. Raises Invalid with every complaint.

    All are there before any link is followed, since links may go round in a circle.
    """
    present = {service.name: service for service in await services.of_stack(conn, stack.id)}
    errors: dict[str, str] = {}
    read: list[tuple[AskedService, Asked]] = []
    for each in asked:
        known = present.get(each.name)
        try:
            read.append((each, each.patched(known, most_containers) if known else each.created(most_containers)))
        except Invalid as error:
            errors |= error.fields
    if errors:
        raise Invalid(errors)
    for number, (each, wanted) in enumerate(read):
        if each.name in present:
            continue
        try:
            service = await new_service(
                conn,
                context,
                name=each.name,
                target=1 if wanted.target is None else wanted.target,
                spec=wanted.spec,
                stack_id=stack.id,
                at=at + timedelta(microseconds=number),  # the file's order is the order of age
            )
        except Invalid as error:
            errors |= each.blamed(error).fields
            continue
        await services.insert(conn, service, ServiceState.INIT)
    if errors:
        raise Invalid(errors)
    there = {service.name: service for service in await services.of_stack(conn, stack.id)}
    begun: list[UUID] = []
    for each, wanted in read:
        service = there[each.name]
        try:
            spec = await _completed(conn, context, service, each, wanted)
            if each.name not in present:
                await services.save(conn, replace(service, spec=spec), ServiceState.INIT)
            elif await _changed(conn, context, service, spec, wanted.target, at):
                begun.append(service.id)
        except DomainError as error:
            errors |= each.blamed(error).fields if isinstance(error, Invalid) else {each.path: str(error)}
    if errors:
        raise Invalid(errors)
    return begun


async def _completed(
    conn: Connection, context: Context, service: Service, each: AskedService, wanted: Asked
) -> ServiceSpec:
    """The definition with its links and mounts found, inside the stack first."""
    spec = wanted.spec
    if wanted.links is not None:
        links = await resolve_links(conn, context.account.id, wanted.links, own=service.id, stack_id=service.stack_id)
        spec = replace(spec, links=links)
    for origin in each.volumes_from:
        target = await services.resolve(conn, context.account.id, origin.service, stack_id=service.stack_id)
        if target is None or target == service.id:
            what = "is the service itself" if target else f"there is no service {origin.service[:80]}"
            raise Invalid({origin.path.removeprefix(f"{each.path}."): what})
        binding = Binding(volumes_from=target, rewritable=origin.rewritable)
        spec = replace(spec, bindings=(*spec.bindings, binding))
    await check_volumes_from(conn, context.account.id, spec, service.id)
    if spec != service.spec:
        await policy.check(conn, context.account.id, spec, context.may)
    return spec


async def _changed(
    conn: Connection, context: Context, service: Service, spec: ServiceSpec, target: int | None, at: datetime
) -> bool:
    """Update one service of the stack; whether it has work to do."""
    rows = await containers.open_rows(conn, [service.id])
    target = service.target if target is None else target
    if target > service.target:
        await policy.check_again(conn, context.account.id, spec, context.owner_may)
    accepted = change(service, counts(rows), spec=spec, target=target, action=context.action_id, now=at)
    if accepted.effect is Effect.NOTHING:
        return False
    await services.save(conn, accepted.service, service_state(accepted.service, counts(rows)))
    await wake.service(conn, service.id)
    return accepted.effect is Effect.BEGUN
