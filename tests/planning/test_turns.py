"""Whose turn it is: calls that wait, operations behind others, what a stop and a termination wait for."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from domain.container import Mount, Observed
from domain.service import Queued, ServiceWant, Verb
from domain.spec import Strategy
from orchestrator.planning.service import plan_service
from orchestrator.planning.steps import render
from tests.planning.model import NODE, START, World, a_service, number
from tests.planning.test_rest import POLICY, S, W, change, only, running


def test_what_is_terminated_is_waited_for() -> None:
    world = running(2)
    world.operate(Verb.TERMINATE)
    assert render(world.plan()) == (
        "retire web-2: the service is terminated\nretire web-1: the service is terminated\n"
        "wait: web-1, web-2 have to be removed"
    )
    world.step()
    assert render(world.plan()) == "wait: web-1, web-2 have to be removed"


def test_what_a_stop_does_not_touch() -> None:
    world = running(3)
    world.operate(Verb.STOP)
    rows = {row.slot: row for row in world.open_rows()}
    change(world, rows[2], want=W.GONE)
    world.service = replace(world.service, target=2)
    assert render(world.plan()) == (
        "retire web-3: its slot is above the target of 2\nstop web-1: the service is stopped\n"
        "wait: web-1, web-2, web-3 have to stop"
    )
    change(world, rows[2], want=W.STOP)
    stopping = render(world.plan())
    assert "stop web-2" not in stopping
    for row in rows.values():
        change(world, row, want=W.STOP, seen=Observed(state=S.EXITED, start_gen=1))
    assert "finish well: all containers are stopped" in render(world.plan())


def test_a_stop_that_takes_too_long_waits_and_names_who() -> None:
    world = running(1)
    world.operate(Verb.STOP)
    world.step()
    assert render(world.plan()) == "wait: web-1 has to stop"


def test_an_operation_waits_for_those_of_its_stack_and_not_for_ever() -> None:
    world = World(a_service())
    world.operate(Verb.START)
    view = replace(world.view(), behind=("db", "cache"))

    def told(at: datetime) -> str:
        plan = plan_service(replace(view, now=at), POLICY)
        return f"{render(plan)} / {plan.requeue_at and plan.requeue_at - at}"

    assert told(START) == "wait: db, cache to finish first / 0:00:01"
    assert told(START + POLICY.deadline - timedelta(seconds=1)).startswith("wait")
    assert told(START + POLICY.deadline) == (
        "finish failed (gave up after 10 minutes: db, cache did not finish first): its deadline has passed / 0:00:00"
    )


def test_volumes_that_nobody_will_use_are_taken() -> None:
    world = running(2)
    for row in world.open_rows():
        mount = Mount(source=f"v{row.slot}", target="/d", volume=True, own=True)
        change(world, row, spec=replace(row.spec, mounts=(mount,)))
    pinned = {1: NODE, 2: NODE, 3: NODE, 5: NODE}
    view = replace(world.view(), pinned=pinned)
    assert render(plan_service(view, POLICY)) == (
        "take volumes of slot 3: nothing will use them\ntake volumes of slot 5: nothing will use them"
    )
    less = replace(view, service=replace(view.service, target=1))
    assert render(plan_service(less, POLICY)).splitlines()[:2] == [
        "retire web-2: its slot is above the target of 1",
        "take volumes of slot 3: nothing will use them",
    ]
    every = replace(view.service.spec, deployment_strategy=Strategy.EVERY_NODE)
    assert "take" not in render(plan_service(replace(view, service=replace(view.service, spec=every)), POLICY))
    first = replace(view, pinned={1: NODE, 2: NODE}, containers=())
    none = replace(view.service, target=0)
    assert render(plan_service(replace(first, service=none), POLICY)).startswith("take volumes of slot 1")
    dead = replace(none, want=ServiceWant.TERMINATED)
    assert render(plan_service(replace(first, service=dead), POLICY)) == (
        "take volumes of slot 1: nothing will use them\ntake volumes of slot 2: nothing will use them\n"
        "wait: its volumes to be removed"
    )
    assert "take" not in render(plan_service(replace(first, service=view.service), POLICY)), "their slots are wanted"
    dying = replace(view.service, want=ServiceWant.TERMINATED, target=0)
    assert render(plan_service(replace(view, service=dying), POLICY)) == (
        "retire web-2: the service is terminated\nretire web-1: the service is terminated\n"
        "take volumes of slot 3: nothing will use them\ntake volumes of slot 5: nothing will use them\n"
        "wait: its volumes to be removed"
    )


def test_volumes_that_were_kept_for_a_successor_are_taken_when_there_will_be_none() -> None:
    world = running(2)
    (row,) = (row for row in world.open_rows() if row.slot == 2)
    change(world, row, want=W.GONE, refill=True)

    def told(**changes: object) -> str:
        view = replace(world.view(), pinned={2: NODE})
        service = replace(view.service, **changes)  # type: ignore[arg-type]
        return render(plan_service(replace(view, service=service), POLICY))

    less, dying = {"target": 1}, {"target": 0, "want": ServiceWant.TERMINATED}
    assert "take" not in told(**less) + told(**dying), "its container may still use them"
    world.see(2, S.GONE)
    assert told() == "forget web-2: its successor takes its slot\ncreate slot 2 (successor): slot 2 is empty"
    assert told(**less) == (
        "forget web-2: its node confirmed that it is gone\ntake volumes of slot 2: nothing will use them"
    )
    assert told(**dying) == (
        "forget web-2: its node confirmed that it is gone\nretire web-1: the service is terminated\n"
        "take volumes of slot 2: nothing will use them\nwait: its volumes to be removed"
    )


def test_a_dead_service_stays_closed_and_one_without_an_operation_is_closed_too() -> None:
    world = World(a_service(want=ServiceWant.TERMINATED, target=0))
    assert render(world.plan()) == "close service: its last container is gone"
    world.service = replace(world.service, destroyed_at=START)
    assert render(world.plan()) == "at rest"


def test_a_call_that_waits_is_begun_when_nothing_is_under_way() -> None:
    world = running()
    world.operate(Verb.STOP)
    waiting = Queued(verb=Verb.REDEPLOY, action=number(50))
    world.service = replace(world.service, queued=(waiting,))
    assert render(world.plan()) == "stop web-1: the service is stopped\nwait: web-1 has to stop"
    world.service = replace(world.service, operation=None)
    begin = world.plan()
    assert render(begin) == "begin queued call: its turn has come\nwait: a queued call is begun"
    assert begin.requeue_at == world.now


def test_a_start_that_is_given_up_says_what_it_waited_for() -> None:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.step()
    world.now += POLICY.deadline
    assert render(world.plan()) == (
        "finish failed (gave up after 10 minutes: image tutela/web:latest is being looked up): its deadline has passed"
    )


def test_an_image_that_came_is_used_although_nothing_else_can_be_done_yet() -> None:
    world = running()
    world.operate(Verb.REDEPLOY)
    change(world, only(world), want=W.GONE)
    world.step()
    world.agent()
    change(world, only(world), seen=Observed(state=S.RUNNING))
    assert render(world.plan()) == "use image sha256:1: the image was looked up\nwait: web-1 has to settle"
