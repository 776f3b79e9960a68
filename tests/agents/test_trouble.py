"""What an engine refuses, loses or says oddly: what can be done is done, and nothing is tried without a pause."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from agents.agent import Agent
from agents.crashes import will_start
from agents.images import resolved
from agents.memory import about_to, after, observed
from agents.observe import Observer
from agents.planning import plan_node
from agents.runtime.base import Json, RuntimeBusy, RuntimeRefused
from agents.runtime.threads import SHORT_THREADS, Calls
from agents.steps import StartContainer, StepResult
from agents.view import ContainerMemory, EngineState, EngineView, Interruption, Retry
from domain.assignment import ContainerAssignment, ImageRequest
from domain.container import Seen, Want
from domain.image import Pull
from domain.spec import CrashPolicy
from tests.agents.build import CLUSTER, NOW, assigned, on_engine
from tests.agents.harness import eventually, running, until
from tests.fakes.channel import MemoryChannel
from tests.fakes.runtime import FakeRuntime


class Troubled(FakeRuntime):
    """`full`: the disk is, so that no policy can be set (E23). `vanishing`: the next starts find no container. `odd`:
    an image whose configuration nobody can read."""

    def __init__(self) -> None:
        super().__init__()
        self.full, self.vanishing, self.odd = False, 0, False
        self.add_image("tutela/web:latest", "sha256:web")

    async def update_policy(self, engine_id: str, policy: str) -> None:
        if self.full:
            raise RuntimeRefused("no space left on device", "disk_full")
        await super().update_policy(engine_id, policy)

    async def start(self, engine_id: str) -> None:
        if self.vanishing:
            self.vanishing -= 1
            self.forget(engine_id)
            raise RuntimeRefused("it is gone", "not_found")
        await super().start(engine_id)

    async def image_inspect(self, reference: str) -> Json:
        found = await super().image_inspect(reference)
        self.calls.append("image_inspect")
        return {} if self.odd else found


@pytest.fixture
def runtime() -> Troubled:
    return Troubled()


@pytest.fixture
def channel() -> MemoryChannel:
    return MemoryChannel()


@pytest.fixture
async def agent(runtime: Troubled, channel: MemoryChannel, tmp_path: Path) -> AsyncIterator[Agent]:
    async with running(runtime, channel, tmp_path) as agent:
        yield agent


@pytest.mark.parametrize("want", [Want.GONE, Want.STOP])
async def test_on_a_full_disk_is_stopped_and_removed(
    agent: Agent, runtime: Troubled, channel: MemoryChannel, want: Want
) -> None:
    """It is what makes room; a policy that cannot be set held it up for ever."""
    one = assigned(1, autorestart=CrashPolicy.ALWAYS)
    channel.assign(one)
    await until(channel, one.container_id, Seen.RUNNING)
    runtime.full = True
    channel.assign(replace(one, want=want))
    await until(channel, one.container_id, Seen.GONE if want is Want.GONE else Seen.EXITED)


async def test_a_container_that_vanishes_before_its_start_is_made_anew(
    agent: Agent, runtime: Troubled, channel: MemoryChannel
) -> None:
    runtime.vanishing = 1
    one = assigned(1)
    channel.assign(one)
    await until(channel, one.container_id, Seen.RUNNING)
    assert runtime.calls.count("create") == 2
    assert not [seen for _, seen in channel.history if seen.state is Seen.FAILED]


async def test_what_nobody_foresaw_is_tried_with_pauses_and_told(
    agent: Agent, runtime: Troubled, channel: MemoryChannel
) -> None:
    """It was tried thousands of times a second, and nobody was told why."""
    runtime.odd = True
    request = ImageRequest(request_id=uuid4(), reference="tutela/web:latest", pull=Pull.MISSING)
    channel.ask(request)
    await eventually(lambda: request.request_id in channel.answers, "an answer")
    said = channel.answers[request.request_id].error
    assert said is not None
    assert "KeyError" in said
    assert runtime.calls.count("image_inspect") <= 5


async def test_a_ledger_that_cannot_be_written_is_no_engine_that_is_away(
    agent: Agent, runtime: Troubled, channel: MemoryChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = assigned(1)
    channel.assign(one)
    await until(channel, one.container_id, Seen.RUNNING)

    async def full() -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(agent._ledger, "save", full)
        before = len(channel.reports)
        channel.assign(replace(one, start_gen=2), assigned(2))
        await asyncio.sleep(0.5)
        assert all(each.engine is not None for each in channel.reports[before:])
        assert runtime.calls.count("create") == 1, "nothing is begun that nobody could remember"
    await until(channel, assigned(2).container_id, Seen.RUNNING)


def test_ports_of_an_image_that_no_container_can_have_are_left_out() -> None:
    odd = [
        "80/tcp",
        "80",
        "00000000443/tcp",
        "8000-8010/tcp",
        "/tcp",
        "0",
        "70000",
        "53/udp",
        "9/sctp",
        "443",
        "٣/tcp",
        "1" * 9000,
    ]
    found = resolved("a", {"Id": "x", "Config": {"ExposedPorts": {each: {} for each in odd}}})
    assert [(each.protocol.value, each.port) for each in found.ports] == [("tcp", 80), ("tcp", 443), ("udp", 53)]


@pytest.mark.usefixtures("agent")
async def test_an_image_that_says_what_nobody_can_keep_has_an_answer(runtime: Troubled, channel: MemoryChannel) -> None:
    """Its report was refused by the record before, and the session with it, again and again."""
    runtime.images["odd:1"] = {"Id": "sha256:odd", "Config": {"Env": ["A=a\x00b"]}}
    request = ImageRequest(request_id=uuid4(), reference="odd:1", pull=Pull.MISSING)
    channel.ask(request)
    await eventually(lambda: request.request_id in channel.answers, "the answer")
    said = channel.answers[request.request_id]
    assert said.image is None
    assert said.error is not None
    assert said.error.startswith("image odd:1: it cannot be used: its variables,")


def test_a_start_that_is_refused_after_an_engines_restart_is_tried_with_pauses() -> None:
    one = assigned(1, seen_start_gen=1)
    ended = on_engine(one, EngineState.EXITED, exit_code=137)
    memory, now, starts = ContainerMemory(start_gen=1, interrupted=Interruption(run=NOW)), NOW, list[float]()
    while now < NOW + timedelta(minutes=2):
        plan = plan_node([one], EngineView(containers=(ended,)), {one.container_id: memory}, now)
        if plan.steps:
            (step,) = plan.steps
            assert isinstance(step, StartContainer)
            memory = about_to(memory, step, now)
            refused = StepResult(step=step, ok=False, at=now, message="port is already allocated", code="port_taken")
            memory = after(memory, refused, step.start_gen)
            starts.append((now - NOW).total_seconds())
        else:
            assert plan.next_due is not None
            now = plan.next_due
    assert starts == [0, 1, 3, 7, 15, 31, 63]


@pytest.mark.parametrize(("minutes", "waits"), [(0, True), (1, False), (4, False), (60, False)])
def test_a_clock_that_is_set_back_puts_no_retry_off(minutes: int, waits: bool) -> None:
    retry = Retry(count=9, at=NOW + timedelta(seconds=30), message="busy")
    assert retry.waits(NOW - timedelta(minutes=minutes)) is waits


@pytest.mark.parametrize(
    ("policy", "code", "again"), [("OFF", 0, False), ("ON_FAILURE", 0, False), ("ALWAYS", 0, True)]
)
async def test_a_job_that_ended_and_was_pruned_does_not_run_again(
    agent: Agent, runtime: Troubled, channel: MemoryChannel, policy: str, code: int, again: bool
) -> None:
    """`docker container prune` is part of many nights."""
    one = assigned(1)
    channel.assign(one)
    seen = await until(channel, one.container_id, Seen.RUNNING)
    runtime.crash(seen.engine_id or "", code)
    await until(channel, one.container_id, Seen.EXITED)
    runtime.forget(seen.engine_id or "")
    told = await until(channel, one.container_id, Seen.EXITED, more=lambda now: now.engine_id is None)
    assert (told.exit_code, told.will_restart) == (code, False)
    assert told.message == "it ended, and was removed by somebody else; a start makes it anew"
    channel.assign(replace(one, autorestart=CrashPolicy(policy)))
    if again:
        await until(channel, one.container_id, Seen.RUNNING)
        return
    await agent.settled()
    assert runtime.containers == {}
    channel.assign(replace(one, autorestart=CrashPolicy(policy), start_gen=2))
    after = await until(channel, one.container_id, Seen.RUNNING, more=lambda now: now.start_gen == 2)
    assert after.engine_id in runtime.containers


async def test_what_runs_and_is_removed_by_somebody_else_is_made_anew(
    agent: Agent, runtime: Troubled, channel: MemoryChannel
) -> None:
    one = assigned(1)
    channel.assign(one)
    seen = await until(channel, one.container_id, Seen.RUNNING)
    runtime.forget(seen.engine_id or "")
    await until(channel, one.container_id, Seen.RUNNING, more=lambda now: now.engine_id != seen.engine_id)


def test_a_run_that_ended_for_good_is_known_after_its_container_is_gone() -> None:
    one = assigned(1, seen_start_gen=1)
    always = replace(one, autorestart=CrashPolicy.ALWAYS)
    before = ContainerMemory(start_gen=1)

    def planned(assignment: ContainerAssignment, memory: ContainerMemory) -> list[str]:
        plan = plan_node([assignment], EngineView(), {one.container_id: memory}, NOW)
        return [type(step).__name__ for step in plan.steps]

    made = ["CreateContainer", "StartContainer"]
    assert planned(one, before) == made, "nobody knows of a run"
    ended = observed(before, one, on_engine(one, EngineState.EXITED, exit_code=0))
    assert ended.result == 0
    gone = observed(ended, one, None)
    assert planned(one, gone) == []
    assert planned(always, gone) == made
    assert planned(replace(one, start_gen=2), gone) == made
    assert not will_start(one, None, gone)
    assert will_start(always, None, gone)
    assert will_start(replace(one, start_gen=2), None, gone)
    assert observed(before, always, on_engine(one, EngineState.EXITED)).result is None, "it goes on"
    assert observed(ended, one, on_engine(one, EngineState.RUNNING)).result is None, "it was started again"
    (_, start) = plan_node([always], EngineView(), {one.container_id: gone}, NOW).steps
    assert about_to(gone, start, NOW).result is None


async def test_starts_that_hang_blind_nobody() -> None:
    """A volume that does not answer, a swarm without a quorum: eight of them took the whole node away (I14)."""
    calls, over = Calls(), threading.Event()
    try:
        starts = [asyncio.create_task(calls.short("starting", 0.05, over.wait)) for _ in range(2 * SHORT_THREADS)]
        await asyncio.sleep(0.1)
        assert await calls.look("listing", 5, lambda: "seen") == "seen"
        for each in starts:
            with pytest.raises(RuntimeBusy):
                await each
    finally:
        over.set()
        calls.close()


class Deaf(FakeRuntime):
    """Its inspections are not answered in time, and hold their threads until `over`."""

    def __init__(self) -> None:
        super().__init__()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add_image("tutela/web:latest", "sha256:web")

    async def inspect(self, engine_id: str) -> Json:
        self.calls.append("inspect")
        if not self.over.done():
            raise RuntimeBusy("the engine did not answer", pending=self.over)
        return await super().inspect(engine_id)


async def test_a_container_that_does_not_answer_is_asked_one_question_at_a_time() -> None:
    runtime, again = Deaf(), asyncio.Event()
    await runtime.create(CLUSTER, assigned(1), None)
    observer = Observer(runtime, again.set)
    for _ in range(3):
        assert (await observer.look(CLUSTER, ())).unknown == {assigned(1).container_id}
    assert runtime.calls.count("inspect") == 1
    runtime.over.set_result(None)
    await asyncio.wait_for(again.wait(), 5)
    again.clear()
    assert (await observer.look(CLUSTER, ())).unknown, "that question failed"
    await asyncio.wait_for(again.wait(), 5)
    assert not (await observer.look(CLUSTER, ())).unknown
