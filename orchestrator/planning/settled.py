"""Whether a container has done what an operation asked of it."""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from domain.container import ALIVE, Container, Seen, Want, obeyed
from domain.service import Verb
from orchestrator.planning.view import Policy, ServiceView


class Outcome(Enum):
    """How far a container is with the newest order to run."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"


def outcome(container: Container, view: ServiceView, policy: Policy) -> Outcome:
    """How far a container is with the service's operation; a scaling judges only the containers that it made."""
    operation = view.service.operation
    if operation and operation.verb is Verb.SCALE and container.created_at < operation.since:
        return Outcome.DONE
    return Outcome.WAITING if settling(container, view) else ran(container, policy)


def settling(container: Container, view: ServiceView) -> bool:
    """Whether the operation under way may not yet count on a container that runs: it may be one that cannot.

    Its agent looks again after the first moment and says so: a busy host delays the verdict, and cannot turn it.
    """
    if view.service.operation is None or container.deploy_gen < view.service.deploy_gen:
        return False
    return serving(container) and obeyed(container) and in_first_moment(container)


def in_first_moment(container: Container) -> bool:
    """Whether a container that runs was not yet seen to run after its first moment."""
    return container.seen is not None and container.seen.settling


def ran(container: Container, policy: Policy) -> Outcome:
    """Done when it runs, or ran and ended well; failed when it could not start, ended badly, or keeps crashing."""
    seen = container.seen
    if container.want is not Want.RUN or seen is None or not obeyed(container):
        return Outcome.WAITING
    match seen.state:
        case Seen.RUNNING:
            return Outcome.DONE
        case Seen.EXITED:
            return Outcome.DONE if seen.exit_code == 0 else Outcome.FAILED
        case Seen.FAILED:
            return Outcome.FAILED
        case Seen.RESTARTING:
            return Outcome.FAILED if seen.restart_count >= policy.crashes_until_failed else Outcome.WAITING
        case Seen.PENDING | Seen.PULLING | Seen.CREATED | Seen.GONE:
            return Outcome.WAITING
        case _:
            assert_never(seen.state)


def complaint(container: Container) -> str:
    """One sentence on why the container failed, for the action's message."""
    seen = container.seen
    if seen is None:
        return f"{container.name} was not started"
    if seen.message:
        return f"{container.name}: {seen.message}"
    if seen.oom_killed:
        return f"{container.name} was killed because it ran out of memory (exit code {seen.exit_code})"
    return f"{container.name} ended with exit code {seen.exit_code} right after its start: see its logs"


def serving(container: Container) -> bool:
    """Whether the slot's container is up, so that taking it away would be felt."""
    return container.want is Want.RUN and container.seen is not None and container.seen.state is Seen.RUNNING


def gone(row: Container) -> bool:
    """Whether the container is to be gone and its node has confirmed that it is."""
    return row.want is Want.GONE and row.seen is not None and row.seen.state is Seen.GONE


def at_rest(container: Container) -> bool:
    """Whether nothing of it runs."""
    return container.seen is None or container.seen.state not in ALIVE
