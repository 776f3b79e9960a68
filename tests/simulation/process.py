"""Processes of the virtual world: groups of tasks that are killed, frozen and continued together."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

HERE: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)
"""The process whose code runs; tasks inherit it."""


class Killed(asyncio.CancelledError):
    """The process is dead: nothing of it reaches the world any more, `finally` blocks neither."""


class Process:
    """What it does to the world goes through `reach`."""

    def __init__(self, name: str, *, host: object = None) -> None:
        self.name = name
        self.host = host
        self.alive = True
        self._tasks: list[asyncio.Task[Any]] = []
        self._going = asyncio.Event()
        self._going.set()

    @property
    def frozen(self) -> bool:
        """Whether it was stopped as by SIGSTOP."""
        return not self._going.is_set()

    def owns(self, task: asyncio.Task[Any]) -> None:
        """The task was made by its code."""
        if len(self._tasks) > 200:
            self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)

    def spawn(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it as part of the process, whoever calls this."""
        context = contextvars.copy_context()
        context.run(HERE.set, self)
        return asyncio.get_running_loop().create_task(coro, context=context)

    async def reach(self) -> None:
        """Go on if it may act on the world: waits while it is frozen. Raises Killed."""
        if not self.alive:
            raise Killed
        if not self._going.is_set():
            await self._going.wait()
            if not self.alive:
                raise Killed

    def check(self) -> None:
        """Raises Killed when it is dead."""
        if not self.alive:
            raise Killed

    def freeze(self) -> None:
        """As SIGSTOP: it reaches nothing until `go_on`."""
        self._going.clear()

    def go_on(self) -> None:
        """As SIGCONT."""
        self._going.set()

    async def kill(self) -> None:
        """As kill -9: from now on nothing of it acts. Returns when its tasks are gone."""
        self.alive = False
        self._going.set()
        me = asyncio.current_task()
        for _ in range(20):
            left = [each for each in self._tasks if not each.done() and each is not me]
            if not left:
                break
            for each in left:
                each.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        self._tasks.clear()
