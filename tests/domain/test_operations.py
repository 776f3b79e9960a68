"""What operations make of a service, and what they say: beside the tables of test_service."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.calls import begin_next, call
from domain.errors import Invalid, NotAllowed
from domain.image import Pull
from domain.service import (
    Accepted,
    Counts,
    Effect,
    Operation,
    Queued,
    Verb,
    cancel,
    change,
    operate,
    synchronized,
    up_to_date,
    usable_image,
)
from domain.spec import ServiceSpec, Strategy
from tests.domain.test_service import BEGUN, STORED, S, W, in_state, patched, under_way
from tests.planning.model import START, World, a_service, an_image, number


def test_who_is_up_to_date() -> None:
    world = World(a_service())
    world.operate(Verb.START)
    world.run()
    rows = world.open_rows()
    assert synchronized(world.service, rows)
    assert all(up_to_date(world.service, row) for row in rows)
    assert not up_to_date(replace(world.service, deploy_gen=2), rows[0])
    assert up_to_date(world.service, replace(rows[0], deploy_gen=2))
    old = replace(rows[0], made_from="other")
    assert not up_to_date(world.service, old)
    assert not synchronized(world.service, [old, rows[1]])
    assert synchronized(world.service, [replace(old, leaving=True), replace(old, terminated_at=START), rows[1]])


def test_a_services_operation_waits_for_those_before_it_in_the_stack() -> None:
    service, count = in_state(S.STOPPED)
    begun = operate(service, count, Verb.START, number(10), START, after=(number(3),))
    assert begun.service.operation is not None
    assert (begun.service.operation.after, begun.effect) == ((number(3),), BEGUN)
    alone = operate(service, count, Verb.START, number(10), START)
    assert alone.service.operation is not None
    assert alone.service.operation.after == ()
    nothing = operate(service, count, Verb.SCALE, number(10), START, after=(number(3),))
    assert (nothing.effect, nothing.service) == (Effect.NOTHING, service)


def test_a_service_for_every_node_is_not_scaled_and_stays_one() -> None:
    every = ServiceSpec(image="i", deployment_strategy=Strategy.EVERY_NODE)
    service, count = in_state(S.RUNNING)
    service = replace(service, spec=every)
    with pytest.raises(Invalid) as scaled:
        operate(service, count, Verb.SCALE, number(10), START)
    assert set(scaled.value.fields) == {"target_num_containers"}
    assert "follows the nodes with strategy EVERY_NODE" in str(scaled.value)
    with pytest.raises(Invalid, match="target_num_containers: follows the nodes"):
        change(service, count, spec=every, target=5, action=number(10), now=START)
    with pytest.raises(NotAllowed, match="a service for every node is not scaled: it follows the nodes"):
        call(service, count, Queued(verb=Verb.SCALE, action=number(10), amount=1), START)
    for before, after in ((every, Strategy.EMPTIEST_NODE), (replace(every, deployment_strategy=A_NODE), EVERY)):
        spec = replace(before, deployment_strategy=after)
        with pytest.raises(Invalid, match="deployment_strategy: cannot be changed to or from EVERY_NODE"):
            change(replace(service, spec=before), count, spec=spec, target=2, action=number(10), now=START)
    plain = replace(every, deployment_strategy=A_NODE)
    spread = replace(plain, deployment_strategy=Strategy.HIGH_AVAILABILITY)
    moved = change(replace(service, spec=plain), count, spec=spread, target=2, action=number(10), now=START)
    assert moved.effect is STORED


EVERY, A_NODE = Strategy.EVERY_NODE, Strategy.EMPTIEST_NODE


def test_cancel_lets_go_of_a_call_that_waits_and_of_nothing_else() -> None:
    service, _ = in_state(S.REDEPLOYING)
    first, second = (Queued(verb=Verb.REDEPLOY, action=number(n)) for n in (21, 22))
    waiting = replace(service, queued=(first, second))
    left, ended = cancel(waiting, number(21))
    assert (left.queued, ended, left.operation) == ((second,), (number(21),), service.operation)
    free, ended = cancel(waiting, number(9))
    assert (free.queued, ended, free.operation) == ((first, second), (number(9),), None)
    with pytest.raises(NotAllowed, match="the action is not under way: there is nothing to cancel"):
        cancel(waiting, number(99))
    with pytest.raises(
        NotAllowed, match=r"^a termination cannot be canceled: its containers and their data are being removed$"
    ):
        cancel(in_state(S.TERMINATING)[0], number(9))


def test_what_each_operation_makes_of_the_service() -> None:
    later = START + timedelta(hours=1)
    service, count = in_state(S.STOPPED)
    service = replace(service, start_gen=3, deploy_gen=4, deployed_at=START, image=an_image(service.spec))
    started = operate(service, count, Verb.START, number(10), later).service
    assert (started.want, started.start_gen, started.deploy_gen) == (W.RUNNING, 4, 4)
    assert (started.started_at, started.deployed_at) == (later, START)
    assert started.operation == Operation(verb=Verb.START, actions=(number(10),), since=later)
    first = operate(
        replace(service, want=W.INIT), Counts(current=0, running=0, stopped=0), Verb.START, number(1), later
    )
    assert first.service.deployed_at == later
    unknown = operate(replace(service, image=None), count, Verb.START, number(10), later).service.operation
    assert unknown is not None
    assert (unknown.image_request, unknown.pull) == (number(10), Pull.MISSING)
    redone = operate(service, count, Verb.REDEPLOY, number(10), later).service
    assert (redone.start_gen, redone.deploy_gen, redone.deployed_at, redone.started_at) == (4, 5, later, later)
    assert redone.operation is not None
    assert (redone.operation.image_request, redone.operation.pull) == (number(10), Pull.ALWAYS)
    assert not redone.operation.joinable
    running, count = in_state(S.RUNNING)
    stopped = operate(running, count, Verb.STOP, number(10), later).service
    assert (stopped.want, stopped.stopped_at) == (W.STOPPED, later)
    assert stopped.operation == Operation(verb=Verb.STOP, actions=(number(10),), since=later)
    ended = operate(running, count, Verb.TERMINATE, number(10), later).service
    assert (ended.want, ended.target) == (W.TERMINATED, 0)
    assert ended.operation == Operation(verb=Verb.TERMINATE, actions=(number(10),), since=later)


def test_a_newer_wish_takes_the_actions_of_the_older_over() -> None:
    later = START + timedelta(hours=1)
    service, count = in_state(S.SCALING)
    scaled = change(service, count, spec=service.spec, target=5, action=number(10), now=later).service.operation
    assert scaled == Operation(verb=Verb.SCALE, actions=(number(9), number(10)), since=later)
    remade = patched(S.SCALING, run_command="other").service.operation
    assert remade is not None
    assert (remade.actions, remade.joinable, remade.pull) == ((number(9), number(10)), True, Pull.MISSING)
    other = patched(S.RUNNING, image="other:1").service.operation
    assert other is not None
    assert (other.image_request, other.pull) == (number(10), Pull.ALWAYS)
    fresh = patched(S.RUNNING, target=3).service.operation
    assert fresh is not None
    assert (fresh.verb, fresh.joinable, fresh.actions) == (Verb.SCALE, True, (number(10),))


def test_a_trigger_cannot_be_joined_and_its_body_goes_along() -> None:
    service, count = in_state(S.RUNNING)
    body = Queued(verb=Verb.SCALE, action=number(10), amount=1, trigger_body="b")
    begun = call(service, count, body, START).service
    assert begun.operation is not None
    assert (begun.target, begun.operation.joinable, begun.operation.trigger_body) == (3, False, "b")
    assert (begun.operation.since, begun.operation.actions) == (START, (number(10),))
    later, _, _ = begin_next(replace(service, queued=(body,)), count, START)
    assert isinstance(later, Accepted)
    assert later.service.operation == begun.operation
    again = call(service, count, Queued(verb=Verb.REDEPLOY, action=number(10)), START).service
    assert (again.operation and again.operation.since, again.deployed_at) == (START, START)
    stopped, count = in_state(S.STOPPED)
    stored = call(stopped, count, body, START)
    assert (stored.effect, stored.service.operation, stored.service.target) == (STORED, None, 3)
    dying, count = in_state(S.TERMINATING)
    with pytest.raises(NotAllowed, match="Terminating"):
        call(dying, count, Queued(verb=Verb.REDEPLOY, action=number(10)), START)


@pytest.mark.parametrize("verb", [Verb.SCALE, Verb.REDEPLOY])
def test_only_the_same_of_what_a_patch_began_is_joined(verb: Verb) -> None:
    count = Counts(current=2, running=2, stopped=0)
    begun = a_service(want=W.RUNNING, operation=under_way(verb, joinable=True))
    joined = operate(begun, count, verb, number(10), START)
    assert (joined.effect, joined.service.operation) == (
        BEGUN, replace(under_way(verb, joinable=True), actions=(number(9), number(10))),
    )  # fmt: skip
    for other in set(Verb) - {verb}:
        with pytest.raises(NotAllowed):
            operate(begun, count, other, number(10), START)
    starting = a_service(want=W.RUNNING, operation=under_way(Verb.START, joinable=True))
    with pytest.raises(NotAllowed):
        operate(starting, count, Verb.START, number(10), START)


def test_refusals_say_what_is_possible() -> None:
    service, count = in_state(S.RUNNING)
    with pytest.raises(NotAllowed) as running:
        operate(service, count, Verb.START, number(10), START)
    assert str(running.value) == (
        "Service is in state Running: start is not allowed (allowed now: redeploy, scale, stop, terminate)"
    )
    service, count = in_state(S.STARTING)
    with pytest.raises(NotAllowed) as starting:
        operate(service, count, Verb.STOP, number(10), START)
    assert str(starting.value) == (
        "Service is in state Starting: stop is not allowed (nothing is allowed until that has ended)"
    )


def test_a_crash_loop_can_be_stopped_between_two_starts() -> None:
    """Found by a new user: its state is Stopped then, in which the table has no stop."""
    service = a_service(want=W.RUNNING)
    between, ended = Counts(current=2, running=0, stopped=1), Counts(current=2, running=0, stopped=2)
    assert operate(service, between, Verb.STOP, number(10), START).service.want is W.STOPPED
    with pytest.raises(NotAllowed, match="Stopped: stop"):
        operate(service, ended, Verb.STOP, number(10), START)
    with pytest.raises(NotAllowed, match="Stopped: stop"):
        operate(replace(service, want=W.STOPPED), between, Verb.STOP, number(10), START)
    gone, count = in_state(S.TERMINATED)
    with pytest.raises(
        NotAllowed, match=r"^Service is in state Terminated: start is not allowed \(it is gone for good\)$"
    ):
        operate(gone, count, Verb.START, number(10), START)


def test_an_image_of_another_definition_is_not_usable() -> None:
    service = a_service()
    assert usable_image(service) is None
    image = an_image(service.spec)
    assert usable_image(replace(service, image=image)) is image
    assert usable_image(replace(service, image=replace(image, reference="other:1"))) is None
