"""What holds for every service, whatever users, agents and crashes do (RELIABILITY T1)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.calls import call
from domain.container import Observed, Seen, Want
from domain.errors import NotAllowed
from domain.node import Candidate, NodeState
from domain.orders import VERBS
from domain.service import (
    Queued,
    ServiceState,
    ServiceWant,
    Verb,
    cancel,
    change,
    counts,
    service_state,
)
from domain.spec import CrashPolicy, ServiceSpec
from orchestrator.planning.service import plan_service
from orchestrator.planning.settled import Outcome, ran, serving, settling
from orchestrator.planning.steps import (
    BeginQueued,
    CreateContainer,
    FinishOperation,
    ForgetContainer,
    LeaveSlot,
    Plan,
    RetireContainer,
    StopContainer,
    render,
)
from orchestrator.planning.view import ServiceView
from tests.harness.examples import examples
from tests.planning.model import POLICY, World, a_service, number

moves = st.one_of(
    st.tuples(st.just("verb"), st.sampled_from(list(Verb))),
    st.tuples(st.just("target"), st.integers(0, 5)),
    st.tuples(st.just("env"), st.integers(0, 3)),
    st.tuples(st.just("agent"), st.integers(0, 7)),
    st.tuples(st.just("crash"), st.tuples(st.integers(0, 7), st.sampled_from([0, 1, 137]))),
    st.tuples(st.just("fail"), st.integers(0, 7)),
    st.tuples(st.just("plan"), st.just(0)),
    st.tuples(st.just("order"), st.tuples(st.integers(0, 7), st.sampled_from(VERBS))),
    st.tuples(st.just("call"), st.integers(0, 2)),
    st.tuples(st.just("cancel"), st.just(0)),
)
specs = st.builds(
    ServiceSpec,
    image=st.just("tutela/web:latest"),
    sequential_deployment=st.booleans(),
    autorestart=st.sampled_from([CrashPolicy.OFF, CrashPolicy.ON_FAILURE, CrashPolicy.ALWAYS]),
    autoreplace=st.sampled_from([CrashPolicy.OFF, CrashPolicy.ON_FAILURE, CrashPolicy.ALWAYS]),
    autodestroy=st.sampled_from(list(CrashPolicy)),
)


def move(world: World, kind: str, value: object) -> None:
    rows = world.open_rows()
    match kind:
        case "verb":
            try:
                world.operate(value)  # type: ignore[arg-type]
            except NotAllowed:
                return
        case "target" | "env":
            spec, target = world.service.spec, world.service.target
            if kind == "target":
                target = value  # type: ignore[assignment]
            else:
                spec = replace(spec, env=(("A", str(value)),))
            try:
                accepted = change(
                    world.service, counts(rows), spec=spec, target=target, action=world.uuid(), now=world.now
                )
            except NotAllowed:
                return
            world.service = accepted.service
        case "agent":
            world.agent(only=value)  # type: ignore[arg-type]
        case "crash" | "fail":
            index, code = value if isinstance(value, tuple) else (value, None)
            if rows:
                row = rows[index % len(rows)]
                if row.want is Want.RUN and row.seen and row.seen.state is Seen.RUNNING:
                    state = Seen.FAILED if kind == "fail" else Seen.EXITED
                    seen = Observed(state=state, start_gen=row.seen.start_gen, exit_code=code)
                    world.rows[row.id] = replace(row, seen=seen)
        case "order":
            assert isinstance(value, tuple)
            index, what = value
            if rows:
                try:
                    world.order(rows[index % len(rows)], what)
                except NotAllowed:
                    return
        case "call":
            verb = Verb.SCALE if value else Verb.REDEPLOY
            queued = Queued(verb=verb, action=world.uuid(), amount=value)  # type: ignore[arg-type]
            try:
                world.service = call(world.service, counts(rows), queued, world.now).service
            except NotAllowed:
                return
        case "cancel":
            if world.service.operation:
                try:
                    world.service, _ = cancel(world.service, world.service.operation.actions[0])
                except NotAllowed:
                    return
        case "plan":
            check(world)


TRANSITIONAL = {
    ServiceState.STARTING,
    ServiceState.SCALING,
    ServiceState.REDEPLOYING,
    ServiceState.STOPPING,
    ServiceState.TERMINATING,
}
ENDS = {ServiceState.TERMINATING, ServiceState.TERMINATED}
FOLLOWS: dict[ServiceState, set[ServiceState]] = {
    ServiceState.INIT: {ServiceState.INIT, ServiceState.STARTING, *ENDS},
    ServiceState.TERMINATING: ENDS,
    ServiceState.TERMINATED: {ServiceState.TERMINATED},
}
"""What may follow a state; after all others anything but Init, since containers may do as they like in between."""


def state_of(world: World) -> ServiceState:
    return service_state(world.service, counts(list(world.rows.values())))


def check(world: World) -> None:
    """Plan once: deterministic, safe, and with nothing left to create or retire right after."""
    view = world.view()
    plan = plan_service(view, POLICY)
    assert render(plan) == render(plan_service(view, POLICY)), "not deterministic"
    shuffled = replace(view, containers=tuple(reversed(view.containers)), nodes=tuple(reversed(view.nodes)))
    assert render(plan) == render(plan_service(shuffled, POLICY)), "the order of the input matters"
    before = {row.id: row for row in world.open_rows()}
    keeps_service(view, plan)
    for step in plan.steps:
        if isinstance(step, ForgetContainer):
            row = before[step.container_id]
            assert row.want is Want.GONE, "forgot a container nobody wanted gone"
            assert row.seen is not None, "forgot a container nobody reported"
            assert row.seen.state is Seen.GONE, "forgot a container that may still be there"
    world.step()
    slots = [row.slot for row in world.open_rows() if not row.leaving]
    assert len(slots) == len(set(slots)), "two containers in one slot"
    followed = {row.follows: row for row in world.open_rows() if row.follows}
    for row in world.open_rows():
        if row.leaving:
            heir = followed[row.id]
            assert (row.want, row.slot, row.node_id) == (Want.GONE, heir.slot, heir.node_id), "two in one slot"
    wanted = [row for row in world.open_rows() if row.want is Want.RUN]
    assert len(wanted) <= max(world.service.target, 0), "more containers than the target"
    again = world.plan()
    redo = [s for s in again.steps if isinstance(s, CreateContainer | RetireContainer | StopContainer)]
    # Crash policies, and calls that waited, come after the end of an operation.
    ended = any(isinstance(step, FinishOperation | BeginQueued) for step in plan.steps)
    assert ended or not redo, f"not idempotent: {render(again)}"


def keeps_service(view: ServiceView, plan: Plan) -> None:
    """I7: a redeployment takes no container from its users before its image is known, and few at a time."""
    operation = view.service.operation
    if operation is None or operation.verb is not Verb.REDEPLOY:
        return
    kept = [row for row in view.containers if row.slot <= view.service.target and row.want is not Want.GONE]
    going = {step.container_id for step in plan.steps if isinstance(step, RetireContainer | LeaveSlot)}
    if not [row for row in kept if row.id in going and serving(row)]:
        return
    assert operation.image_request is None or (view.image is not None and view.image.image is not None), "no image yet"
    new = {row.id for row in kept if row.deploy_gen == view.service.deploy_gen}
    left = [
        row
        for row in kept
        if row.id not in going
        # A job that ended well has done what was asked of it.
        and ((serving(row) and not settling(row, view)) or (row.id in new and ran(row, POLICY) is Outcome.DONE))
    ]
    assert len(left) >= view.service.target - POLICY.max_unavailable, render(plan)


@examples(2000)
@given(spec=specs, target=st.integers(0, 5), script=st.lists(moves, max_size=30))
def test_any_history_is_safe_and_converges(spec: ServiceSpec, target: int, script: list[tuple[str, object]]) -> None:
    world = World(a_service(spec=spec, target=target))
    shown = [state_of(world)]
    for kind, value in script:
        move(world, kind, value)
        shown.append(state_of(world))
    world.run(rounds=120)
    shown.append(state_of(world))
    for before, after in itertools.pairwise(shown):
        assert after in FOLLOWS.get(before, set(ServiceState) - {ServiceState.INIT}), f"{before} became {after}"
    assert shown[-1] not in TRANSITIONAL, "an operation shows at rest"
    check(world)
    assert world.service.operation is None, "an operation is still open at rest"
    assert not world.service.queued, "a call still waits at rest"
    assert not [row for row in world.open_rows() if row.order], "an order is still open at rest"
    if world.service.want is ServiceWant.TERMINATED:
        assert world.open_rows() == []
        assert world.service.destroyed_at is not None
    else:
        assert all(row.slot <= world.service.target for row in world.open_rows())
    if world.service.want is ServiceWant.STOPPED:
        assert all(row.want is Want.STOP for row in world.open_rows())


@examples(500)
@given(spec=specs, target=st.integers(1, 5), script=st.lists(moves, max_size=20))
def test_a_start_at_the_end_brings_exactly_the_target(
    spec: ServiceSpec, target: int, script: list[tuple[str, object]]
) -> None:
    world = World(a_service(spec=spec, target=target))
    for kind, value in script:
        move(world, kind, value)
    world.run(rounds=120)
    if world.service.want is ServiceWant.TERMINATED or world.service.target == 0:
        return
    try:
        world.operate(Verb.START)
    except NotAllowed:
        return
    world.run(rounds=120)
    running = [row for row in world.open_rows() if row.seen and row.seen.state is Seen.RUNNING]
    assert sorted(row.slot for row in running) == list(range(1, world.service.target + 1))


def rounds(world: World) -> int:
    """How often plans are applied and obeyed until nothing happens any more."""
    for count in range(200):
        before = len(world.step().steps)
        moved = world.agent()
        world.now += timedelta(seconds=1)
        if not moved and not before:
            return count
    raise AssertionError("no fixpoint")


@examples(500)
@given(spec=specs, target=st.integers(0, 5), script=st.lists(moves, max_size=25))
def test_it_comes_to_rest_in_few_rounds(spec: ServiceSpec, target: int, script: list[tuple[str, object]]) -> None:
    """T1: ten rounds, and four for each slot where slots come one after the other: a redeployment, a sequential one."""
    world = World(a_service(spec=spec, target=target))
    for kind, value in script:
        move(world, kind, value)
    service = world.service
    waiting = [each.verb for each in service.queued] + ([service.operation.verb] if service.operation else [])
    in_turn = spec.sequential_deployment or Verb.REDEPLOY in waiting
    more = 4 * (1 + len(waiting)) * max(service.target + len(service.queued), len(world.open_rows())) if in_turn else 0
    assert rounds(world) <= 10 + 3 * len(waiting) + more
    assert world.step().steps == ()


redeploying = st.one_of(
    st.tuples(st.just("verb"), st.just(Verb.REDEPLOY)),
    st.tuples(st.just("env"), st.integers(0, 3)),
    st.tuples(st.just("target"), st.integers(1, 5)),
    st.tuples(st.just("agent"), st.integers(0, 7)),
    st.tuples(st.just("crash"), st.tuples(st.integers(0, 7), st.sampled_from([0, 1]))),
    st.tuples(st.just("fail"), st.integers(0, 7)),
    st.tuples(st.just("plan"), st.just(0)),
)


@examples(500)
@given(spec=specs, target=st.integers(1, 5), script=st.lists(redeploying, max_size=40))
def test_redeployments_keep_the_service_whatever_comes_between(
    spec: ServiceSpec, target: int, script: list[tuple[str, object]]
) -> None:
    world = World(a_service(spec=spec, target=target))
    world.operate(Verb.START)
    world.run()
    world.operate(Verb.REDEPLOY)
    for kind, value in script:
        move(world, kind, value)
        check(world)


@examples(300)
@given(spec=specs, target=st.integers(0, 5), script=st.lists(moves, max_size=20), others=st.integers(1, 9))
def test_what_others_run_changes_no_decision_but_where(
    spec: ServiceSpec, target: int, script: list[tuple[str, object]], others: int
) -> None:
    """Foreign containers on the nodes, and nodes that are away, add nothing to the plan and take nothing from it."""
    world = World(a_service(spec=spec, target=target))
    for kind, value in script:
        move(world, kind, value)
    view = world.view()
    away = Candidate(node_id=number(404), name="z", state=NodeState.UNREACHABLE, load=others)
    busy = replace(view, nodes=(*(replace(node, load=node.load + others) for node in view.nodes), away))
    assert render(plan_service(busy, POLICY)) == render(plan_service(view, POLICY))
