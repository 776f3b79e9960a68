"""Asks the engine now and then whether it is there: one that hangs sends no event about it (RELIABILITY F14)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agents.runtime.base import ContainerRuntime, RuntimeFailed

GLANCE_SECONDS = 4.0


async def glance(runtime: ContainerRuntime, there: Callable[[], bool], away: Callable[[Exception], None]) -> None:
    """Until cancelled. One small call, whose cost does not grow with the containers; a pass asks the rest.

    `there` says whether the engine is believed to answer; where it is not, passes ask it already. `away` is told what
    went wrong.
    """
    while True:
        await asyncio.sleep(GLANCE_SECONDS)
        if there():
            try:
                await runtime.incarnation()
            except RuntimeFailed as error:
                away(error)
