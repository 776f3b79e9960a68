"""Beside a service's operation: orders to single containers, crash policies, and how an operation judges an end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.container import Container, Observed, Order, Seen, Want
from domain.image import ResolvedImage
from domain.service import Operation, Verb
from domain.spec import CrashPolicy, ServiceSpec
from orchestrator.planning.settled import Outcome, complaint, outcome, ran
from orchestrator.planning.steps import RetireContainer, render
from orchestrator.planning.view import Policy
from tests.planning.model import START, World, a_service, number

P, S, W = CrashPolicy, Seen, Want
POLICY = Policy()


def running(target: int = 1, **spec: object) -> World:
    world = World(a_service(target=target, spec=ServiceSpec(image="tutela/web:latest", **spec)))  # type: ignore[arg-type]
    world.operate(Verb.START)
    world.run()
    return world


def only(world: World) -> Container:
    (row,) = world.open_rows()
    return row


def change(world: World, row: Container, **changes: object) -> None:
    world.rows[row.id] = replace(row, **changes)  # type: ignore[arg-type]


def test_a_stop_of_one_container_ends_when_it_is_stopped() -> None:
    world = running()
    world.order(only(world), Verb.STOP)
    assert render(world.plan()) == "at rest"
    assert world.plan().requeue_at == world.now + POLICY.deadline
    world.agent()
    assert render(world.step()) == "finish order of web-1 well: its order is done"
    assert world.ended[-1][1:] == (True, None)


def test_a_start_of_one_container_ends_when_it_runs_or_fails() -> None:
    world = running()
    world.order(only(world), Verb.STOP)
    world.run()
    world.order(only(world), Verb.START)
    assert render(world.plan()) == "at rest"
    world.see(1, S.EXITED, exit_code=3)
    assert render(world.step()) == (
        "finish order of web-1 failed (web-1 ended with exit code 3 right after its start: see its logs):"
        " its order is done"
    )


def test_a_crash_loop_fails_the_order_to_start_after_a_few_tries() -> None:
    world = running()
    world.order(only(world), Verb.STOP)
    world.run()
    world.order(only(world), Verb.START)
    world.see(1, S.RESTARTING, restart_count=2, exit_code=1)
    assert render(world.plan()) == "at rest"
    world.see(1, S.RESTARTING, restart_count=3, exit_code=1)
    assert render(world.plan()).startswith("finish order of web-1 failed")


def test_a_start_that_a_stop_took_over_says_so() -> None:
    world = running()
    row = only(world)
    change(world, row, want=W.STOP, order=Order(verb="start", actions=(number(9),), since=world.now))
    assert "failed (the container was stopped meanwhile)" in render(world.plan())


def test_an_order_is_given_up_at_its_deadline_with_what_is_known() -> None:
    world = running()
    row = only(world)
    since = world.now
    change(world, row, order=Order(verb="start", actions=(number(9),), since=since), start_gen=row.start_gen + 1)
    world.now = since + POLICY.deadline - timedelta(seconds=1)
    assert render(world.plan()) == "at rest"
    assert world.plan().requeue_at == since + POLICY.deadline
    world.now = since + POLICY.deadline
    assert render(world.plan()) == (
        "finish order of web-1 failed (gave up after 10 minutes:"
        " web-1 ended with exit code None right after its start: see its logs): its deadline has passed"
    )
    change(world, only(world), seen=None)
    assert "gave up after 10 minutes: web-1 was not started" in render(world.plan())
    order = Order(verb="terminate", actions=(number(9),), since=since)
    change(world, only(world), want=Want.GONE, order=order)
    assert "gave up after 10 minutes: the node of web-1 did not confirm that it is gone" in render(world.plan())


def test_the_first_of_several_deadlines_is_looked_at() -> None:
    world = running(2)
    for row in world.open_rows():
        since = START + timedelta(hours=1, minutes=3 - row.slot)
        given = Order(verb="stop", actions=(number(9),), since=since)
        change(world, row, want=W.STOP, order=given)
    world.now = START + timedelta(hours=1, minutes=2)
    assert world.plan().requeue_at == START + timedelta(hours=1, minutes=1) + POLICY.deadline


@pytest.mark.parametrize(("verb", "well"), [("terminate", True), ("stop", True), ("start", False), ("redeploy", False)])
def test_what_is_gone_ends_its_order(verb: str, well: bool) -> None:
    world = running()
    given = Order(verb=verb, actions=(number(9),), since=world.now)
    change(world, only(world), want=W.GONE, seen=Observed(state=S.GONE, start_gen=1), order=given)
    end = "well" if well else "failed (web-1 was terminated before that was done)"
    assert render(world.plan()) == (
        f"finish order of web-1 {end}: it is gone\nforget web-1: its node confirmed that it is gone"
    )


def test_a_redeployment_of_one_container_hands_its_order_to_the_successor() -> None:
    world = running()
    old, since = only(world), world.now
    world.order(old, Verb.REDEPLOY)
    world.agent()
    assert render(world.step()) == (
        "forget web-1: its successor takes its slot\ncreate slot 1 (successor): slot 1 is empty"
    )
    new = only(world)
    assert (new.id != old.id, new.order) == (True, Order(verb="redeploy", actions=(number(103),), since=since))
    world.agent()
    assert "finish order of web-1 well: its order is done" in world.run()


def ended(world: World, state: Seen = S.EXITED, code: int | None = 1, **more: object) -> str:
    world.see(1, state, exit_code=code, **more)
    return render(world.plan())


def test_autoreplace_retires_what_ended_and_fills_its_slot_again() -> None:
    world = running(autoreplace=P.ON_FAILURE)
    assert ended(world, code=0) == "at rest"
    assert ended(world) == (
        "retire web-1 to refill by policy: it ended with exit code 1, and autoreplace is ON_FAILURE"
    )
    assert ended(world, S.FAILED, 0) == (
        "retire web-1 to refill by policy: it could not start, and autoreplace is ON_FAILURE"
    )
    (step,) = world.plan().steps
    assert isinstance(step, RetireContainer)
    assert step.keep_volumes


def test_autodestroy_takes_it_for_good() -> None:
    world = running(autodestroy=P.ON_SUCCESS)
    assert ended(world) == "at rest"
    assert ended(world, code=0) == "retire web-1 by policy: it ended with exit code 0, and autodestroy is ON_SUCCESS"
    (step,) = world.plan().steps
    assert isinstance(step, RetireContainer)
    assert not step.keep_volumes
    world.run()
    assert world.open_rows() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"will_restart": True},
        {"state": S.RUNNING},
        {"state": S.RESTARTING},
        {"start_gen": 0},
    ],
)
def test_policies_wait_for_a_last_word(changes: dict[str, object]) -> None:
    world = running(autodestroy=P.ALWAYS)
    row = only(world)
    seen = replace(Observed(state=S.EXITED, start_gen=row.start_gen, exit_code=1), **changes)  # type: ignore[arg-type]
    change(world, row, seen=seen)
    assert render(world.plan()) == "at rest"
    change(world, only(world), seen=None)
    assert render(world.plan()) == "at rest"


def test_policies_take_nothing_that_is_to_be_stopped_or_that_an_order_judges_first() -> None:
    world = running(autodestroy=P.ALWAYS)
    row = only(world)
    change(world, row, want=W.STOP, seen=Observed(state=S.EXITED, start_gen=1))
    assert render(world.plan()) == "at rest"
    open_ = Order(verb="start", actions=(number(9),), since=world.now)
    change(world, row, order=open_, seen=Observed(state=S.EXITED, start_gen=1, exit_code=1))
    assert render(world.plan()).splitlines()[1:] == [
        "retire web-1 by policy: it ended with exit code 1, and autodestroy is ALWAYS"
    ]


def test_a_replacement_needs_the_image_that_is_named_now() -> None:
    world = running(autoreplace=P.ALWAYS)
    world.service = replace(world.service, image=ResolvedImage(reference="other:1", image_id="x"))
    assert ended(world) == "at rest"


def test_too_many_replacements_within_a_while_are_the_last_ones() -> None:
    world = running(autoreplace=P.ALWAYS)
    row, at = only(world), START + timedelta(hours=1)
    change(world, row, replaced=(at, at, at))
    assert ended(world, finished_at=at) == "at rest"
    assert "retire" in ended(world, finished_at=at + timedelta(minutes=6))
    for minutes, gone in ((4, False), (6, True)):
        before = row.created_at - timedelta(minutes=minutes)
        change(world, only(world), replaced=(before, before, before))
        assert ("retire" in ended(world)) is gone, "without a time of its end its creation counts"


def test_what_an_operation_left_to_a_policy_comes_next() -> None:
    world = running(autodestroy=P.ALWAYS)
    world.operate(Verb.STOP)
    world.agent()
    world.step()
    world.agent()
    plan = world.plan()
    assert render(plan) == "finish well: all containers are stopped"
    assert plan.requeue_at == world.now
    plain = running()
    plain.operate(Verb.STOP)
    plain.step()
    plain.agent()
    assert plain.plan().requeue_at is None


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (Observed(state=S.PENDING), Outcome.WAITING),
        (Observed(state=S.PULLING), Outcome.WAITING),
        (Observed(state=S.CREATED), Outcome.WAITING),
        (Observed(state=S.GONE), Outcome.WAITING),
        (Observed(state=S.RUNNING), Outcome.DONE),
        (Observed(state=S.EXITED, exit_code=0), Outcome.DONE),
        (Observed(state=S.EXITED, exit_code=1), Outcome.FAILED),
        (Observed(state=S.EXITED), Outcome.FAILED),
        (Observed(state=S.FAILED), Outcome.FAILED),
        (Observed(state=S.RESTARTING, restart_count=2), Outcome.WAITING),
        (Observed(state=S.RESTARTING, restart_count=3), Outcome.FAILED),
        (None, Outcome.WAITING),
    ],
)
def test_how_far_a_container_is(seen: Observed | None, found: Outcome) -> None:
    world = running()
    row = only(world)
    row = replace(row, seen=replace(seen, start_gen=row.start_gen) if seen else None)
    assert ran(row, POLICY) is found
    assert ran(replace(row, want=W.STOP), POLICY) is Outcome.WAITING
    assert ran(replace(row, start_gen=row.start_gen + 1), POLICY) is Outcome.WAITING


def test_a_scaling_judges_only_what_it_made() -> None:
    world = running()
    row = replace(only(world), seen=None)
    scaling = Operation(verb=Verb.SCALE, actions=(number(9),), since=row.created_at)
    view = world.view()

    def judged(operation: Operation | None) -> Outcome:
        return outcome(row, replace(view, service=replace(view.service, operation=operation)), POLICY)

    assert judged(scaling) is Outcome.WAITING
    assert judged(replace(scaling, since=row.created_at + timedelta(seconds=1))) is Outcome.DONE
    assert judged(replace(scaling, verb=Verb.START, since=row.created_at + timedelta(seconds=1))) is Outcome.WAITING
    assert judged(None) is Outcome.WAITING


def test_an_older_generation_that_runs_is_counted_on_at_once() -> None:
    """Only what the operation made may be a container that cannot run."""
    world = running()
    row = only(world)
    view = world.view()
    first = replace(row, seen=Observed(state=S.RUNNING, start_gen=row.start_gen, settling=True))

    def judged(row: Container, *, gen: int = 1, operation: bool = True) -> Outcome:
        under_way = Operation(verb=Verb.REDEPLOY, actions=(number(9),), since=START) if operation else None
        return outcome(row, replace(view, service=replace(view.service, operation=under_way, deploy_gen=gen)), POLICY)

    assert judged(first) is Outcome.WAITING
    assert judged(first, gen=2) is Outcome.DONE
    assert judged(first, operation=False) is Outcome.DONE
    assert judged(replace(first, start_gen=9)) is Outcome.WAITING


def test_complaints_name_the_cause() -> None:
    row = only(running())

    def said(**seen: object) -> str:
        return complaint(replace(row, seen=Observed(state=S.FAILED, **seen)))  # type: ignore[arg-type]

    assert complaint(replace(row, seen=None)) == "web-1 was not started"
    assert said(message="port 80 is taken", oom_killed=True) == "web-1: port 80 is taken"
    assert said(oom_killed=True, exit_code=137) == ("web-1 was killed because it ran out of memory (exit code 137)")
    assert said(exit_code=2) == "web-1 ended with exit code 2 right after its start: see its logs"


def test_what_goes_while_the_image_of_its_definition_is_unknown_is_not_made_anew() -> None:
    """A new image that could not be had, then a redeployment of one container: found by seed 336 of the simulator."""
    world = running(target=1)
    (row,) = world.open_rows()
    assert row.seen is not None
    world.rows[row.id] = replace(row, want=Want.GONE, refill=True, seen=replace(row.seen, state=Seen.GONE))
    world.service = replace(world.service, spec=replace(world.service.spec, image="tutela/other:1"))
    assert render(world.plan()) == "forget web-1: its node confirmed that it is gone"
