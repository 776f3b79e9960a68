"""Operations on one container: what is allowed when, and what each wants (spec 4.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.container import ALIVE, Container, ContainerState, Order, Seen, Want, container_state, obeyed, own_volumes
from domain.errors import NotAllowed, instead
from domain.service import Service, ServiceWant, Verb, usable_image

VERBS = (Verb.START, Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE)
ALLOWED = {
    ContainerState.INIT: frozenset({Verb.START, Verb.TERMINATE}),
    ContainerState.RUNNING: frozenset({Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE}),
    ContainerState.STOPPED: frozenset({Verb.START, Verb.REDEPLOY, Verb.TERMINATE}),
}
"""In every other state nothing is allowed: something is under way."""


def refuse(verb: Verb, state: ContainerState) -> NotAllowed:
    """The refusal: the state, and what is possible instead."""
    possible = (each.value for each in ALLOWED.get(state, ()))
    hint = instead(possible, gone=state is ContainerState.TERMINATED)
    return NotAllowed(f"Container is in state {state.value}: {verb.value} is not allowed ({hint})")


def order(
    service: Service, container: Container, verb: Verb, action: UUID, now: datetime, *, reuse_volumes: bool = True
) -> tuple[Service, Container]:
    """Begin an operation on one container: the service and the container from now on. Raises NotAllowed.

    A container that is started makes its service one that is to run; the others of it stay as they are.
    `reuse_volumes` False: a redeployment gives the successor fresh volumes.
    """
    if service.operation is not None:
        raise NotAllowed(
            f"Service {service.unique_name} has an operation ({service.operation.verb.value}) under way:"
            f" {verb.value} of its containers is not allowed until that has ended"
        )
    state = container_state(container)
    crash_loop = state is ContainerState.STARTING and container.order is None and obeyed(container)
    if crash_loop and verb in {Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE}:
        # It is between two automatic starts: a user must be able to end that (spec 7 no. 5).
        state = ContainerState.RUNNING
    if verb not in ALLOWED.get(state, frozenset()):
        raise refuse(verb, state)
    ordered = replace(container, order=Order(verb=verb.value, actions=(action,), since=now))
    wakes = service.want is not ServiceWant.TERMINATED
    match verb:
        case Verb.START:
            ordered = replace(ordered, want=Want.RUN, start_gen=container.start_gen + 1)
        case Verb.STOP:
            return service, replace(ordered, want=Want.STOP)
        case Verb.REDEPLOY:
            if usable_image(service) is None:
                raise NotAllowed(f"the service's image is now {service.spec.image}: redeploy the service")
            dropped = () if reuse_volumes else own_volumes(container.spec)
            ordered = replace(ordered, want=Want.GONE, refill=True, drop_volumes=dropped)
        case _:
            return service, replace(ordered, want=Want.GONE, drop_volumes=own_volumes(container.spec))
    # The next order to the service is newer than this one, so that it starts what has ended again by then.
    start_gen = max(service.start_gen, ordered.start_gen)
    return replace(service, want=ServiceWant.RUNNING, start_gen=start_gen) if wakes else service, ordered


def settled(container: Container) -> str | None:
    """How the container's order ended: an empty text for well, a reason for failed, None while it is open.

    A redeployment and a termination end when the container is gone, which is the planner's to see.
    """
    given = container.order
    if given is None:
        return None
    match given.verb:
        case Verb.STOP:
            if container.want is Want.RUN:
                return "the container was started again meanwhile"
            return "" if container.seen is None or container.seen.state not in ALIVE else None
        case Verb.START | Verb.REDEPLOY if container.want is Want.STOP:
            return "the container was stopped meanwhile"
        case _:
            return None


def never_ran(container: Container) -> bool:
    """Whether nothing of it ever ran: what a cancelled deployment need not keep."""
    seen = container.seen
    begun = {Seen.PENDING, Seen.PULLING, Seen.CREATED}
    return container.want is Want.RUN and (seen is None or (seen.state in begun and seen.started_at is None))
