"""Containers of which two may never run at once, on a node that has lost its control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import session
from agents.fencing import Fence, cut_short
from agents.memory import about_to
from agents.planning import plan_node
from agents.runtime.docker import DockerRuntime
from agents.session import START_SECONDS
from agents.steps import RemoveNetwork, ResolveImage, StartContainer, StopContainer, render, unrecorded
from agents.view import ContainerMemory, EngineState, EngineView, ObservedContainer
from domain.assignment import FENCE_GRACE_SECONDS, FENCED_SECONDS, Beat, ContainerAssignment, Heard
from domain.container import Seen, Want, spec_digest
from domain.spec import CrashPolicy
from tests.agents.build import NOW, assigned, on_engine, spec
from tests.agents.harness import eventually, running, until
from tests.agents.test_planning_properties import assignments, views
from tests.agents.test_real_engine import World
from tests.conftest import sweep
from tests.fakes.channel import MemoryChannel
from tests.fakes.runtime import FakeRuntime
from tests.harness.engine import PrivateEngine
from tests.harness.examples import examples
from tests.harness.images import SLEEPER
from tests.harness.wait import bar

ONE_WRITER = assigned(1, spec=spec(hostname="web-1", single_writer=True), stop_grace=60, autorestart=CrashPolicy.ALWAYS)
RUNNING = on_engine(ONE_WRITER, EngineState.RUNNING)
OLD = replace(RUNNING, restart_policy="always")
"""Made by an agent that left its restarts to the engine."""

DONE = ContainerMemory(start_gen=1)
CAUSE = "its node has lost the control plane, and two of it may never run at once"


def plan(
    one: ContainerAssignment,
    *here: ObservedContainer,
    fence: Fence = Fence.SHUT,
    memory: ContainerMemory = DONE,
    after: float = 0.5,
) -> str:
    now = NOW + timedelta(seconds=after)
    return render(plan_node([one], EngineView(containers=here), {one.container_id: memory}, now, fence=fence))


GAVE_WAY = replace(DONE, stopped_run=NOW, fenced_run=NOW)
ENDED = on_engine(ONE_WRITER, EngineState.EXITED)


def case(*given: Any, **more: Any) -> Callable[[], str]:
    """Planned when its test runs: a plan made at import would be the same whatever is broken since."""
    return partial(plan, *given, **more)


CASES = {
    "running": (case(ONE_WRITER, RUNNING), f"0001 stop e-web-1 within 3 s: {CAUSE}"),
    "running, and its engine would start it": (
        case(ONE_WRITER, OLD),
        f"0001 restart policy of e-web-1 no: {CAUSE}\n0001 stop e-web-1 within 3 s: {CAUSE}",
    ),
    "with the lease its engine is not to start it": (
        case(ONE_WRITER, OLD, fence=Fence.OPEN),
        "0001 restart policy of e-web-1 no: autorestart is ALWAYS, and the agent's alone",
    ),
    "crashed with the lease": (
        case(ONE_WRITER, ENDED, fence=Fence.OPEN),
        "0001 start e-web-1 (automatic): autorestart is ALWAYS",
    ),
    "a shorter grace stays": (
        case(replace(ONE_WRITER, stop_grace=1), RUNNING),
        f"0001 stop e-web-1 within 1 s: {CAUSE}",
    ),
    "absent": (case(ONE_WRITER, memory=ContainerMemory()), "at rest"),
    "crashed": (case(ONE_WRITER, ENDED), "at rest"),
    "to be stopped anyway": (
        case(replace(ONE_WRITER, want=Want.STOP), RUNNING),
        "0001 stop e-web-1 within 3 s: it is to be stopped",
    ),
    "no longer wanted": (
        case(replace(ONE_WRITER, want=Want.GONE), RUNNING),
        "0001 stop e-web-1 within 3 s: it is no longer wanted\n0001 remove e-web-1: it is no longer wanted",
    ),
    "others run on": (case(assigned(1), on_engine(assigned(1), EngineState.RUNNING)), "at rest"),
    "the lease is back, without autorestart": (
        case(replace(ONE_WRITER, autorestart=CrashPolicy.OFF), ENDED, fence=Fence.OPEN, memory=GAVE_WAY),
        "0001 start e-web-1 (order 1): its node has its lease again",
    ),
    "the lease is back, and it had ended before": (
        case(replace(ONE_WRITER, autorestart=CrashPolicy.OFF), ENDED, fence=Fence.OPEN),
        "at rest",
    ),
    "the lease is back, and it is to be stopped": (
        case(replace(ONE_WRITER, want=Want.STOP), ENDED, fence=Fence.OPEN, memory=GAVE_WAY),
        "at rest",
    ),
    "no lease yet, and it runs": (case(ONE_WRITER, RUNNING, fence=Fence.NO_STARTS), "at rest"),
    "no lease yet, and it is restarting": (
        case(ONE_WRITER, replace(RUNNING, state=EngineState.RESTARTING), fence=Fence.NO_STARTS),
        "at rest",
    ),
    "no lease yet, and it does not run": (
        case(ONE_WRITER, replace(ENDED, restart_policy="always"), fence=Fence.NO_STARTS),
        "at rest",
    ),
    "no lease yet, and it is absent": (
        case(ONE_WRITER, memory=ContainerMemory(), fence=Fence.NO_STARTS),
        "at rest",
    ),
    "no lease yet, and it gave way": (
        case(ONE_WRITER, ENDED, fence=Fence.NO_STARTS, memory=GAVE_WAY),
        "at rest",
    ),
    "no lease yet, and others start": (
        case(assigned(1), on_engine(assigned(1), EngineState.CREATED), fence=Fence.NO_STARTS),
        "0001 start e-web-1 (order 1): it was created and never started",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    got, wanted = CASES[name]
    assert got() == wanted


def test_a_line_at_work_does_not_hold_up_the_stop() -> None:
    other, elsewhere = assigned(2), replace(ONE_WRITER, container_id=assigned(3).container_id)
    away = {each.container_id for each in (ONE_WRITER, other, elsewhere)}
    where = {ONE_WRITER.container_id: "e1", other.container_id: "e2"}
    (stop,) = cut_short(
        [ONE_WRITER, other, elsewhere], away, where, {ONE_WRITER.container_id: ContainerMemory(run=NOW)}
    )
    assert stop == StopContainer(
        container_id=ONE_WRITER.container_id,
        engine_id="e1",
        grace=FENCE_GRACE_SECONDS,
        run=NOW,
        cause=CAUSE,
        fence=True,
    )
    assert cut_short([ONE_WRITER], away, where, {})[0].run is None
    assert cut_short([ONE_WRITER], [], where, {}) == []
    fenced = plan_node(
        [ONE_WRITER], EngineView(containers=(RUNNING,)), {ONE_WRITER.container_id: DONE}, NOW, fence=Fence.SHUT
    )
    assert [step.fence for step in fenced.steps if isinstance(step, StopContainer)] == [True]
    stopped = replace(ONE_WRITER, want=Want.STOP)
    asked = plan_node(
        [stopped], EngineView(containers=(RUNNING,)), {ONE_WRITER.container_id: DONE}, NOW, fence=Fence.SHUT
    )
    assert [step.fence for step in asked.steps if isinstance(step, StopContainer)] == [False]
    told = about_to(DONE, stop, NOW)
    assert (told.stopped_run, told.fenced_run, told.fenced_at) == (NOW, NOW, NOW)
    assert about_to(told, replace(stop, run=None), NOW) == told, "it gave way before"
    assert about_to(GAVE_WAY, replace(stop, fence=False), NOW).fenced_run is None


@examples(300)
@given(assignments(), views(), st.sets(st.integers(1, 4)))
def test_nothing_of_them_runs_without_a_lease_and_others_do_not_notice(
    wanted: list[ContainerAssignment], view: EngineView, single: set[int]
) -> None:
    """The digest stays: whether two may run at once is no other container."""
    numbers = {assigned(n).container_id for n in single}
    wanted = [
        replace(each, spec=replace(each.spec, single_writer=True)) if each.container_id in numbers else each
        for each in wanted
    ]
    fenced = {each.container_id for each in wanted if each.spec.single_writer}
    plan = plan_node(wanted, view, {}, NOW, fence=Fence.SHUT)
    mine = [each for each in plan.steps if not isinstance(each, RemoveNetwork | ResolveImage)]
    assert not [each for each in mine if isinstance(each, StartContainer) and each.container_id in fenced]
    stopped = {each.engine_id for each in mine if isinstance(each, StopContainer)}
    for each in view.containers:
        if each.container_id in fenced and each.state in {EngineState.RUNNING, EngineState.PAUSED}:
            assert each.engine_id in stopped
    assert all(
        each.grace <= FENCE_GRACE_SECONDS
        for each in mine
        if isinstance(each, StopContainer) and each.container_id in fenced
    )
    without = plan_node(wanted, view, {}, NOW)
    others = [each for each in without.steps if getattr(each, "container_id", None) not in fenced]
    assert [each for each in mine if each.container_id not in fenced] == [
        each for each in others if not isinstance(each, RemoveNetwork | ResolveImage)
    ]


def single_writer(assignment: ContainerAssignment) -> ContainerAssignment:
    made = replace(assignment.spec, single_writer=True)
    return replace(assignment, spec=made, spec_digest=spec_digest(made))


async def test_an_agent_that_starts_without_a_control_plane_stops_them_and_goes_on_with_the_others(
    tmp_path: Path,
) -> None:
    """Four seconds after its start, since it does not know when the agent before it was heard."""
    runtime, channel = FakeRuntime(), MemoryChannel()
    runtime.add_image("tutela/web:latest", "sha256:web")
    one, other = single_writer(assigned(1)), assigned(2)
    channel.assign(one, other)
    async with running(runtime, channel, tmp_path) as agent:
        for each in (one, other):
            await until(channel, each.container_id, Seen.RUNNING)
        await agent.settled()
        engine_id = channel.seen[one.container_id].engine_id or ""
        other_id = channel.seen[other.container_id].engine_id or ""
    channel.away = True
    async with running(runtime, channel, tmp_path):
        await eventually(lambda: not runs(runtime, engine_id), "the one to be stopped")
        assert runs(runtime, other_id)
        channel.away = False
        await until(channel, one.container_id, Seen.RUNNING, more=lambda _: runs(runtime, engine_id))
    assert Seen.EXITED not in {seen.state for key, seen in channel.history if key == one.container_id}, (
        "that it was stopped for a while is no end of it"
    )


def test_what_of_a_line_needs_no_record() -> None:
    """Ends, where nothing begins; and nothing is removed: a container that is told to be gone stays forgotten."""

    def left(one: ContainerAssignment, here: ObservedContainer, **more: Any) -> list[str]:
        steps = plan_node([one], EngineView(containers=(here,)), {}, NOW, **more).steps
        return [type(each).__name__ for each in unrecorded(steps)]

    gone = replace(ONE_WRITER, want=Want.GONE)
    assert left(ONE_WRITER, OLD, fence=Fence.SHUT) == ["SetRestartPolicy", "StopContainer"]
    assert left(gone, replace(OLD, state=EngineState.PAUSED)) == ["SetRestartPolicy", "Unpause", "StopContainer"]
    assert left(ONE_WRITER, ENDED) == []
    assert left(gone, ENDED) == []
    assert left(ONE_WRITER, replace(RUNNING, digest="another")) == [], "its successor could not be started"


async def cut_off(state: Path) -> tuple[FakeRuntime, MemoryChannel, ContainerAssignment, str]:
    """One that runs, also as its engine knows it, when its agent is gone and no control plane is there any more."""
    runtime, channel = FakeRuntime(), MemoryChannel()
    runtime.add_image("tutela/web:latest", "sha256:web")
    one = single_writer(assigned(1))
    channel.assign(one)
    async with running(runtime, channel, state) as agent:
        await until(channel, one.container_id, Seen.RUNNING)
        await agent.settled()
        engine_id = channel.seen[one.container_id].engine_id or ""
    channel.away = True
    return runtime, channel, one, engine_id


async def test_they_stop_on_a_full_disk_too(tmp_path: Path) -> None:
    """What is to end needs no record (F37); what is to begin waits until there can be one."""
    runtime, channel, one, engine_id = await cut_off(tmp_path)
    starts = runtime.calls.count("start")
    async with running(runtime, channel, tmp_path):
        blocked = tmp_path / "ledger.new"
        blocked.mkdir()
        await eventually(lambda: not runs(runtime, engine_id), "the one to be stopped")
        channel.away = False
        assert runtime.calls.count("start") == starts
        blocked.rmdir()
        await until(channel, one.container_id, Seen.RUNNING, more=lambda _: runs(runtime, engine_id))


async def test_an_agent_that_starts_cut_off_begins_nothing_of_them(tmp_path: Path) -> None:
    """Not in the seconds that what runs may go on, either: it may run elsewhere since long (I2b, seed 337)."""
    runtime, channel, one, engine_id = await cut_off(tmp_path)
    other = assigned(2)
    channel.assign(other)
    channel.away = False
    async with running(runtime, channel, tmp_path):
        other_id = (await until(channel, other.container_id, Seen.RUNNING)).engine_id or ""
        channel.leave()
        await eventually(lambda: not runs(runtime, engine_id), "the one to be stopped", within=40)
    runtime.forget(other_id)
    starts = runtime.calls.count("start")
    async with running(runtime, channel, tmp_path):
        await eventually(lambda: runtime.calls.count("start") > starts, "the other to run again", within=START_SECONDS)
        assert not runs(runtime, engine_id)
        channel.away = False
        await until(channel, one.container_id, Seen.RUNNING, more=lambda _: runs(runtime, engine_id))
    assert runtime.calls.count("start") == starts + 2


async def test_what_runs_elsewhere_by_now_is_not_started_when_the_lease_is_back(tmp_path: Path) -> None:
    runtime, channel, one, engine_id = await cut_off(tmp_path)
    starts = runtime.calls.count("start")
    async with running(runtime, channel, tmp_path):
        await eventually(lambda: not runs(runtime, engine_id), "the one to be stopped")
        channel.assign(replace(one, want=Want.GONE))
        channel.away = False
        await until(channel, one.container_id, Seen.GONE)
    assert runtime.calls.count("start") == starts


class LateChannel(MemoryChannel):
    """Its beats are answered only while `on_time`."""

    def __init__(self) -> None:
        super().__init__()
        self.on_time = asyncio.Event()
        self.on_time.set()

    async def beat(self, beat: Beat) -> Heard:
        await self.on_time.wait()
        return await super().beat(beat)


async def test_beats_that_are_late_end_a_session_only_where_two_may_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All hosts are late at once where a control plane has too much to do: it is not to be asked for all anew."""
    for name, seconds in (("START_SECONDS", 0.4), ("LEASE_SECONDS", 0.4), ("BEAT_SECONDS", 0.1)):
        monkeypatch.setattr(session, name, seconds)
    runtime, channel = FakeRuntime(), LateChannel()
    runtime.add_image("tutela/web:latest", "sha256:web")
    one, other = single_writer(assigned(1)), assigned(2)
    channel.assign(other)

    async def late() -> None:
        channel.on_time.clear()
        await asyncio.sleep(1.0)
        channel.on_time.set()
        await asyncio.sleep(0.3)

    async with running(runtime, channel, tmp_path) as agent:
        await until(channel, other.container_id, Seen.RUNNING)
        await agent.settled()
        await late()
        assert channel.session == 1
        channel.assign(one)  # what was told before the lease ran out might be no longer so
        engine_id = (await until(channel, one.container_id, Seen.RUNNING)).engine_id or ""
        assert channel.session == 2
        await agent.settled()
        await late()
        assert channel.session == 3
        await until(channel, one.container_id, Seen.RUNNING, more=lambda _: runs(runtime, engine_id))


def runs(runtime: FakeRuntime, engine_id: str) -> bool:
    found = runtime.containers.get(engine_id)
    return found is not None and found["State"]["Status"] == "running"


@pytest.fixture
async def world(engine: PrivateEngine, tmp_path: Path) -> AsyncIterator[World]:
    channel = MemoryChannel()
    async with running(DockerRuntime(engine.base_url), channel, tmp_path) as agent:
        yield World(engine, channel, agent)
    sweep(engine)


@pytest.mark.engine
async def test_the_channel_is_cut(world: World) -> None:
    """A deaf one is killed in time, one in the middle of a long stop too; the engine does not bring them back."""
    deaf = {"command": ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")}
    one = world.want(SLEEPER, spec={"single_writer": True, **deaf}, stop_grace=120, autorestart=CrashPolicy.ALWAYS)
    two = world.want(SLEEPER, spec={"single_writer": True, "hostname": "web-2", **deaf}, stop_grace=120)
    other = world.want(SLEEPER, spec={"hostname": "web-3"})
    one, two, other = (replace(each, name=f"web-{n}") for n, each in enumerate((one, two, other)))
    await world.up(one, two, other)
    world.channel.assign(replace(two, want=Want.STOP))
    world.channel.leave()
    for each in (one, two):
        await eventually(
            lambda key=each.container_id: not world.runs(key),  # type: ignore[misc]
            "it to be stopped",
            within=bar(FENCED_SECONDS),
        )
    assert world.runs(other.container_id)
    world.channel.away = False
    await eventually(lambda: world.runs(one.container_id), "it to run again")
    assert not world.runs(two.container_id)
    # Its engine, back with its host, would not ask whether it may start it.
    assert world.inspect(one.container_id)["HostConfig"]["RestartPolicy"]["Name"] == "no"
