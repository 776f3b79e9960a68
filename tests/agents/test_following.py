"""A container that follows another one on its node starts when that has ended, and is made before (decision 29)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from agents import executor
from agents.planning import plan_node
from agents.steps import (
    NodePlan,
    RemoveContainer,
    SetRestartPolicy,
    StartContainer,
    Step,
    StepResult,
    StopContainer,
    render,
)
from agents.view import ContainerMemory, EngineState, EngineView, ObservedContainer, Retry
from domain.assignment import ImageResult
from domain.container import Seen, Want
from tests.agents.build import NOW, assigned, number, on_engine
from tests.agents.harness import eventually, running, until
from tests.fakes.channel import MemoryChannel
from tests.fakes.runtime import FakeRuntime

OLD = assigned(1, want=Want.GONE)
NEW = replace(assigned(2), name="web-1", follows=OLD.container_id)


def planned(*there: ObservedContainer, busy: Sequence[int] = (), **more: object) -> NodePlan:
    away = {number(n) for n in busy}
    view = EngineView(containers=tuple(there), unknown=frozenset(away))
    return plan_node([OLD, NEW], view, more.pop("memory", {}), NOW, busy=away, **more)  # type: ignore[arg-type]


def test_it_is_made_at_once_and_waits_for_the_end_of_the_other() -> None:
    assert render(planned(on_engine(OLD, EngineState.RUNNING))).splitlines() == [
        "0001 stop e-web-1 within 2 s: it is no longer wanted",
        "0001 remove e-web-1: it is no longer wanted",
        "0002 create web-1: it is assigned and not there",
        "0002 start the new one (order 1, once 0001 has ended): it is assigned and not there",
    ]


def test_it_is_not_started_while_a_line_is_at_work_on_the_other_whether_that_is_there_or_not() -> None:
    """Nobody says that the line ends it: it may have begun when the other was still to run."""
    made = "0002 create web-1: it is assigned and not there"
    assert render(planned(busy=[1])) == made
    assert render(planned(on_engine(OLD, EngineState.RUNNING), busy=[1])) == made


@pytest.mark.parametrize("state", [None, EngineState.DEAD, EngineState.REMOVING])
def test_it_starts_where_the_other_is_gone_or_sticks_in_its_removal(state: EngineState | None) -> None:
    there = [on_engine(OLD, state)] if state else []
    assert "0002 start the new one (order 1): it is assigned and not there" in render(planned(*there))


def test_it_waits_for_the_removal_of_one_that_ended() -> None:
    """What is seen at rest may be about to be started by a call of an agent before this one."""
    assert "once 0001 has ended" in render(planned(on_engine(OLD, EngineState.EXITED)))


def test_it_is_made_and_not_started_where_nobody_can_say_what_the_other_does() -> None:
    view = EngineView(containers=(), unknown=frozenset({OLD.container_id}))
    assert render(plan_node([OLD, NEW], view, {}, NOW)) == "0002 create web-1: it is assigned and not there"


def test_it_is_not_started_while_the_end_of_the_other_is_to_be_tried_again() -> None:
    at = NOW + timedelta(seconds=3)
    memory = {OLD.container_id: ContainerMemory(retry=Retry(count=1, at=at, message="it does not answer"))}
    plan = planned(on_engine(OLD, EngineState.RUNNING), on_engine(NEW, EngineState.CREATED), memory=memory)
    assert render(plan) == f"due {at.isoformat()}"


def test_who_ran_before_is_started_again_whatever_becomes_of_the_other() -> None:
    """A removal that sticks keeps nobody down."""
    ran = on_engine(NEW, EngineState.EXITED)
    again = planned(on_engine(OLD, EngineState.EXITED), ran, memory={NEW.container_id: ContainerMemory(start_gen=0)})
    assert "0002 start e-web-1 (order 1)" in render(again)


class Held(FakeRuntime):
    """The calls that `held` has an event for come back when that is set."""

    def __init__(self) -> None:
        super().__init__()
        self.add_image("tutela/web:latest", "sha256:web")
        self.held: dict[str, asyncio.Event] = {}

    async def stop(self, engine_id: str, grace: int) -> None:
        await self._wait_for("stop")
        await super().stop(engine_id, grace)

    async def remove(self, engine_id: str) -> None:
        await self._wait_for("remove")
        await super().remove(engine_id)

    async def _wait_for(self, method: str) -> None:
        if method in self.held:
            await self.held[method].wait()


async def replaced(runtime: Held, channel: MemoryChannel, *held: str) -> None:
    """The first one runs, and is to be followed."""
    channel.assign(replace(OLD, want=Want.RUN))
    await until(channel, OLD.container_id, Seen.RUNNING)
    runtime.held.update({each: asyncio.Event() for each in held})
    channel.assign(OLD, NEW)


async def test_it_starts_when_the_other_was_stopped_and_not_only_when_that_is_removed(tmp_path: Path) -> None:
    runtime, channel = Held(), MemoryChannel()
    async with running(runtime, channel, tmp_path) as agent:
        await replaced(runtime, channel, "remove")
        await until(channel, NEW.container_id, Seen.RUNNING)
        ends = [each for each in runtime.calls if each in {"start", "stop"}]
        assert ends == ["start", "stop", "start"]
        runtime.held["remove"].set()
        await until(channel, OLD.container_id, Seen.GONE)
        await agent.settled()


async def test_it_does_not_start_while_the_other_is_in_the_grace_of_its_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "FOLLOW_SECONDS", 0.05)
    runtime, channel = Held(), MemoryChannel()
    async with running(runtime, channel, tmp_path) as agent:
        await replaced(runtime, channel, "stop")
        await until(channel, NEW.container_id, Seen.CREATED)
        looks = runtime.calls.count("list")
        await asyncio.sleep(0.3)
        assert runtime.calls.count("start") == 1
        assert runtime.calls.count("list") - looks < 3, "the end of the other's line brings the next look"
        runtime.held["stop"].set()
        await until(channel, NEW.container_id, Seen.RUNNING)
        await agent.settled()


async def test_it_does_not_start_where_the_other_could_not_be_stopped(tmp_path: Path) -> None:
    """What the engine did not answer is tried again, and so is the start."""
    runtime, channel = Held(), MemoryChannel()
    runtime.late = ["stop"]
    async with running(runtime, channel, tmp_path) as agent:
        await replaced(runtime, channel)
        await until(channel, NEW.container_id, Seen.RUNNING)
        await agent.settled()
        ends = [each for each in runtime.calls if each in {"start", "stop", "remove"}]
        assert ends[-1] == "start"
        assert "remove" in ends


async def test_a_line_that_stops_and_starts_again_is_no_end(tmp_path: Path) -> None:
    """It may still be at work on an older wish when the container is to go."""
    runtime, channel = Held(), MemoryChannel()
    async with running(runtime, channel, tmp_path) as agent:
        await replaced(runtime, channel)
        await until(channel, NEW.container_id, Seen.RUNNING)
        await agent.settled()
    again = StopContainer(container_id=number(7), engine_id="e", grace=1, run=NOW, cause="it is to begin again")
    start = StartContainer(
        container_id=number(7), engine_id="e", start_gen=2, automatic=False, after=NOW, ended_at=None, cause="order"
    )
    follows = replace(start, container_id=number(8), engine_id="f", after=None, follows=number(7))
    said = Quiet()
    lines = executor.Executor(runtime, said, lambda: NOW)
    runtime.containers.clear()
    lines.submit(str(number(7)), [again, start], NEW.container_id)
    lines.submit(str(number(8)), [follows], NEW.container_id)
    await eventually(lambda: not lines.busy, "both to be over")
    assert [type(each.step).__name__ for each in said.results] == ["StopContainer", "StartContainer"]


def test_a_line_has_ended_its_container_when_nothing_of_that_identity_is_left() -> None:
    """Somebody may have copied it by hand; and what kept its restart policy may be started until it is removed."""
    quiet = SetRestartPolicy(container_id=number(1), engine_id="e", policy="no", cause="it is to go")
    stop = StopContainer(container_id=number(1), engine_id="e", grace=1, run=NOW, cause="it is to go")
    copy, gone = (RemoveContainer(container_id=number(1), engine_id=each, cause="it is to go") for each in ("c", "e"))

    def ends(*steps: Step, refused: Sequence[Step] = ()) -> list[bool]:
        end = executor._End(steps)
        return [end.comes_with(StepResult(step=step, ok=step not in refused, at=NOW)) for step in steps]

    assert ends(quiet, stop, gone) == [False, True, True]
    assert ends(copy, quiet, stop, gone) == [False, False, True, True]
    assert ends(quiet, stop, gone, refused=[quiet]) == [False, False, True]
    assert ends(gone) == [True]


class Quiet:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.results: list[StepResult] = []

    def began(self, step: Step) -> None: ...

    def tried(self, result: StepResult, order: int) -> None:
        self.results.append(result)

    def answered(self, result: ImageResult) -> None: ...

    def ended(self, key: str, engine_ids: frozenset[str]) -> None: ...

    def may_start(self, container_id: UUID) -> bool:
        return True
