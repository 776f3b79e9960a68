"""The state table and the operation table of spec 2.13 and 2.14, cell by cell."""

from __future__ import annotations

import pytest

from domain.errors import NotAllowed
from domain.service import Counts, Effect, Operation, ServiceState, ServiceWant, Verb, allowed, operate, service_state
from tests.planning.model import START, a_service, number

S, W = ServiceState, ServiceWant


def under_way(verb: Verb, *, joinable: bool = False) -> Operation:
    return Operation(verb=verb, actions=(number(9),), since=START, joinable=joinable)


@pytest.mark.parametrize(
    ("want", "operation", "count", "target", "state"),
    [
        (W.INIT, None, (0, 0, 0), 2, S.INIT),
        (W.RUNNING, None, (2, 2, 0), 2, S.RUNNING),
        (W.RUNNING, None, (2, 1, 0), 2, S.PARTLY_RUNNING),
        (W.RUNNING, None, (1, 1, 0), 2, S.PARTLY_RUNNING),
        (W.RUNNING, None, (2, 0, 2), 2, S.STOPPED),
        (W.RUNNING, None, (2, 0, 0), 2, S.STOPPED),
        (W.RUNNING, None, (0, 0, 0), 0, S.NOT_RUNNING),
        (W.STOPPED, None, (0, 0, 0), 0, S.NOT_RUNNING),
        (W.STOPPED, None, (2, 0, 2), 2, S.STOPPED),
        (W.RUNNING, Verb.START, (2, 1, 0), 2, S.STARTING),
        (W.RUNNING, Verb.SCALE, (2, 2, 0), 3, S.SCALING),
        (W.RUNNING, Verb.REDEPLOY, (2, 2, 0), 2, S.REDEPLOYING),
        (W.STOPPED, Verb.STOP, (2, 2, 0), 2, S.STOPPING),
        (W.TERMINATED, Verb.TERMINATE, (1, 1, 0), 0, S.TERMINATING),
        (W.TERMINATED, None, (0, 0, 0), 0, S.TERMINATING),
    ],
)
def test_the_states_follow_the_ordered_rules(
    want: ServiceWant, operation: Verb | None, count: tuple[int, int, int], target: int, state: ServiceState
) -> None:
    service = a_service(want=want, operation=under_way(operation) if operation else None, target=target)
    current, running, stopped = count
    assert service_state(service, Counts(current=current, running=running, stopped=stopped)) is state


def test_terminated_is_what_is_destroyed_and_empty() -> None:
    service = a_service(want=W.TERMINATED, destroyed_at=START)
    assert service_state(service, Counts(current=0, running=0, stopped=0)) is S.TERMINATED


TABLE = {
    S.INIT: {Verb.START, Verb.SCALE, Verb.TERMINATE},
    S.STARTING: set(),
    S.RUNNING: {Verb.STOP, Verb.REDEPLOY, Verb.SCALE, Verb.TERMINATE},
    S.PARTLY_RUNNING: {Verb.START, Verb.STOP, Verb.REDEPLOY, Verb.SCALE, Verb.TERMINATE},
    S.SCALING: set(),
    S.REDEPLOYING: set(),
    S.STOPPING: set(),
    S.STOPPED: {Verb.START, Verb.REDEPLOY, Verb.SCALE, Verb.TERMINATE},
    S.TERMINATING: set(),
    S.TERMINATED: set(),
    S.NOT_RUNNING: {Verb.START, Verb.SCALE, Verb.TERMINATE},
}


@pytest.mark.parametrize("state", list(ServiceState))
@pytest.mark.parametrize("verb", list(Verb))
def test_every_cell_of_the_operation_table(state: ServiceState, verb: Verb) -> None:
    assert allowed(verb, state, target=2) is (verb in TABLE[state])


def test_not_running_with_nothing_to_run_allows_terminate_only() -> None:
    assert {verb for verb in Verb if allowed(verb, S.NOT_RUNNING, target=0)} == {Verb.TERMINATE}


def test_a_post_joins_what_a_patch_began_and_only_that() -> None:
    count = Counts(current=2, running=2, stopped=0)
    patched = a_service(want=W.RUNNING, operation=under_way(Verb.SCALE, joinable=True))
    accepted = operate(patched, count, Verb.SCALE, number(10), START)
    assert accepted.service.operation is not None
    assert accepted.service.operation.actions == (number(9), number(10))
    posted = a_service(want=W.RUNNING, operation=under_way(Verb.SCALE))
    with pytest.raises(NotAllowed, match="Scaling"):
        operate(posted, count, Verb.SCALE, number(10), START)


def test_a_scaling_to_what_is_there_is_nothing() -> None:
    service = a_service(want=W.RUNNING)
    count = Counts(current=2, running=2, stopped=0)
    assert operate(service, count, Verb.SCALE, number(10), START).effect is Effect.NOTHING
