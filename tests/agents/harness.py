"""An agent running in the test's loop, on a real engine or the fake one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

from agents.agent import Agent
from agents.runtime.base import ContainerRuntime
from domain.container import Observed, Seen
from tests.fakes.channel import MemoryChannel
from tests.harness.wait import wait_for


@contextlib.asynccontextmanager
async def running(runtime: ContainerRuntime, channel: MemoryChannel, state_dir: Path) -> AsyncIterator[Agent]:
    """An agent at work; it is stopped at the end."""
    agent = Agent(name="n1", state_dir=state_dir, runtime=runtime, channel=channel)
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def eventually(look: Callable[[], object], what: str, within: float = 20, every: float = 0.005) -> None:
    """Until `look` gives something true; in a thread, so that the agent goes on."""
    await asyncio.to_thread(wait_for, lambda: look() or None, timeout=within, what=what, every=every)


async def until(
    channel: MemoryChannel,
    container_id: UUID,
    state: Seen,
    *,
    more: Callable[[Observed], bool] = lambda seen: True,
    within: float = 20,
) -> Observed:
    """Until the container was reported in this state."""

    def look() -> bool:
        seen = channel.seen.get(container_id)
        return seen is not None and seen.state is state and more(seen)

    await eventually(look, f"{container_id} {state.value}; last: {channel.seen.get(container_id)}", within)
    return channel.seen[container_id]
