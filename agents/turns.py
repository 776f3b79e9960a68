"""So many at once, each for a moment at most: what takes longer waits for something else, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """`count` at once. Who has had a turn for `seconds` goes on without one."""

    def __init__(self, count: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(count)
        self._seconds = seconds

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends or its time is over."""
        await self._free.acquire()
        mine = True

        def give_back() -> None:
            nonlocal mine
            if mine:
                mine = False
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._seconds, give_back)
        try:
            yield
        finally:
            timer.cancel()
            give_back()
