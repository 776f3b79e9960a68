"""The whole agent on the fake engine: answers that are lost, engines and control planes that go away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from agents import door
from agents.door import Door
from agents.ledger import Ledger
from agents.planning import container_name
from agents.steps import StartContainer
from domain.assignment import ContainerAssignment, ImageRequest
from domain.container import Observed, Seen, Want
from domain.image import Pull
from domain.spec import CrashPolicy
from tests.agents.build import CLUSTER, NODE, NOW, assigned, attachment
from tests.agents.harness import eventually, running, until
from tests.fakes.channel import MemoryChannel
from tests.fakes.runtime import FakeRuntime


@pytest.fixture
def runtime() -> FakeRuntime:
    fake = FakeRuntime()
    fake.add_image("tutela/web:latest", "sha256:web")
    return fake


@pytest.fixture
async def channel(runtime: FakeRuntime, tmp_path: Path) -> AsyncIterator[MemoryChannel]:
    made = MemoryChannel()
    async with running(runtime, made, tmp_path):
        yield made


def three() -> list[ContainerAssignment]:
    return [assigned(n, networks=(attachment("net-web", f"web-{n}"),)) for n in (1, 2, 3)]


async def test_up_and_away(runtime: FakeRuntime, channel: MemoryChannel) -> None:
    many = three()
    channel.assign(*many)
    for each in many:
        await until(channel, each.container_id, Seen.RUNNING)
    assert len(runtime.networks) == 1
    channel.assign(*(replace(each, want=Want.GONE) for each in many))
    for each in many:
        await until(channel, each.container_id, Seen.GONE)
    await eventually(lambda: not runtime.networks, "the network to go")
    assert runtime.containers == {}


@pytest.mark.parametrize("method", ["create", "start", "stop", "remove"])
async def test_a_call_without_an_answer_is_not_taken_for_undone(
    runtime: FakeRuntime, channel: MemoryChannel, method: str
) -> None:
    runtime.late.append(method)
    one = assigned(1)
    channel.assign(one)
    await until(channel, one.container_id, Seen.RUNNING)
    assert len(runtime.containers) == 1
    assert runtime.calls.count("start") == (1 if method != "start" else runtime.calls.count("start"))
    channel.assign(replace(one, want=Want.GONE))
    await until(channel, one.container_id, Seen.GONE)
    assert runtime.containers == {}


async def test_a_name_whose_owner_is_not_to_be_seen_yet_is_waited_for(
    runtime: FakeRuntime, channel: MemoryChannel
) -> None:
    """A create whose answer was lost is still under way (E12): that it has its name is no reason to give up."""
    one = assigned(1)
    runtime.making.add(f"/{container_name(one)}")
    channel.assign(one)
    await eventually(lambda: runtime.calls.count("create") >= 2, "another try")
    assert Seen.FAILED not in {seen.state for key, seen in channel.history if key == one.container_id}
    runtime.making.clear()
    await until(channel, one.container_id, Seen.RUNNING)
    assert len(runtime.containers) == 1


async def test_volumes_that_somebody_else_uses_are_told_of_until_they_are_free(
    runtime: FakeRuntime, channel: MemoryChannel
) -> None:
    one = assigned(1)
    channel.assign(one)
    await until(channel, one.container_id, Seen.RUNNING)
    foreign = {"Config": {"Labels": {}}, "Name": "/x", "HostConfig": {"Mounts": [{"Source": "data"}]}}
    runtime.containers["foreign"] = foreign | {"State": {"Status": "running"}}
    channel.assign(replace(one, want=Want.GONE, drop_volumes=("data",)))
    seen = await until(channel, one.container_id, Seen.EXITED, more=lambda seen: seen.engine_id is None)
    assert (seen.message or "").startswith("it is gone, and its volumes are not: volume data is in use (try ")
    runtime.containers.pop("foreign")
    await until(channel, one.container_id, Seen.GONE)


async def ended_by_an_ending_engine(
    runtime: FakeRuntime, channel: MemoryChannel
) -> tuple[ContainerAssignment, Observed]:
    """A container that its agent alone restarts, and its run that ended while the engine takes no new connections."""
    one = assigned(1, autorestart=CrashPolicy.ALWAYS, autoreplace=CrashPolicy.ALWAYS)
    channel.assign(one)
    seen = await until(channel, one.container_id, Seen.RUNNING)
    assert seen.engine_id is not None
    runtime.ending = True
    runtime.crash(seen.engine_id, 143)
    return one, seen


async def test_an_engine_that_ends_is_not_told_to_start_again_what_it_ended(
    runtime: FakeRuntime, channel: MemoryChannel
) -> None:
    """E34: it would start it, and kill it at its next start. Found by chaos, seed 60."""
    one, running = await ended_by_an_ending_engine(runtime, channel)
    await eventually(lambda: runtime.calls.count("accepting") >= 2, "it to be asked again")
    assert runtime.calls.count("start") == 1
    other = assigned(2)
    channel.assign(one, other)
    await until(channel, other.container_id, Seen.RUNNING)  # nothing else waits
    runtime.ending = False
    await eventually(lambda: runtime.calls.count("start") == 3, "the engine to be back")
    await until(channel, one.container_id, Seen.RUNNING, more=lambda seen: seen.started_at != running.started_at)


async def test_an_engine_that_takes_no_new_connections_for_long_is_slow_and_does_not_end(
    runtime: FakeRuntime, channel: MemoryChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "SHUTDOWN", timedelta(seconds=1.5))
    await ended_by_an_ending_engine(runtime, channel)
    await eventually(lambda: runtime.calls.count("start") == 2, "it to be started again all the same")
    assert runtime.calls.count("accepting") >= 3


async def test_a_refused_start_waits_for_a_new_order(runtime: FakeRuntime, channel: MemoryChannel) -> None:
    runtime.start_errors["web-1"] = "port is already allocated"
    one = assigned(1)
    channel.assign(one)
    seen = await until(channel, one.container_id, Seen.FAILED)
    assert (seen.message, seen.start_gen) == ("port is already allocated", 1)
    assert runtime.calls.count("start") == 1
    runtime.start_errors.clear()
    channel.assign(replace(one, start_gen=2))
    await until(channel, one.container_id, Seen.RUNNING, more=lambda seen: seen.start_gen == 2)


async def test_a_container_whose_start_its_engine_lost_half_way_is_made_anew(
    runtime: FakeRuntime, channel: MemoryChannel
) -> None:
    """It says so at each start for ever (E33); found by chaos: a redeployment waited for it until its deadline."""
    one = assigned(1, want=Want.STOP)
    channel.assign(replace(one, want=Want.RUN))
    seen = await until(channel, one.container_id, Seen.RUNNING)
    channel.assign(one)
    await until(channel, one.container_id, Seen.EXITED)
    runtime.half_started.add(seen.engine_id or "")
    channel.assign(replace(one, want=Want.RUN, start_gen=2))
    after = await until(channel, one.container_id, Seen.RUNNING, more=lambda now: now.start_gen == 2)
    assert after.engine_id != seen.engine_id
    assert list(runtime.containers) == [after.engine_id]


async def test_a_missing_image_is_pulled(runtime: FakeRuntime, channel: MemoryChannel) -> None:
    runtime.images.clear()
    runtime.remote["tutela/web:latest"] = {"Id": "sha256:web", "Config": {}}
    one = assigned(1)
    channel.assign(one)
    await until(channel, one.container_id, Seen.RUNNING)
    assert Seen.PULLING in {seen.state for key, seen in channel.history if key == one.container_id}


async def test_an_image_that_nobody_has(runtime: FakeRuntime, channel: MemoryChannel) -> None:
    runtime.images.clear()
    one, request = assigned(1), ImageRequest(request_id=uuid4(), reference="none:1", pull=Pull.MISSING)
    channel.assign(one)
    channel.ask(request)
    seen = await until(channel, one.container_id, Seen.FAILED)
    assert "does not have the image" in (seen.message or "")
    await eventually(lambda: request.request_id in channel.answers, "the answer")
    assert "none:1" in (channel.answers[request.request_id].error or "")
    assert runtime.calls.count("create") == 1


async def test_the_engine_goes_and_comes_back(runtime: FakeRuntime, channel: MemoryChannel) -> None:
    one = assigned(1, autorestart=CrashPolicy.ALWAYS)
    channel.assign(one)
    seen = await until(channel, one.container_id, Seen.RUNNING)
    runtime.away = True
    runtime.cut()
    await eventually(lambda: channel.engine is None, "the absence to be told")
    runtime.containers.pop(seen.engine_id or "")
    runtime.away = False
    await until(channel, one.container_id, Seen.RUNNING, more=lambda now: now.engine_id != seen.engine_id)
    assert channel.engine is not None


async def test_a_lost_session_begins_anew_with_everything(runtime: FakeRuntime, channel: MemoryChannel) -> None:
    one = assigned(1)
    channel.assign(one)
    await until(channel, one.container_id, Seen.RUNNING)
    channel.seen.clear()
    channel.lose_session()
    await until(channel, one.container_id, Seen.RUNNING)
    # One that is counted and not taken back ends a task at its next timeout (Python before 3.11.3): no agent any more.
    # One that is just being ended is counted too, for a moment.
    loop = asyncio.get_running_loop()
    await eventually(lambda: not any(task.cancelling() for task in asyncio.all_tasks(loop)), "no task to be left so")
    assert channel.hello is not None
    assert channel.hello.cluster_id == CLUSTER
    assert len(runtime.containers) == 1
    assert runtime.calls.count("start") == 1


async def test_a_revision_is_told_with_what_is_said_next(runtime: FakeRuntime, tmp_path: Path) -> None:
    """A report of its own would be a write of the node's row, for each change of each host."""
    channel, (first, second, _) = MemoryChannel(), three()
    async with running(runtime, channel, tmp_path) as agent:
        channel.assign(first)
        await until(channel, first.container_id, Seen.RUNNING)
        await agent.settled()
        before = len(channel.reports)
        channel.assign()
        await eventually(lambda: agent._ledger.revision == channel.revision, "the revision")
        await agent.settled()
        assert len(channel.reports) == before
        channel.assign(second)
        await until(channel, second.container_id, Seen.RUNNING)
        await agent.settled()
        assert channel.applied == channel.revision


async def test_another_installations_ledger_is_left_alone(runtime: FakeRuntime, tmp_path: Path) -> None:
    mine, other = MemoryChannel(), MemoryChannel(cluster_id=uuid4())
    one = assigned(1)
    mine.assign(one)
    async with running(runtime, mine, tmp_path) as agent:
        await until(mine, one.container_id, Seen.RUNNING)
        await agent.settled()
    before = set(runtime.containers)
    async with running(runtime, other, tmp_path):
        await eventually(lambda: other.hello is not None, "the attempt to register")
        await eventually(lambda: "list" in runtime.calls, "a pass")
    assert set(runtime.containers) == before
    ledger = Ledger(tmp_path)
    assert (ledger.cluster_id, ledger.node_id) == (CLUSTER, NODE)
    assert ledger.assignments == {one.container_id: one}
    ledger.close()


async def test_crash_loops_back_off(runtime: FakeRuntime, channel: MemoryChannel) -> None:
    runtime.add_image("bad:1", "sha256:bad", exits=3)
    one = assigned(1, autorestart=CrashPolicy.ON_FAILURE)
    one = replace(one, spec=replace(one.spec, image_id="sha256:bad"))
    channel.assign(one)
    seen = await until(channel, one.container_id, Seen.RESTARTING, more=lambda seen: seen.restart_count >= 2)
    assert (seen.exit_code, seen.will_restart) == (3, True)
    assert runtime.calls.count("start") <= seen.restart_count + 2


async def test_gone_is_said_once_it_is_on_the_disk(
    runtime: FakeRuntime, channel: MemoryChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GONE is final: an agent that began anew without knowing it would make the container again (seed 51042)."""
    one = assigned(1)
    channel.assign(one)
    seen = await until(channel, one.container_id, Seen.RUNNING)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("agents.ledger.write_whole", full)
        runtime.containers.pop(seen.engine_id or "")
        channel.assign(replace(one, want=Want.GONE))
        looks = runtime.calls.count("list")
        await eventually(lambda: runtime.calls.count("list") > looks + 2, "some looks")
        assert channel.seen[one.container_id].state is not Seen.GONE
    await until(channel, one.container_id, Seen.GONE)


async def test_of_another_run_that_ended_the_engine_is_asked_anew() -> None:
    """What was held back when the engine ended before may have been started by the engine itself since (seed 64)."""
    runtime = FakeRuntime()
    asked = Door(runtime, lambda: None)
    first = StartContainer(
        container_id=UUID(int=1), engine_id="e", start_gen=1, automatic=True, after=NOW, ended_at=NOW, cause="ended"
    )
    assert not asked.lets([first])
    await eventually(lambda: runtime.calls.count("accepting") == 1, "the engine to be asked")
    await asyncio.sleep(0.01)
    other = replace(first, after=NOW + timedelta(seconds=9))
    runtime.ending = True
    assert not asked.lets([other])
    assert not asked.lets([other])
    await asked.close()
    assert asked.lets([first])
    assert asked.lets([replace(first, automatic=False)])


async def test_an_engine_that_ends_twice_is_not_taken_for_one_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next start brought back what was held, so nobody had asked in between."""
    monkeypatch.setattr(door, "SHUTDOWN", timedelta(seconds=0.2))
    monkeypatch.setattr(door, "SERIES_SECONDS", 0.1)
    monkeypatch.setattr(door, "PAUSE_SECONDS", 0.0)
    runtime, line = FakeRuntime(), StartContainer(
        container_id=UUID(int=1), engine_id="e", start_gen=1, automatic=True, after=NOW, ended_at=NOW, cause="ended"
    )  # fmt: skip
    asked = Door(runtime, lambda: None)
    runtime.ending = True
    assert not asked.lets([line])
    await asyncio.sleep(0.4)
    again = replace(line, after=NOW + timedelta(seconds=9))
    assert not asked.lets([again])
    await asyncio.sleep(0.05)
    assert runtime.calls.count("accepting") == 2
    assert not asked.lets([again])
    await asked.close()
