"""The state table and the operation table of spec 2.13 and 2.14, cell by cell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.calls import MOST_WAITING, begin_next, call
from domain.errors import NotAllowed
from domain.image import Pull
from domain.service import (
    Accepted,
    Counts,
    Effect,
    Operation,
    Queued,
    Service,
    ServiceState,
    ServiceWant,
    Verb,
    allowed,
    cancel,
    change,
    operate,
    service_state,
)
from domain.spec import CrashPolicy
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


STATES: dict[ServiceState, tuple[ServiceWant, Verb | None, tuple[int, int, int]]] = {
    S.INIT: (W.INIT, None, (0, 0, 0)),
    S.STARTING: (W.RUNNING, Verb.START, (2, 1, 0)),
    S.RUNNING: (W.RUNNING, None, (2, 2, 0)),
    S.PARTLY_RUNNING: (W.RUNNING, None, (2, 1, 1)),
    S.SCALING: (W.RUNNING, Verb.SCALE, (2, 2, 0)),
    S.REDEPLOYING: (W.RUNNING, Verb.REDEPLOY, (2, 2, 0)),
    S.STOPPING: (W.STOPPED, Verb.STOP, (2, 1, 1)),
    S.STOPPED: (W.STOPPED, None, (2, 0, 2)),
    S.TERMINATING: (W.TERMINATED, Verb.TERMINATE, (2, 1, 0)),
    S.TERMINATED: (W.TERMINATED, None, (0, 0, 0)),
    S.NOT_RUNNING: (W.RUNNING, None, (0, 0, 0)),
}
BEGUN, STORED = Effect.BEGUN, Effect.STORED
PATCHES: dict[ServiceState, tuple[Effect, Effect, ServiceState | None]] = {
    # What a new target and new container fields lead to, and the state that the fields make.
    S.INIT: (STORED, STORED, None),
    S.STARTING: (BEGUN, BEGUN, S.REDEPLOYING),
    S.RUNNING: (BEGUN, BEGUN, S.REDEPLOYING),
    S.PARTLY_RUNNING: (BEGUN, BEGUN, S.REDEPLOYING),
    S.SCALING: (BEGUN, BEGUN, S.REDEPLOYING),
    S.REDEPLOYING: (BEGUN, BEGUN, S.REDEPLOYING),
    S.STOPPING: (STORED, STORED, None),
    S.STOPPED: (STORED, STORED, None),
    S.NOT_RUNNING: (BEGUN, STORED, None),
}


def in_state(state: ServiceState) -> tuple[Service, Counts]:
    want, verb, (current, running, stopped) = STATES[state]
    destroyed = START if state is S.TERMINATED else None
    service = a_service(want=want, operation=under_way(verb) if verb else None, destroyed_at=destroyed)
    count = Counts(current=current, running=running, stopped=stopped)
    assert service_state(service, count) is state
    return service, count


def patched(state: ServiceState, **fields: object) -> Accepted:
    service, count = in_state(state)
    target = fields.pop("target", service.target)
    spec = replace(service.spec, **fields)  # type: ignore[arg-type]
    return change(service, count, spec=spec, target=target, action=number(10), now=START)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", list(PATCHES))
def test_every_patch_cell_of_the_operation_table(state: ServiceState) -> None:
    _, count = in_state(state)
    target, fields, after = PATCHES[state]
    assert patched(state, target=3).effect is target
    policies = patched(state, autorestart=CrashPolicy.ALWAYS, nickname="n", tags=("a",))
    assert (policies.effect, service_state(policies.service, count)) == (STORED, state)
    remade = patched(state, run_command="other")
    assert (remade.effect, service_state(remade.service, count)) == (fields, after or state)
    assert patched(state).effect is Effect.NOTHING


def test_a_stopped_service_whose_containers_were_all_terminated_is_scaled() -> None:
    """Not running, whoever took them away (spec 2.14)."""
    service, count = a_service(want=W.STOPPED), Counts(current=0, running=0, stopped=0)
    assert service_state(service, count) is S.NOT_RUNNING
    changed = change(service, count, spec=service.spec, target=3, action=number(10), now=START)
    for accepted in (operate(service, count, Verb.SCALE, number(10), START), changed):
        assert (accepted.effect, accepted.service.want) == (BEGUN, W.RUNNING)
        assert service_state(accepted.service, count) is S.SCALING


@pytest.mark.parametrize("state", [S.TERMINATING, S.TERMINATED])
@pytest.mark.parametrize("fields", [{"target": 3}, {"nickname": "n"}, {"run_command": "x"}])
def test_a_dying_service_takes_no_patch(state: ServiceState, fields: dict[str, object]) -> None:
    with pytest.raises(NotAllowed, match=f"Service is in state {state.value}: update is not allowed"):
        patched(state, **fields)


@pytest.mark.parametrize("state", list(STATES))
@pytest.mark.parametrize("verb", list(Verb))
def test_every_cell_does_what_the_table_says(state: ServiceState, verb: Verb) -> None:
    service, count = in_state(state)
    if verb not in TABLE[state]:
        with pytest.raises(NotAllowed, match=f"Service is in state {state.value}: {verb.value} is not allowed"):
            operate(service, count, verb, number(10), START)
        return
    accepted = operate(service, count, verb, number(10), START)
    after = service_state(accepted.service, count)
    stored = verb is Verb.SCALE and (state in {S.INIT, S.STOPPED} or count.current == service.target)
    assert after is (state if stored else UNDER_WAY[verb])


UNDER_WAY = {
    Verb.START: S.STARTING,
    Verb.STOP: S.STOPPING,
    Verb.SCALE: S.SCALING,
    Verb.REDEPLOY: S.REDEPLOYING,
    Verb.TERMINATE: S.TERMINATING,
}


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


def test_a_call_waits_for_what_is_under_way_and_comes_after_it() -> None:
    service, count = in_state(S.REDEPLOYING)
    waiting = Queued(verb=Verb.SCALE, action=number(11), amount=2, trigger_body="hello")
    accepted = call(service, count, waiting, START)
    assert (accepted.effect, accepted.service.queued) == (Effect.QUEUED, (waiting,))
    free = replace(accepted.service, operation=None)
    begun, taken, _ = begin_next(free, count, START)
    assert isinstance(begun, Accepted)
    assert (taken, begun.service.target, begun.service.queued) == (waiting, service.target + 2, ())
    assert begun.service.operation is not None
    assert begun.service.operation.trigger_body == "hello"


def test_redeployments_that_wait_are_one_and_each_call_has_its_end() -> None:
    """The newest body counts (RELIABILITY F44, S11); others that wait keep their places."""
    service, count = in_state(S.REDEPLOYING)
    calls = [
        Queued(verb=Verb.REDEPLOY, action=number(11), trigger_body="1"),
        Queued(verb=Verb.SCALE, action=number(12), amount=1),
        Queued(verb=Verb.REDEPLOY, action=number(13), trigger_body="2"),
        Queued(verb=Verb.REDEPLOY, action=number(14), trigger_body="3"),
    ]
    for each in calls:
        accepted = call(service, count, each, START)
        assert accepted.effect is Effect.QUEUED
        service = accepted.service
    merged = replace(calls[0], trigger_body="3", joined=(number(13), number(14)))
    assert service.queued == (merged, calls[1])
    left, ended = cancel(service, number(11))
    assert ended == (number(11),)
    assert left.queued[0].actions == (number(13), number(14))
    left, _ = cancel(left, number(13))
    left, _ = cancel(left, number(14))
    assert left.queued == (calls[1],)
    begun, taken, _ = begin_next(replace(service, operation=None), count, START)
    assert isinstance(begun, Accepted)
    assert begun.service.operation is not None
    assert begun.service.operation.actions == taken.actions == (number(11), number(13), number(14))
    assert begun.service.operation.trigger_body == "3"


def test_so_many_redeployments_wait_and_no_more() -> None:
    service, count = in_state(S.REDEPLOYING)
    for n in range(MOST_WAITING):
        service = call(service, count, Queued(verb=Verb.REDEPLOY, action=number(100 + n)), START).service
    with pytest.raises(NotAllowed, match="100 calls wait already: one redeployment will do for all of them"):
        call(service, count, Queued(verb=Verb.REDEPLOY, action=number(99)), START)
    call(service, count, Queued(verb=Verb.SCALE, action=number(98), amount=1), START)


def test_an_update_during_a_redeployment_keeps_what_was_asked_for_with_it() -> None:
    """Its pull above all: else it would end well with the old image."""
    service, count = in_state(S.RUNNING)
    first = operate(service, count, Verb.REDEPLOY, number(11), START).service
    assert first.operation is not None
    asked = replace(first.operation, reuse_volumes=False, after=(number(5),), trigger_body="x")
    spec = replace(service.spec, env=(("A", "1"),))
    changed = change(
        replace(first, operation=asked), count, spec=spec, target=service.target, action=number(12), now=START
    )
    assert changed.service.operation == replace(asked, actions=(number(11), number(12)), joinable=True)
    assert (asked.image_request, asked.pull) == (number(11), Pull.ALWAYS)
    other = replace(spec, image="tutela/other:1")
    again = change(changed.service, count, spec=other, target=service.target, action=number(13), now=START)
    assert again.service.operation is not None
    assert (again.service.operation.image_request, again.service.operation.pull) == (number(13), Pull.ALWAYS)
    third = replace(other, env=())
    last = change(again.service, count, spec=third, target=service.target, action=number(14), now=START)
    assert last.service.operation is not None
    assert (last.service.operation.image_request, last.service.operation.pull) == (number(13), Pull.ALWAYS)


def test_a_call_that_has_become_impossible_is_refused_when_its_turn_comes() -> None:
    service, count = in_state(S.NOT_RUNNING)
    waiting = Queued(verb=Verb.REDEPLOY, action=number(11))
    refused, _, left = begin_next(replace(service, queued=(waiting,)), count, START)
    assert isinstance(refused, NotAllowed)
    assert left.queued == ()


@pytest.mark.parametrize("state", list(STATES))
def test_cancel_is_the_way_out_of_everything_but_a_termination(state: ServiceState) -> None:
    service, count = in_state(state)
    if service.operation is None or state is S.TERMINATING:
        with pytest.raises(NotAllowed):
            cancel(service, number(9))
        return
    free, ended = cancel(service, number(9))
    assert ended == (number(9),)
    assert service_state(free, count) in {S.RUNNING, S.PARTLY_RUNNING, S.STOPPED}
