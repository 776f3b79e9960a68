"""What the agent remembers of a container, and what it makes of its end: step by step, result by result."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import memory as remembering
from agents.crashes import CLEANUP, interrupted, will_start
from agents.lost_names import LostNames, on_overlays
from agents.memory import FIRST_RETRY, LONGEST_RETRY
from agents.steps import (
    CreateContainer,
    NodePlan,
    PullImage,
    RemoveContainer,
    RemoveNetwork,
    RemoveVolumes,
    ResolveImage,
    StartContainer,
    Step,
    StepResult,
    StopContainer,
    container_of,
    key,
    lines,
    render,
)
from agents.view import (
    OTHER_CLOCK,
    ContainerMemory,
    Endpoint,
    EngineState,
    EngineView,
    Interruption,
    ObservedNetwork,
    Refusal,
    Retry,
    StartIntent,
    settles_at,
)
from domain.assignment import ImageRequest
from domain.container import FIRST_MOMENT, Attachment, NetworkSpec, Want
from domain.image import Pull
from domain.restarts import RestartHistory
from domain.spec import CrashPolicy
from tests.agents.build import NOW, SERVICE, assigned, number, on_engine

E = EngineState
ONE = assigned(1)
ALWAYS = replace(ONE, autorestart=CrashPolicy.ALWAYS)
START = StartContainer(
    container_id=ONE.container_id,
    engine_id="e",
    start_gen=1,
    automatic=False,
    after=None,
    ended_at=None,
    cause="",
)
STOP = StopContainer(container_id=ONE.container_id, engine_id="e", grace=2, run=NOW, cause="")
CREATE = CreateContainer(assignment=ONE, cause="")
PULL = PullImage(container_id=ONE.container_id, reference="i", cause="")
REMOVE = RemoveContainer(container_id=ONE.container_id, engine_id="e", cause="")
VOLUMES = RemoveVolumes(container_id=ONE.container_id, names=("v",), cause="")
FRESH, DONE = ContainerMemory(), ContainerMemory(start_gen=1)
REFUSED = Refusal(message="port", at=NOW)
RETRY = Retry(count=1, at=NOW, message="x")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def result(step: Step, *, ok: bool = False, **more: object) -> StepResult:
    return StepResult(step=step, ok=ok, at=NOW, **more)  # type: ignore[arg-type]


def test_what_is_not_there_has_no_run() -> None:
    before = replace(DONE, run=NOW)
    assert remembering.observed(before, ONE, None) == DONE
    assert remembering.observed(before, ONE, on_engine(ONE, E.EXITED)) == replace(DONE, over=NOW, result=1)


def test_the_control_planes_word_on_carried_out_orders_counts_where_the_ledger_was_lost() -> None:
    told = replace(ONE, start_gen=5, seen_start_gen=3)
    assert remembering.observed(FRESH, told, None).start_gen == 3
    assert remembering.observed(replace(FRESH, start_gen=4), told, None).start_gen == 4


@pytest.mark.parametrize(
    ("after", "started", "carried_out"),
    [(None, NOW, True), (NOW, NOW, False), (NOW, later(1), True), (None, None, False), (NOW, None, False)],
)
def test_a_start_whose_answer_was_lost_is_known_by_a_later_start_time(
    after: datetime | None, started: datetime | None, carried_out: bool
) -> None:
    """The engine carries out what timed out (E7); then it is not tried again (seed 258 of the simulator)."""
    before = replace(DONE, intent=StartIntent(start_gen=2, after=after), retry=RETRY)
    seen = on_engine(ONE, E.EXITED, started_at=started)
    found = remembering.observed(before, ONE, seen)
    assert found == replace(replace(DONE, start_gen=2) if carried_out else before, over=started, result=1)


@pytest.mark.parametrize("state", [E.RUNNING, E.PAUSED, E.RESTARTING])
def test_what_runs_has_obeyed_its_newest_order(state: EngineState) -> None:
    ordered = replace(ONE, start_gen=3)
    before = replace(DONE, refused=REFUSED, intent=StartIntent(start_gen=3, after=NOW))
    found = remembering.observed(before, ordered, on_engine(ONE, state))
    assert found == ContainerMemory(start_gen=3, run=NOW)


def test_a_run_that_was_ordered_to_end_obeys_nothing() -> None:
    ordered, running = replace(ONE, start_gen=3), on_engine(ONE, E.RUNNING)
    stopping = replace(DONE, stopped_run=NOW)
    assert remembering.observed(stopping, ordered, running).start_gen == 1
    assert remembering.observed(stopping, ordered, replace(running, started_at=later(1))).start_gen == 3
    assert remembering.observed(DONE, replace(ordered, want=Want.STOP), running).start_gen == 1
    unknown = remembering.observed(DONE, ordered, replace(running, started_at=None))
    assert (unknown.start_gen, unknown.run) == (3, None)


def test_an_engine_that_was_restarted_may_have_ended_what_ran() -> None:
    assert remembering.engine_lost(DONE, NOW, NOW) == DONE
    running = replace(DONE, run=NOW)
    assert remembering.engine_lost(running, later(9), later(8)).interrupted == Interruption(
        run=NOW, engine_since=later(9), lost_at=later(8)
    )


def test_a_new_wish_is_not_held_up_by_the_back_off_of_the_old_one() -> None:
    assert remembering.reassigned(replace(DONE, retry=RETRY, refused=REFUSED)) == replace(DONE, refused=REFUSED)


def test_what_is_on_disk_before_a_step() -> None:
    before = replace(DONE, refused=REFUSED, history=RestartHistory(count=2, last_start=NOW))
    automatic = replace(START, automatic=True, after=NOW, ended_at=later(1), start_gen=4)
    assert remembering.about_to(before, automatic, later(2)) == replace(
        DONE,
        history=RestartHistory(count=3, last_start=later(2)),
        intent=StartIntent(start_gen=4, after=NOW),
    )
    ordered = remembering.about_to(before, START, later(2))
    assert ordered == replace(DONE, intent=StartIntent(start_gen=1, after=None))
    assert remembering.about_to(before, STOP, NOW) == replace(before, stopped_run=NOW)
    assert remembering.about_to(before, REMOVE, NOW) is before


def test_after_a_step_that_was_done() -> None:
    before = replace(DONE, retry=RETRY, refused=REFUSED, image_missing=True)
    assert remembering.after(before, result(START, ok=True), 1) == replace(DONE, image_missing=True)
    assert remembering.after(before, result(CREATE, ok=True), 1) == DONE
    assert remembering.after(before, result(VOLUMES, ok=True), 1) == replace(before, retry=None, volumes_dropped=True)
    assert remembering.after(before, result(REMOVE, ok=True), 1) == replace(before, retry=None)


@pytest.mark.parametrize("step", [START, CREATE, PULL])
def test_a_refusal_is_the_order_carried_out_and_failed(step: Step) -> None:
    before = replace(FRESH, retry=RETRY, intent=StartIntent(start_gen=2, after=None), image_missing=True)
    found = remembering.after(before, result(step, code="refused", message="no port"), 2)
    assert found == ContainerMemory(start_gen=2, refused=Refusal(message="no port", at=NOW, code="refused"))
    newer = remembering.after(replace(before, start_gen=5), result(step, code="refused"), 2)
    assert newer.start_gen == 5
    assert newer.refused == Refusal(message="the engine did not say why", at=NOW)


def test_an_image_that_is_missing_is_fetched_once_and_then_it_is_a_refusal() -> None:
    before = replace(FRESH, intent=StartIntent(start_gen=1, after=None))
    missing = result(CREATE, code="image_missing", message="No such image")
    once = remembering.after(before, missing, 1)
    assert once == replace(FRESH, image_missing=True)
    twice = remembering.after(once, missing, 1)
    assert twice.refused == Refusal(message="No such image", at=NOW, code="image_missing")
    assert not twice.image_missing
    assert remembering.after(before, result(START, code="image_missing"), 1).refused is not None
    assert not remembering.after(before, result(CREATE, code="refused"), 1).image_missing


@pytest.mark.parametrize("step", [REMOVE, STOP, VOLUMES])
def test_a_refused_removal_is_just_tried_again(step: Step) -> None:
    """A stuck removal goes on by itself when its cause is gone (E17)."""
    found = remembering.after(DONE, result(step, code="refused", message="busy"), 1)
    assert found == replace(DONE, retry=Retry(count=1, at=NOW + FIRST_RETRY, message="busy"))
    again = remembering.after(found, result(step, code="refused", message="busy"), 1)
    assert again == replace(DONE, retry=Retry(count=2, at=NOW + 2 * FIRST_RETRY, message="busy"))


def test_pauses_double_to_the_longest_and_an_engine_that_names_its_own_is_believed() -> None:
    memory, pauses, named = DONE, [], DONE
    for _ in range(8):
        memory = remembering.after(memory, result(START), 1)
        assert memory.retry is not None
        pauses.append((memory.retry.at - NOW).total_seconds())
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert memory.retry == Retry(count=8, at=NOW + LONGEST_RETRY, message="the engine did not say why")
    assert memory.start_gen == 1
    assert memory.refused is None
    told = []
    for _ in range(5):
        named = remembering.after(named, result(START, retry_in=2, message="wait"), 1)
        assert named.retry is not None
        told.append((named.retry.at - NOW).total_seconds())
    assert told == [2, 4, 8, 16, 16]


@given(st.integers(1, 400))
def test_no_count_of_failures_makes_a_pause_overflow(count: int) -> None:
    found = remembering.after(replace(DONE, retry=replace(RETRY, count=count)), result(START), 1)
    assert found.retry is not None
    assert FIRST_RETRY <= found.retry.at - NOW <= LONGEST_RETRY


def test_a_clock_that_was_set_back_puts_no_try_off() -> None:
    retry = Retry(count=1, at=NOW + timedelta(seconds=30), message="")
    assert retry.waits(NOW)
    assert not retry.waits(retry.at)
    assert not retry.waits(NOW - timedelta(hours=1))


AWAY = replace(DONE, interrupted=Interruption(run=NOW, engine_since=later(100)))


@pytest.mark.parametrize(
    ("code", "finished", "since", "doing"),
    [
        (137, 0, None, True),
        (143, 0, None, True),
        (255, 0, None, True),
        (3, 100, None, False),
        (0, None, 100, False),
        (137, None, 100, True),
        (3, 100 - CLEANUP.total_seconds(), 100, True),
        (3, 100 + CLEANUP.total_seconds(), 100, True),
        (3, 99 - CLEANUP.total_seconds(), 100, False),
        (3, 101 + CLEANUP.total_seconds(), 100, False),
        (143, 500, 100, True),
    ],
)
def test_which_ends_were_the_engines_doing(code: int, finished: float | None, since: float | None, doing: bool) -> None:
    away = Interruption(run=NOW, engine_since=later(since) if since is not None else None)
    kept = on_engine(ONE, E.EXITED, exit_code=code, finished_at=later(finished) if finished is not None else None)
    assert interrupted(kept, replace(DONE, interrupted=away)) is doing
    assert not interrupted(replace(kept, started_at=later(1)), replace(DONE, interrupted=away)), "another run"
    assert not interrupted(kept, DONE)


@pytest.mark.parametrize(
    ("code", "finished", "doing"),
    [(0, 95, True), (143, 95, True), (3, 95, True), (0, 79, False), (137, 79, False), (3, 79, False), (0, 117, False)],
)
def test_ends_that_were_seen_before_the_engine_went_were_its_doing_if_it_went_soon_after(
    code: int, finished: float, doing: bool
) -> None:
    """An engine that is told to end stops its containers first, and answers meanwhile (E34)."""
    running = remembering.observed(DONE, ONE, on_engine(ONE, E.RUNNING))
    kept = on_engine(ONE, E.EXITED, exit_code=code, finished_at=later(finished))
    seen = remembering.observed(running, ONE, kept)
    assert (seen.run, seen.over) == (None, NOW)
    lost = remembering.engine_lost(seen, later(101), later(100))
    assert interrupted(kept, lost) is doing
    assert remembering.observed(lost, ONE, None).over is None
    assert remembering.observed(lost, ONE, on_engine(ONE, E.RUNNING)).over is None


@pytest.mark.parametrize("before", [ContainerMemory(), replace(DONE, over=NOW)])
def test_a_run_that_was_not_seen_before_its_engine_went_is_the_one_that_was_being_started(
    before: ContainerMemory,
) -> None:
    """Its power was lost right after the start (seed 422). An order that was not carried out still stands."""
    after = before.over
    known = replace(before, intent=StartIntent(start_gen=1, after=after))
    lost = remembering.engine_lost(known, later(101), None)
    assert lost.interrupted == Interruption(run=None, engine_since=later(101))
    assert remembering.observed(lost, ONE, None).interrupted == lost.interrupted
    kept = on_engine(ONE, E.EXITED, exit_code=255, finished_at=later(101), started_at=later(90))
    seen = remembering.observed(lost, ONE, kept)
    assert (seen.intent, seen.start_gen) == (None, 1)
    assert interrupted(kept, seen)
    assert interrupted(kept, remembering.observed(seen, ONE, kept))
    assert remembering.observed(lost, ONE, replace(kept, started_at=later(101))).interrupted is None, "a later one"
    nothing_known = replace(lost, interrupted=Interruption(run=None))
    assert interrupted(kept, remembering.observed(nothing_known, ONE, kept))
    if after is not None:
        not_yet = replace(kept, started_at=after)
        seen = remembering.observed(lost, ONE, not_yet)
        assert seen.intent == known.intent
        assert interrupted(not_yet, seen)


def test_what_the_agent_is_going_to_start_by_itself() -> None:
    ended, created = on_engine(ONE, E.EXITED), on_engine(ONE, E.CREATED)
    assert not will_start(ONE, ended, DONE)
    assert will_start(ALWAYS, ended, DONE)
    assert will_start(ALWAYS, ended, replace(DONE, history=RestartHistory(count=9, last_start=NOW))), "after a pause"
    assert not will_start(replace(ALWAYS, want=Want.STOP), ended, DONE)
    assert will_start(replace(ONE, start_gen=2), ended, DONE), "it was ordered"
    assert not will_start(ONE, ended, replace(DONE, retry=RETRY)), "what failed was no start that is still to be made"
    assert will_start(ONE, None, DONE), "it is to be made"
    assert not will_start(ONE, None, replace(DONE, refused=REFUSED))
    assert will_start(ALWAYS, None, replace(DONE, refused=REFUSED))
    assert will_start(ONE, created, DONE)
    assert not will_start(ONE, created, replace(DONE, refused=REFUSED))
    assert will_start(ALWAYS, created, replace(DONE, refused=REFUSED))
    assert will_start(ONE, replace(ended, exit_code=137), replace(DONE, interrupted=Interruption(run=NOW)))
    assert will_start(ONE, ended, replace(DONE, fenced_run=NOW))
    assert not will_start(ONE, ended, replace(DONE, fenced_run=NOW, refused=REFUSED))
    assert not will_start(ONE, ended, replace(DONE, fenced_run=later(1)))
    again = replace(ended, started_at=later(1))
    assert will_start(ONE, again, replace(DONE, fenced_run=NOW, fenced_at=later(1))), "its engine had begun another run"
    assert not will_start(ONE, again, replace(DONE, fenced_run=NOW, fenced_at=NOW)), "a run that came later"
    assert not will_start(ONE, again, replace(DONE, fenced_run=NOW))


@pytest.mark.parametrize(
    ("state", "started", "asked", "due"),
    [
        (E.RUNNING, 0, 0, True),
        (E.RUNNING, 0, FIRST_MOMENT.total_seconds(), False),
        (E.RUNNING, 0, None, False),
        (E.RUNNING, None, 0, False),
        (E.EXITED, 0, 0, False),
        (E.RUNNING, OTHER_CLOCK.total_seconds(), 0, True),
        (E.RUNNING, OTHER_CLOCK.total_seconds() + 1, 0, False),
    ],
)
def test_whose_first_moment_is_not_over(
    state: EngineState, started: float | None, asked: float | None, due: bool
) -> None:
    seen = on_engine(
        ONE,
        state,
        started_at=later(started) if started is not None else None,
        asked_at=later(asked) if asked is not None else None,
    )
    assert settles_at(seen) == (later(started or 0) + FIRST_MOMENT if due else None)


def test_a_plan_is_worked_on_line_by_line() -> None:
    request = ImageRequest(request_id=number(7), reference="i:1", pull=Pull.ALWAYS)
    resolve, network = ResolveImage(request=request, cause="asked"), RemoveNetwork(network_id="n", name="net", cause="")
    plan = NodePlan(steps=(STOP, network, REMOVE, resolve, VOLUMES))
    one = str(ONE.container_id)
    assert [key(step) for step in plan.steps] == [one, "network net", one, f"image {number(7)}", one]
    assert [container_of(step) for step in plan.steps] == [
        ONE.container_id,
        None,
        ONE.container_id,
        None,
        ONE.container_id,
    ]
    assert lines(plan) == {
        one: (STOP, REMOVE, VOLUMES), "network net": (network,), f"image {number(7)}": (resolve,),
    }  # fmt: skip
    assert render(NodePlan(steps=(resolve, VOLUMES))) == "resolve i:1 (always): asked\n0001 remove volumes v: "


NAME = f"tutela-{SERVICE}-overlay"
WIRED = replace(
    ONE,
    networks=(
        Attachment(network=NetworkSpec(name=NAME, service_id=SERVICE, subnet="", overlay=True)),
        Attachment(network=NetworkSpec(name="bridge", service_id=SERVICE, subnet="")),
    ),
)


def test_names_on_overlays_are_lost_until_each_is_given_again() -> None:
    lost, view = LostNames(), EngineView(containers=(on_engine(WIRED, E.RUNNING),))
    assert lost.marked(view) is view
    lost.entered([WIRED, assigned(2)])
    (marked,) = lost.marked(view).containers
    assert marked.names_lost == {NAME}
    lost.connected(number(9), NAME)
    lost.connected(WIRED.container_id, "bridge")
    assert lost.marked(view).containers[0].names_lost == {NAME}
    lost.connected(WIRED.container_id, NAME)
    assert lost.marked(view).containers[0].names_lost == frozenset()
    assert lost.marked(view) is view, "nothing is remembered of what is done"


def test_what_does_not_run_has_its_names_when_it_is_started() -> None:
    for state, kept in ((E.EXITED, frozenset()), (E.PAUSED, {NAME}), (E.RESTARTING, {NAME})):
        lost = LostNames()
        lost.entered([WIRED])
        assert lost.marked(EngineView(containers=(on_engine(WIRED, state),))).containers[0].names_lost == kept
    lost = LostNames()
    lost.entered([WIRED])
    lost.marked(EngineView(unknown=frozenset({WIRED.container_id})))
    assert lost.marked(EngineView(containers=(on_engine(WIRED, E.RUNNING),))).containers[0].names_lost == {NAME}


def test_who_is_on_an_overlay() -> None:
    listed = ObservedNetwork(network_id="o", name=NAME, overlay=True)
    plain = ObservedNetwork(network_id="b", name="bridge")

    def used(*ends: str) -> bool:
        here = on_engine(ONE, E.RUNNING, endpoints=tuple(Endpoint(network_id=each) for each in ends))
        return on_overlays(EngineView(containers=(here,), networks=(listed, plain)))

    assert used("b", "o")
    assert used(NAME), "a worker does not list it"
    assert not used("b")
    assert not used()
