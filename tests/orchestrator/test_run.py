"""A loop that ends by itself ends its process: one that does nothing is worse than one that is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from orchestrator.run import unending


async def ends() -> None:
    await asyncio.sleep(0)


async def is_cancelled_from_within() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def fails() -> None:
    raise ValueError("a defect")


@pytest.mark.parametrize("loop", [ends, is_cancelled_from_within])
async def test_a_loop_that_ends_by_itself_fails_its_group(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(unending("worker", loop()))
            group.create_task(unending("sweeps", asyncio.sleep(3600)))

    with pytest.raises(ExceptionGroup) as raised:
        await both()
    assert [str(each) for each in raised.value.exceptions] == ["worker ended by itself"]


async def test_what_it_raises_is_told() -> None:
    with pytest.raises(ValueError, match="a defect"):
        await unending("worker", fails())


async def test_cancelling_it_cancels_the_loop() -> None:
    loop = asyncio.sleep(3600)
    task = asyncio.create_task(unending("worker", loop))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each for each in asyncio.all_tasks() if each.get_name() == "worker"] == []
