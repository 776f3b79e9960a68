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
        """Do passes until nothing is due, several at once when there is more than one; returns for how long none is.

        A wake that nobody told of is due at once (`schedule.soonest`), so that the next round gathers it.
        """
        await gather(self._db)
        if (idle := await self._pass()) is not None:
            return idle
        try:
            # In a task of its own: a group that fails leaves a cancellation counted on its task (Python before 3.13),
            # and with one counted the next `asyncio.timeout` ends that task (before 3.11.3; Debian 12 has 3.11.2).
            ends = await asyncio.create_task(self._lanes_full())
        except ExceptionGroup as failed:
            # Of several lanes the one that says most: a defect before a database that is away.
            _, others = failed.split(DatabaseAway)
            raise (others or failed).exceptions[0] from failed
        # Where something is due sooner than the last one saw: it may have looked before another's pass was written.
        later = [each for each in ends if each.seconds is not None and each.seconds > 0]
        return min(later, key=lambda each: each.seconds or 0.0) if later else ends[-1]

    async def _lanes_full(self) -> list[Idle]:
        """One pass more after each that was due, and after each notification: what is said while a large service has
        its pass waits for none of that. A pass that finds nothing costs queries: one service alone has no second lane.
        """
        ends, said, unseen = list[Idle](), self._wakeups.service, False
        async with asyncio.TaskGroup() as lanes:
            hearing = lanes.create_task(said.wait())
            under_way = [lanes.create_task(self._pass())]
            while under_way:
                await asyncio.wait({hearing, *under_way}, return_when=asyncio.FIRST_COMPLETED)
                over = [each for each in under_way if each.done()]
                under_way = [each for each in under_way if not each.done()]
                found = [idle for each in over if (idle := each.result()) is not None]
                ends += found
                if said.is_set() and under_way:
                    said.clear()
                    await gather(self._db)
                    unseen = True
                if hearing.done():
                    hearing = lanes.create_task(said.wait())
                # Those under way may have looked before it was said: the next one that begins sees it.
                more = min(2 * (len(over) - len(found)) + unseen, self._lanes - len(under_way))
                unseen = unseen and not more
                under_way += [lanes.create_task(self._pass()) for _ in range(more)]
            hearing.cancel()
        return ends

    async def _pass(self) -> Idle | None:
        return await one_pass(self._db, self._installation, self._policy)


def _until(idle: Idle) -> float:
    return TICK_SECONDS if idle.seconds is None else min(max(idle.seconds, 0.01), TICK_SECONDS)
