"""A service, the operations on it, and its eleven states.

Every rule about "what is allowed when" and "what is it called now" is here and nowhere else (spec 2.13 and 2.14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from domain.container import Container, ContainerState, container_state
from domain.errors import Invalid, NotAllowed, instead
from domain.image import Pull, ResolvedImage
from domain.pause import Pause
from domain.spec import ServiceSpec, Strategy, digest


class ServiceState(StrEnum):
    """The seed's service states; the values are the wire's."""

    INIT = "Init"
    STARTING = "Starting"
    RUNNING = "Running"
    PARTLY_RUNNING = "Partly running"
    SCALING = "Scaling"
    REDEPLOYING = "Redeploying"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    NOT_RUNNING = "Not running"


class ServiceWant(StrEnum):
    """What the last accepted operation wants of the service as a whole."""

    INIT = "INIT"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    TERMINATED = "TERMINATED"


class Verb(StrEnum):
    """A user's operation; the value is the word of its path and of its error text."""

    START = "start"
    STOP = "stop"
    SCALE = "scale"
    REDEPLOY = "redeploy"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A user operation under way. All `actions` end with its outcome: a newer request takes over the older.

    `image_request` names the image resolution it waits for; None when it needs none. `joinable`: a PATCH
    began it, so a client's following POST for the same is not an error (spec 2.14 b). `after`: services of the
    same stack whose operations come first. `trigger_body` goes into the containers that it makes (spec 4.10).
    """

    verb: Verb
    actions: tuple[UUID, ...]
    since: datetime
    image_request: UUID | None = None
    pull: Pull = Pull.MISSING
    joinable: bool = False
    after: tuple[UUID, ...] = ()
    trigger_body: str | None = None
    reuse_volumes: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A trigger's call that waits for the operation under way. SCALEUP is a scaling by `amount` more. `joined`: further
    calls that it stands for."""

    verb: Verb
    action: UUID
    amount: int = 0
    trigger_body: str | None = None
    joined: tuple[UUID, ...] = ()

    @property
    def actions(self) -> tuple[UUID, ...]:
        """The actions of all calls that it stands for."""
        return (self.action, *self.joined)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A row of the record: the definition, what is wanted of it, and what is under way.

    `deploy_gen` counts redeployments (older containers are to be replaced), `start_gen` orders to start.
    `stack` is the name of the stack it belongs to.
    """

    id: UUID
    account_id: UUID
    account: str
    name: str
    unique_name: str
    spec: ServiceSpec
    target: int
    want: ServiceWant
    subnet: str
    created_at: datetime
    operation: Operation | None = None
    queued: tuple[Queued, ...] = ()
    stack_id: UUID | None = None
    stack: str | None = None
    deploy_gen: int = 1
    start_gen: int = 0
    image: ResolvedImage | None = None
    deployed_at: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    destroyed_at: datetime | None = None
    paused: Pause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Live containers: all, running, stopped. `current` may exceed the sum of the others (spec 2.13)."""

    current: int
    running: int
    stopped: int


def live(containers: Sequence[Container]) -> list[Container]:
    """The containers that are not terminated and hold their slot."""
    return [each for each in containers if each.terminated_at is None and not each.leaving]


def counts(containers: Sequence[Container]) -> Counts:
    """The three counts of the seed."""
    states = [container_state(each) for each in live(containers)]
    return Counts(
        current=len(states),
        running=states.count(ContainerState.RUNNING),
        stopped=states.count(ContainerState.STOPPED),
    )


_UNDER_WAY = {
    Verb.START: ServiceState.STARTING,
    Verb.STOP: ServiceState.STOPPING,
    Verb.SCALE: ServiceState.SCALING,
    Verb.REDEPLOY: ServiceState.REDEPLOYING,
    Verb.TERMINATE: ServiceState.TERMINATING,
}


def service_state(service: Service, count: Counts) -> ServiceState:
    """The state by the ordered rules of spec 2.13; first match wins."""
    if service.want is ServiceWant.TERMINATED:
        return ServiceState.TERMINATED if service.destroyed_at and count.current == 0 else ServiceState.TERMINATING
    if service.operation is not None:
        return _UNDER_WAY[service.operation.verb]
    if count.current == 0:
        return ServiceState.INIT if service.want is ServiceWant.INIT else ServiceState.NOT_RUNNING
    if count.running == count.current and count.current >= service.target:
        return ServiceState.RUNNING
    return ServiceState.PARTLY_RUNNING if count.running else ServiceState.STOPPED


def up_to_date(service: Service, container: Container) -> bool:
    """Whether the container was made from the present definition, in the newest deployment."""
    return container.made_from == digest(service.spec) and container.deploy_gen >= service.deploy_gen


def synchronized(service: Service, containers: Sequence[Container]) -> bool:
    """Whether every live container is up to date (spec 2.3)."""
    made = digest(service.spec)
    return not any(each.made_from != made or each.deploy_gen < service.deploy_gen for each in live(containers))


_AT_REST = frozenset(
    {
        ServiceState.INIT,
        ServiceState.RUNNING,
        ServiceState.PARTLY_RUNNING,
        ServiceState.STOPPED,
        ServiceState.NOT_RUNNING,
    }
)
ALLOWED: dict[Verb, frozenset[ServiceState]] = {
    Verb.START: _AT_REST - {ServiceState.RUNNING},
    Verb.STOP: frozenset({ServiceState.RUNNING, ServiceState.PARTLY_RUNNING}),
    Verb.REDEPLOY: frozenset({ServiceState.RUNNING, ServiceState.PARTLY_RUNNING, ServiceState.STOPPED}),
    Verb.SCALE: _AT_REST,
    Verb.TERMINATE: _AT_REST,
}
"""The seed's possible actions, completed by spec 2.14. `Not running` needs a target above 0, see `allowed`."""


def allowed(verb: Verb, state: ServiceState, target: int) -> bool:
    """Whether the table lets the operation begin (spec 2.14, note e: nothing to run, nothing to start)."""
    idle = state is ServiceState.NOT_RUNNING and verb in {Verb.START, Verb.SCALE} and target == 0
    return state in ALLOWED[verb] and not idle


class Effect(StrEnum):
    """What an accepted request led to: work for the reconciler now or later, a stored change, or nothing new."""

    BEGUN = "begun"
    QUEUED = "queued"
    STORED = "stored"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An accepted request: the service as it is from now on, and the effect."""

    service: Service
    effect: Effect


def refuse(verb: str, state: ServiceState, target: int) -> NotAllowed:
    """The refusal of spec 2.14: the state, and what is possible instead."""
    hint = instead((each.value for each in Verb if allowed(each, state, target)), gone=state is ServiceState.TERMINATED)
    return NotAllowed(f"Service is in state {state.value}: {verb} is not allowed ({hint})")


def operate(
    service: Service, count: Counts, verb: Verb, action: UUID, now: datetime, *, after: tuple[UUID, ...] = ()
) -> Accepted:
    """Begin a user's operation. Raises NotAllowed with the state and the alternatives."""
    accepted = _operate(service, count, verb, action, now)
    operation = accepted.service.operation
    if after and operation is not None and accepted.effect is Effect.BEGUN:
        return replace(accepted, service=replace(accepted.service, operation=replace(operation, after=after)))
    return accepted


def _operate(service: Service, count: Counts, verb: Verb, action: UUID, now: datetime) -> Accepted:
    state = service_state(service, count)
    under_way = service.operation
    if under_way and under_way.joinable and under_way.verb is verb and verb in {Verb.SCALE, Verb.REDEPLOY}:
        joined = replace(under_way, actions=(*under_way.actions, action))
        return Accepted(service=replace(service, operation=joined), effect=Effect.BEGUN)
    # Between two automatic starts nothing runs: a user must be able to end that (spec 7 no. 5).
    crash_loop = verb is Verb.STOP and service.want is ServiceWant.RUNNING and count.current > count.stopped
    if not allowed(verb, state, service.target) and not (crash_loop and state is ServiceState.STOPPED):
        raise refuse(verb.value, state, service.target)
    match verb:
        case Verb.START:
            return start(service, action, now)
        case Verb.STOP:
            operation = Operation(verb=verb, actions=(action,), since=now)
            return _begun(service, want=ServiceWant.STOPPED, operation=operation, stopped_at=now)
        case Verb.SCALE:
            _scalable(service.spec)
            going = service.want is ServiceWant.RUNNING or state is ServiceState.NOT_RUNNING
            if not going or count.current == service.target:
                return Accepted(service=service, effect=Effect.NOTHING)
            return _begun(service, want=ServiceWant.RUNNING, operation=_needing_image(service, verb, action, now))
        case Verb.REDEPLOY:
            return _redeploy(service, action, now, pull=Pull.ALWAYS)
        case Verb.TERMINATE:
            operation = Operation(verb=verb, actions=(action,), since=now)
            return _begun(service, want=ServiceWant.TERMINATED, operation=operation, target=0)
        case _:
            assert_never(verb)


def change(service: Service, count: Counts, *, spec: ServiceSpec, target: int, action: UUID, now: datetime) -> Accepted:
    """Apply a PATCH: the whole new definition and target. Raises NotAllowed on a dying service.

    The newest desired state wins: an operation under way is retargeted and its actions end with the new one's
    outcome (spec 2.14, 2.16).
    """
    state = service_state(service, count)
    if state in {ServiceState.TERMINATING, ServiceState.TERMINATED}:
        raise refuse("update", state, service.target)
    if spec == service.spec and target == service.target:
        return Accepted(service=service, effect=Effect.NOTHING)
    if target != service.target:
        _scalable(service.spec)
    if spec.deployment_strategy is not service.spec.deployment_strategy and Strategy.EVERY_NODE in {
        spec.deployment_strategy,
        service.spec.deployment_strategy,
    }:
        raise Invalid({"deployment_strategy": "cannot be changed to or from EVERY_NODE: make a new service"})
    remade = digest(spec) != digest(service.spec)
    changed = replace(service, spec=spec, target=target)
    running = service.want is ServiceWant.RUNNING and (service.operation is not None or count.current > 0)
    if running and remade:
        pull = Pull.ALWAYS if spec.image != service.spec.image else None
        return _redeploy(changed, action, now, pull=pull, joinable=True)
    if target != service.target and (running or (state is ServiceState.NOT_RUNNING and target > 0)):
        return _begun(changed, want=ServiceWant.RUNNING, operation=_retargeted(changed, action, now))
    return Accepted(service=changed, effect=Effect.STORED)


def _scalable(spec: ServiceSpec) -> None:
    if spec.deployment_strategy is Strategy.EVERY_NODE:
        text = "follows the nodes with strategy EVERY_NODE: tag nodes to choose which, or use another strategy"
        raise Invalid({"target_num_containers": text})


def finish(service: Service) -> Service:
    """The service after its operation ended, well or not."""
    return replace(service, operation=None)


def cancel(service: Service, action: UUID) -> tuple[Service, tuple[UUID, ...]]:
    """Let go of what the action waits for: the service without it, and all actions that end with it.

    What was done stays done (spec 4.2). Raises NotAllowed when nothing is to be canceled.
    """
    queued = tuple(left for each in service.queued if (left := _without(each, action)) is not None)
    if queued != service.queued:
        return replace(service, queued=queued), (action,)
    operation = service.operation
    if operation is None or action not in operation.actions:
        raise NotAllowed("the action is not under way: there is nothing to cancel")
    if operation.verb is Verb.TERMINATE:
        raise NotAllowed("a termination cannot be canceled: its containers and their data are being removed")
    return finish(service), operation.actions


def _without(call: Queued, action: UUID) -> Queued | None:
    left = [each for each in call.actions if each != action]
    return replace(call, action=left[0], joined=tuple(left[1:])) if left else None


def usable_image(service: Service) -> ResolvedImage | None:
    """The resolved image, unless the definition names another one by now."""
    return service.image if service.image and service.image.reference == service.spec.image else None


def start(service: Service, action: UUID, now: datetime) -> Accepted:
    """Begin a start, whether or not a user might ask for it now."""
    return _begun(
        service,
        want=ServiceWant.RUNNING,
        operation=_needing_image(service, Verb.START, action, now),
        start_gen=service.start_gen + 1,
        started_at=now,
        deployed_at=now if service.want is ServiceWant.INIT else service.deployed_at,
    )


def _redeploy(service: Service, action: UUID, now: datetime, *, pull: Pull | None, joinable: bool = False) -> Accepted:
    older = service.operation.actions if service.operation else ()
    operation = _needing_image(service, Verb.REDEPLOY, action, now)
    if service.operation is not None and service.operation.verb is Verb.REDEPLOY:
        # What was asked for with it holds on: the newest image, fresh volumes, its place in the stack's order.
        operation = replace(service.operation, since=now)
    if pull is not None:
        operation = replace(operation, image_request=action, pull=pull)
    return _begun(
        service,
        want=ServiceWant.RUNNING,
        operation=replace(operation, actions=(*older, action), joinable=joinable),
        deploy_gen=service.deploy_gen + 1,
        start_gen=service.start_gen + 1,
        deployed_at=now,
        started_at=now,
    )


def _retargeted(service: Service, action: UUID, now: datetime) -> Operation:
    """The operation under way with one more action, or a new scaling."""
    if service.operation is not None:
        return replace(service.operation, actions=(*service.operation.actions, action), since=now)
    return replace(_needing_image(service, Verb.SCALE, action, now), joinable=True)


def _needing_image(service: Service, verb: Verb, action: UUID, now: datetime) -> Operation:
    request = None if usable_image(service) else action
    return Operation(verb=verb, actions=(action,), since=now, image_request=request)


def _begun(service: Service, **changes: object) -> Accepted:
    return Accepted(service=replace(service, **changes), effect=Effect.BEGUN)  # type: ignore[arg-type]
