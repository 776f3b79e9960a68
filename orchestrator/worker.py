"""Keep passes going: as long as something is due, and again when it is. Several at once, on different services."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from orchestrator.listener import Wakeups
from orchestrator.planning.view import Installation, Policy
from orchestrator.reconciler import gather, one_pass
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.schedule import Idle

log = structlog.get_logger("worker")
TICK_SECONDS = 30.0
"""The longest sleep: covers a lost NOTIFY."""
LONGEST_PAUSE = 5.0


class Worker:
    """Runs passes until cancelled."""

    def __init__(self, db: Database, wakeups: Wakeups, installation: Installation, policy: Policy, *, lanes: int = 4):
        self._db = db
        self._wakeups = wakeups
        self._installation = installation
        self._policy = policy
        self._lanes = lanes

    async def run(self) -> None:
        """Drain what is due, then sleep until something is."""
        pause = 0.1
        while True:
            self._wakeups.service.clear()
            try:
                wait, pause = _until(await self.drain()), 0.1
            except DatabaseAway as error:
                log.warning("database away", reason=str(error), retry_in=pause)
                wait, pause = pause, min(pause * 2, LONGEST_PAUSE)
            except Exception:
                # The boundary of the loop: a defect in one pass must not stop the others; it is logged and retried.
                log.exception("a pass failed")
                wait, pause = pause, min(pause * 2, LONGEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wakeups.service.wait()

    async def drain(self) -> Idle:
        """Do passes until nothing is due. A lane that finds nothing costs queries: one service alone needs no lanes.

        A wake that nobody told of is due at once (`schedule.soonest`), so that the next round gathers it.
        """
        await gather(self._db)
        for _ in range(2):
            if (idle := await self._pass()) is not None:
                return idle
        try:
            # In a task of its own: a group that fails leaves a cancellation counted on its task (Python before 3.13),
            # and with one counted the next `asyncio.timeout` ends that task (before 3.11.3; Debian 12 has 3.11.2).
            ends = await asyncio.create_task(self._all_lanes())
        except ExceptionGroup as failed:
            # Of several lanes the one that says most: a defect before a database that is away.
            _, others = failed.split(DatabaseAway)
            raise (others or failed).exceptions[0] from failed
        # Where something is due sooner than the last one saw: it may have looked before another's pass was written.
        later = [each for each in ends if each.seconds is not None and each.seconds > 0]
        return min(later, key=lambda each: each.seconds or 0.0) if later else ends[-1]

    async def _all_lanes(self) -> list[Idle]:
        ends = list[Idle]()
        async with asyncio.TaskGroup() as lanes:
            for _ in range(self._lanes):
                lanes.create_task(self._lane(ends))
        return ends

    async def _lane(self, ends: list[Idle]) -> None:
        """What an earlier lane found due was what others were still at."""
        while (idle := await self._pass()) is None:
            pass
        ends.append(idle)

    async def _pass(self) -> Idle | None:
        """One pass. What was woken meanwhile takes its place in the queue first, so that it need not wait for an end
        of what is due."""
        if self._wakeups.service.is_set():
            self._wakeups.service.clear()
            await gather(self._db)
        return await one_pass(self._db, self._installation, self._policy)


def _until(idle: Idle) -> float:
    return TICK_SECONDS if idle.seconds is None else min(max(idle.seconds, 0.01), TICK_SECONDS)
