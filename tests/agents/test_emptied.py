"""An engine that comes back without anything of ours: nothing is made there before somebody says so (F54)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents import clock
from domain.container import Seen
from domain.quarantine import identity
from tests.agents.build import assigned, attachment
from tests.agents.harness import eventually, running, until
from tests.fakes.channel import MemoryChannel
from tests.fakes.runtime import FakeRuntime

ONE = assigned(1, networks=(attachment("net-a"),))


async def settled(runtime: FakeRuntime, state: Path) -> MemoryChannel:
    """An agent that has had a container running on its own engine, and ended."""
    runtime.add_image("tutela/web:latest", "sha256:web")
    channel = MemoryChannel()
    channel.want_engine(identity(await runtime.info()))
    channel.assign(ONE)
    async with running(runtime, channel, state) as agent:
        await until(channel, ONE.container_id, Seen.RUNNING)
        await agent.settled()
    return channel


def emptied(channel: MemoryChannel) -> int:
    """As the agent has told last."""
    return channel.engine.emptied if channel.engine is not None else -1


@pytest.mark.parametrize(
    ("away", "code", "told"),
    [(True, 137, False), (False, 0, False), (False, 0, True)],
    ids=["the agent was away too", "the agent runs", "the agent sees them end"],
)
async def test_nothing_is_made_and_what_comes_back_an_hour_later_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool, code: int, told: bool
) -> None:
    runtime = FakeRuntime()
    channel = await settled(runtime, tmp_path)
    kept, networks = dict(runtime.containers), dict(runtime.networks)

    def wipe() -> None:
        runtime.containers.clear()
        runtime.networks.clear()
        runtime.start_again("second")

    if away:
        runtime.end_all(code, told=told)
        wipe()
    async with running(runtime, channel, tmp_path) as agent:
        if not away:
            await agent.settled()
            runtime.end_all(code, told=told)
            if told:
                await until(channel, ONE.container_id, Seen.EXITED)
            wipe()
        await eventually(lambda: emptied(channel) == 1, "the engine to be told as emptied")
        for _ in range(2):
            await eventually(lambda: runtime.listened, "it to listen again")
            passes = runtime.calls.count("info")
            runtime.cut()
            await eventually(lambda passes=passes: runtime.calls.count("info") > passes, "another pass")  # type: ignore[misc]
        assert (runtime.containers, runtime.networks) == ({}, {})
    # Its disk is mounted: the same containers are started again, and nobody is asked.
    hour = timedelta(hours=1)
    monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + hour)
    runtime.containers.update(kept)
    runtime.networks.update(networks)
    channel.seen.clear()
    runtime.start_again("third", later=hour)
    async with running(runtime, channel, tmp_path) as agent:
        await eventually(lambda: emptied(channel) == 0, "the engine to be told as its own")
        await until(channel, ONE.container_id, Seen.RUNNING)
        await agent.settled()
    assert runtime.containers.keys() == kept.keys()


async def test_an_operator_may_have_all_made_anew(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    channel = await settled(runtime, tmp_path)
    old = set(runtime.containers)
    runtime.containers.clear()
    runtime.networks.clear()
    runtime.start_again("second")
    async with running(runtime, channel, tmp_path) as agent:
        await eventually(lambda: emptied(channel) == 1, "the engine to be told as emptied")
        assert channel.engine is not None
        channel.want_engine(identity(channel.engine))
        await eventually(lambda: len(runtime.containers) == 1, "it to be made anew")
        await agent.settled()
        assert not old & runtime.containers.keys()
        # That is the engine's own state from then on, and nothing of it was ended by a start of before.
        runtime.cut()
        await eventually(lambda: runtime.listened, "it to listen again")
        await agent.settled()
        (made,) = runtime.containers
        runtime.crash(made, code=143)
        await until(channel, ONE.container_id, Seen.EXITED)
        await agent.settled()
        assert runtime.containers[made]["State"]["Status"] == "exited", "it ended by itself, and autorestart is OFF"
    runtime.start_again("third")
    async with running(runtime, channel, tmp_path) as agent:
        await agent.settled()
        assert emptied(channel) == 1
        assert runtime.containers.keys() == {made}


async def test_an_engine_that_was_accepted_is_not_asked_about_again(tmp_path: Path) -> None:
    """What was on the one before says nothing of this one."""
    runtime = FakeRuntime()
    channel = await settled(runtime, tmp_path)
    other = FakeRuntime(engine_id="other")
    other.add_image("tutela/web:latest", "sha256:web")
    other.life = "of the other"
    async with running(other, channel, tmp_path) as agent:
        await eventually(lambda: channel.engine is not None and channel.engine.engine_id == "other", "the report")
        other.start_again("once more")
        channel.want_engine(identity(await other.info()))
        await until(channel, ONE.container_id, Seen.RUNNING)
        await agent.settled()
        assert emptied(channel) == 0


@pytest.mark.parametrize("what", ["a container", "its network too, which was seen"])
async def test_what_users_remove_is_made_anew_as_ever(tmp_path: Path, what: str) -> None:
    """While its networks are there, or where the last look had seen nothing any more."""
    runtime = FakeRuntime()
    channel = await settled(runtime, tmp_path)
    if what != "a container":
        del channel.wanted[ONE.container_id]
        channel.revision += 1
        async with running(runtime, channel, tmp_path) as agent:
            await eventually(lambda: not runtime.containers, "it to be removed")
            await agent.settled()
        runtime.networks.clear()
        channel.assign(ONE)
    else:
        runtime.containers.clear()
    runtime.start_again("second")
    async with running(runtime, channel, tmp_path) as agent:
        await eventually(lambda: len(runtime.containers) == 1, "it to be made anew")
        await agent.settled()
        assert emptied(channel) == 0
