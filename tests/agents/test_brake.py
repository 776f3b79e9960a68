"""The brake (RELIABILITY I13): many containers that nothing asks for are not removed before an operator says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.brake import Judged
from agents.planning import plan_node
from agents.steps import NodePlan, RemoveContainer, RemoveNetwork, StopContainer, render
from agents.view import ContainerMemory, EngineState, EngineView, ObservedNetwork
from domain.assignment import ContainerAssignment, Strangers
from domain.container import Seen, Want
from domain.quarantine import Word, answer, identity, too_many
from tests.agents.build import NOW, assigned, on_engine
from tests.agents.harness import eventually, running, until
from tests.fakes.channel import MemoryChannel
from tests.fakes.runtime import FakeRuntime
from tests.harness.examples import examples


def on_it(wanted: Sequence[ContainerAssignment], owned: int) -> EngineView:
    """An engine on which containers 1 to `owned` run."""
    return EngineView(
        containers=tuple(on_engine(assigned(n), EngineState.RUNNING) for n in range(1, owned + 1)),
        networks=(ObservedNetwork(network_id="id-old", name="net-old"),),
    )


def planned(asked_for: int, owned: int, judged: Judged | None = None, *, busy: Sequence[UUID] = ()) -> NodePlan:
    """The plan for a node that holds `owned` containers, of which the first few are asked for."""
    wanted = [assigned(n) for n in range(1, asked_for + 1)]
    memory = {each.container_id: ContainerMemory(start_gen=1) for each in wanted}
    return plan_node(wanted, on_it(wanted, owned), memory, NOW, judged=judged or Judged(), busy=busy)


def removed(plan: NodePlan) -> set[UUID]:
    return {step.container_id for step in plan.steps if isinstance(step, RemoveContainer)}


@pytest.mark.parametrize(
    ("asked_for", "owned", "goes"),
    [(0, 5, True), (0, 6, False), (25, 30, True), (24, 30, True), (23, 30, False), (34, 40, True), (31, 40, False)],
)
def test_few_go_and_many_are_asked_about(asked_for: int, owned: int, goes: bool) -> None:
    plan = planned(asked_for, owned)
    assert len(removed(plan)) == (owned - asked_for if goes else 0)
    assert (plan.held is None) is goes
    if not goes:
        assert render(plan) == f"ask about {owned - asked_for} of {owned}"
        assert plan.held is not None
        assert len(plan.held.question.names) == 5


def test_a_removal_that_a_user_asked_for_is_never_held() -> None:
    gone = [assigned(n, want=Want.GONE) for n in range(1, 31)]
    plan = plan_node(gone, on_it(gone, 30), {}, NOW)
    assert (len(removed(plan)), plan.held) == (30, None)


def test_what_is_being_removed_counts_too() -> None:
    """Or many could go a few at a time."""
    busy = [assigned(n).container_id for n in range(1, 5)]
    wanted = [assigned(n) for n in range(10, 12)]
    view = replace(on_it(wanted, 9), unknown=frozenset(busy))
    view = replace(view, containers=tuple(each for each in view.containers if each.container_id not in busy))
    plan = plan_node(wanted, view, {}, NOW, busy=busy)
    assert removed(plan) == set()
    assert plan.held is not None
    assert plan.held.question.count == 9


def test_an_answer_counts_for_what_it_was_about() -> None:
    about = frozenset(assigned(n).container_id for n in range(1, 9))
    assert removed(planned(0, 8, Judged(removable=about))) == about
    assert removed(planned(0, 8, Judged(kept=about))) == set()
    more = planned(0, 12, Judged(removable=about))
    assert (removed(more), more.held) == ({assigned(n).container_id for n in range(1, 13)}, None), "four are few"
    many = planned(0, 20, Judged(removable=about))
    assert removed(many) == about
    assert many.held is not None
    assert many.held.containers == {assigned(n).container_id for n in range(9, 21)}


numbers = st.sets(st.integers(1, 40), max_size=40)


@examples(300)
@given(numbers, numbers, numbers, numbers)
def test_nothing_beyond_the_bar_goes_without_a_word(
    wanted: set[int], here: set[int], said: set[int], kept: set[int]
) -> None:
    assignments = [assigned(n) for n in sorted(wanted)]
    view = EngineView(containers=tuple(on_engine(assigned(n), EngineState.RUNNING) for n in sorted(here)))
    ids = {n: assigned(n).container_id for n in range(1, 41)}
    judged = Judged(removable=frozenset(ids[n] for n in said - kept), kept=frozenset(ids[n] for n in kept))
    memory = {each.container_id: ContainerMemory(start_gen=1) for each in assignments}
    plan = plan_node(assignments, view, memory, NOW, judged=judged)
    unasked = here - wanted - said - kept
    held = too_many(len(unasked), len(here))
    touched = {step.container_id for step in plan.steps if isinstance(step, RemoveContainer | StopContainer)}
    assert touched == {ids[n] for n in (here - wanted - kept) & (said if held else said | unasked)}
    assert (plan.held is not None) == held
    assert not held or not any(isinstance(step, RemoveNetwork) for step in plan.steps)
    # What is wanted is carried out as if there were no strangers.
    without = plan_node(
        assignments,
        replace(view, containers=tuple(each for each in view.containers if each.container_id in memory)),
        memory,
        NOW,
    )
    mine = {render(NodePlan(steps=(step,))) for step in plan.steps if getattr(step, "container_id", None) in memory}
    assert mine == {render(NodePlan(steps=(step,))) for step in without.steps}


@pytest.fixture
def runtime() -> FakeRuntime:
    fake = FakeRuntime()
    fake.add_image("tutela/web:latest", "sha256:web")
    return fake


async def forgotten(runtime: FakeRuntime, channel: MemoryChannel, count: int, state: Path) -> None:
    """So many containers run, of which nothing but the first is asked for any more."""
    many = [assigned(n) for n in range(1, count + 1)]
    channel.assign(*many)
    async with running(runtime, channel, state) as agent:
        for each in many:
            await until(channel, each.container_id, Seen.RUNNING)
        await agent.settled()
    for each in many[1:]:
        del channel.wanted[each.container_id]
    channel.revision += 1


def question(channel: MemoryChannel) -> Strangers | None:
    return channel.reports[-1].strangers if channel.reports else None


@pytest.mark.parametrize("word", list(Word))
async def test_the_agent_asks_until_it_is_told_and_over_its_restarts(
    runtime: FakeRuntime, tmp_path: Path, word: Word
) -> None:
    channel = MemoryChannel()
    await forgotten(runtime, channel, 9, tmp_path)
    first = assigned(1)
    for _ in range(2):
        channel.reports.clear()
        async with running(runtime, channel, tmp_path) as agent:
            await eventually(lambda: question(channel), "the question")
            # What is wanted is kept true meanwhile.
            mine = next(each for each in runtime.containers.values() if each["Name"].startswith("/web-1."))
            runtime.forget(mine["Id"])
            old: str = mine["Id"]
            await eventually(lambda old=old: channel.seen[first.container_id].engine_id != old, "it to be made anew")  # type: ignore[misc]
            await until(channel, first.container_id, Seen.RUNNING)
            await agent.settled()
        assert len(runtime.containers) == 9
    asked = question(channel)
    assert asked is not None
    assert (asked.count, asked.owned) == (8, 9)
    channel.say(answer(word, "something else"))
    async with running(runtime, channel, tmp_path) as agent:
        await agent.settled()
        assert len(runtime.containers) == 9
        channel.say(answer(word, asked.key))
        await eventually(lambda: question(channel) is None, "the question to be over")
        if word is Word.REMOVE:
            await eventually(lambda: len(runtime.containers) == 1, "what nothing asks for to go")
        await agent.settled()
    async with running(runtime, channel, tmp_path) as agent:
        await agent.settled()
    assert len(runtime.containers) == (1 if word is Word.REMOVE else 9)


async def test_nothing_is_made_or_removed_on_another_engine(runtime: FakeRuntime, tmp_path: Path) -> None:
    channel = MemoryChannel()
    own = identity(await runtime.info())
    channel.want_engine(own)
    one = assigned(1)
    channel.assign(one)
    async with running(runtime, channel, tmp_path) as agent:
        await until(channel, one.container_id, Seen.RUNNING)
        await agent.settled()
    other = FakeRuntime(engine_id="other")
    other.add_image("tutela/web:latest", "sha256:web")
    channel.seen.clear()
    async with running(other, channel, tmp_path):
        await eventually(lambda: channel.engine is not None and channel.engine.engine_id == "other", "the report")
        channel.assign(assigned(2))
        await eventually(lambda: channel.reports[-1].applied_revision == 0 and other.calls.count("info"), "a pass")
        assert (other.containers, channel.seen) == ({}, {})
        channel.want_engine(identity(await other.info()))
        await until(channel, one.container_id, Seen.RUNNING)
    assert "create" in other.calls
    assert len(runtime.containers) == 1
