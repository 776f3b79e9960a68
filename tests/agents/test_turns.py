"""Ends of containers: so many at once as an engine bears, and whoever takes his grace keeps nobody waiting."""

from __future__ import annotations

import asyncio

from agents.turns import Turns


async def test_so_many_have_a_turn_and_the_next_one_comes_when_one_is_done() -> None:
    turns, ends, begun = Turns(2, 60), [asyncio.Event() for _ in range(3)], list[int]()

    async def one(number: int) -> None:
        async with turns.turn():
            begun.append(number)
            await ends[number].wait()

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(one(number))
        await asyncio.sleep(0.01)
        assert begun == [0, 1]
        ends[1].set()
        await asyncio.sleep(0.01)
        assert begun == [0, 1, 2]
        for end in ends:
            end.set()


async def test_who_takes_long_goes_on_without_a_turn_and_gives_back_no_second_one() -> None:
    turns, end, most, there = Turns(1, 0.02), asyncio.Event(), 0, 0
    async with asyncio.TaskGroup() as group:

        async def long() -> None:
            async with turns.turn():
                await end.wait()

        async def short() -> None:
            nonlocal most, there
            async with turns.turn():
                there += 1
                most = max(most, there)
                await asyncio.sleep(0.001)
                there -= 1

        group.create_task(long())
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await short()
        end.set()
        await asyncio.sleep(0)
        await asyncio.gather(*(short() for _ in range(5)))
    assert most == 1


async def test_a_turn_is_given_back_after_an_error_and_by_who_is_cancelled() -> None:
    turns = Turns(1, 60)
    for error in (ValueError, asyncio.CancelledError):
        try:
            async with turns.turn():
                raise error
        except (ValueError, asyncio.CancelledError):
            pass
    async with asyncio.timeout(1), turns.turn():
        pass
