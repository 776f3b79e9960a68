"""Whether the engine takes new connections: one that does not is ending, though it still answers on old ones (E34).

What it is told to start then it starts, and kills at its next start. So what ended by itself is started again only
where the engine has just taken a new connection. Nobody waits for that: lines are held back, and the answer brings
another pass.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable

import structlog

from agents.crashes import SHUTDOWN
from agents.runtime.base import ContainerRuntime, RuntimeFailed
from agents.steps import StartContainer, Step

log = structlog.get_logger("agent")
FRESH_SECONDS = 0.5
PAUSE_SECONDS = 0.5


class Door:
    """The engine's. `wake`: called when there is an answer."""

    def __init__(self, runtime: ContainerRuntime, wake: Callable[[], None]) -> None:
        self._runtime = runtime
        self._wake = wake
        self._asking: asyncio.Task[None] | None = None
        self._opened = -math.inf
        self._shut: float | None = None

    def lets(self, line: Iterable[Step]) -> bool:
        """Whether the line may begin now: it starts nothing that ended by itself, or the engine took a new connection a
        moment ago. Where that is not known the engine is asked, and no is the answer."""
        if not any(isinstance(step, StartContainer) and step.automatic for step in line):
            return True
        if asyncio.get_running_loop().time() - self._opened < FRESH_SECONDS:
            return True
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="agent door")
        return False

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._runtime.accepting()
        except RuntimeFailed as error:
            now = loop.time()
            if self._shut is None:
                self._shut = now
                log.info("the engine takes no new connections: what ended is not started again", reason=str(error))
            # One that is slow and does not end must not keep everything down for ever.
            if now - self._shut < SHUTDOWN.total_seconds():
                await asyncio.sleep(PAUSE_SECONDS)
                self._wake()
                return
        self._opened, self._shut = loop.time(), None
        self._wake()
