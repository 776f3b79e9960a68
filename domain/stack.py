"""A stack: services with a common life, its states and the order in which its services follow each other (spec 4.8)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.errors import NotAllowed, instead
from domain.service import Service, ServiceState, Verb


class StackState(StrEnum):
    """The wire's stack states."""

    NOT_RUNNING = "Not running"
    STARTING = "Starting"
    RUNNING = "Running"
    PARTLY_RUNNING = "Partly running"
    REDEPLOYING = "Redeploying"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"


VERBS = (Verb.START, Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A row of the record. `verb` and `action`: its newest operation, which is under way while that action is open."""

    id: UUID
    account_id: UUID
    name: str
    nickname: str | None
    created_at: datetime
    deployed_at: datetime | None = None
    terminated_at: datetime | None = None
    verb: Verb | None = None
    action: UUID | None = None


_UNDER_WAY = {
    Verb.START: StackState.STARTING,
    Verb.STOP: StackState.STOPPING,
    Verb.REDEPLOY: StackState.REDEPLOYING,
    Verb.TERMINATE: StackState.TERMINATING,
}
_EMPTY = frozenset({ServiceState.INIT, ServiceState.NOT_RUNNING, ServiceState.TERMINATED})


def stack_state(stack: Stack, services: Collection[ServiceState], *, under_way: bool) -> StackState:
    """The state from those of its services; `under_way`: the stack's own operation has not ended."""
    present = [state for state in services if state is not ServiceState.TERMINATED]
    if stack.terminated_at is not None:
        return StackState.TERMINATING if present else StackState.TERMINATED
    if under_way and stack.verb is not None:
        return _UNDER_WAY[stack.verb]
    if all(state in _EMPTY for state in present):
        return StackState.NOT_RUNNING
    if all(state is ServiceState.RUNNING for state in present):
        return StackState.RUNNING
    resting = _EMPTY | {ServiceState.STOPPED}
    return StackState.STOPPED if all(state in resting for state in present) else StackState.PARTLY_RUNNING


ALLOWED = {
    StackState.NOT_RUNNING: frozenset({Verb.START, Verb.TERMINATE}),
    StackState.RUNNING: frozenset({Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE}),
    StackState.PARTLY_RUNNING: frozenset({Verb.START, Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE}),
    StackState.STOPPED: frozenset({Verb.START, Verb.REDEPLOY, Verb.TERMINATE}),
}


def check(state: StackState, verb: str) -> None:
    """Raises NotAllowed when the operation (or `update`) is not possible, with what is."""
    possible = ALLOWED.get(state, frozenset())
    dying = {StackState.TERMINATING, StackState.TERMINATED}
    if verb in {each.value for each in possible} or (verb == "update" and state not in dying):
        return
    hint = instead((each.value for each in possible), gone=state is StackState.TERMINATED)
    raise NotAllowed(f"Stack is in state {state.value}: {verb} is not allowed ({hint})")


def order(services: Sequence[Service], verb: Verb) -> dict[UUID, tuple[UUID, ...]]:
    """For each service those whose operations come first: those that it links to or has volumes from when starting,
    its clients when stopping.

    `services` are those that take part, in the order of their file, which breaks cycles: the link of the later
    one that would close a circle is left out.
    """
    first: dict[UUID, list[UUID]] = {service.id: [] for service in services}
    for service in services:
        volumes = [each.volumes_from for each in service.spec.bindings if each.volumes_from is not None]
        for target in (*volumes, *(link.to_service for link in service.spec.links)):
            if target in first and target not in first[service.id] and not _waits(first, target, service.id):
                first[service.id].append(target)
    if verb in {Verb.START, Verb.REDEPLOY}:
        return {each: tuple(found) for each, found in first.items()}
    later: dict[UUID, list[UUID]] = {each: [] for each in first}
    for client, targets in first.items():
        for target in targets:
            later[target].append(client)
    return {each: tuple(found) for each, found in later.items()}


def _waits(first: dict[UUID, list[UUID]], one: UUID, other: UUID) -> bool:
    """Whether `one` waits for `other`, directly or through others."""
    seen, todo = set[UUID](), [one]
    while todo:
        at = todo.pop()
        if at == other:
            return True
        if at not in seen:
            seen.add(at)
            todo += first[at]
    return False
