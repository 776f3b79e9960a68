"""Whether the engine takes new connections: one that does not is ending, though it still answers on old ones (E34).

What it is told to start then it starts, and kills at its next start. It closes its door before it ends its containers:
so what ended by itself is started again only where the engine has taken a new connection since. Nobody waits for that:
lines are held back, and the answer brings another pass.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from datetime import datetime
from uuid import UUID

import structlog

from agents.crashes import SHUTDOWN
from agents.runtime.base import ContainerRuntime, RuntimeFailed
from agents.steps import StartContainer, Step

log = structlog.get_logger("agent")
PAUSE_SECONDS = 0.5
SERIES_SECONDS = 5.0
"""Refusals with more between them are of two ends."""

Run = tuple[UUID, datetime | None]
"""A container, and the run of it that ended: of another run the engine is asked anew."""


class Door:
    """The engine's. `wake`: called when there is an answer."""

    def __init__(self, runtime: ContainerRuntime, wake: Callable[[], None]) -> None:
        self._runtime = runtime
        self._wake = wake
        self._held: dict[Run, float] = {}
        self._asking: asyncio.Task[None] | None = None
        self._opened = -math.inf
        self._shut = self._refused = -math.inf

    def lets(self, line: Iterable[Step]) -> bool:
        """Whether the line may begin now: it starts nothing that ended by itself, or the engine took a connection that
        was begun after that was first to be started. Else the engine is asked, and no is the answer."""
        step = next((each for each in line if isinstance(each, StartContainer) and each.automatic), None)
        if step is None:
            return True
        run = step.container_id, step.after
        if self._opened >= self._held.setdefault(run, asyncio.get_running_loop().time()):
            del self._held[run]
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
        began, most = asyncio.get_running_loop().time(), SHUTDOWN.total_seconds()
        # Of what came to be wanted otherwise meanwhile.
        self._held = {key: since for key, since in self._held.items() if began - since <= 2 * most}
        try:
            await self._runtime.accepting()
        except RuntimeFailed as error:
            if began - self._refused > SERIES_SECONDS:
                self._shut = began
                log.info("the engine takes no new connections: what ended is not started again", reason=str(error))
            self._refused = began
            # One that is slow and does not end must not keep everything down for ever.
            if began - self._shut < most:
                await asyncio.sleep(PAUSE_SECONDS)
                self._wake()
                return
        self._opened = began
        self._wake()
