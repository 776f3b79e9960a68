"""What agents report: written for all agents of this process together, one transaction after the other.

What comes while one is under way is written by the next, so that hosts take one connection of the pool however many
they are, and a report that comes alone is written at once (decision 26).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from app.fleet.waiting import Waiting
from domain.assignment import NodeReport, SessionLost
from orchestrator.reporting import record
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

MOST_CONTAINERS = 1000
"""In one transaction: beyond it the next one takes the rest."""

AGAIN_SECONDS = 0.02
"""Until those are tried again whose nodes a pass has: it has them while it writes."""

PATIENCE = 4
"""So many times; then it takes its place in the queue for them: where passes follow each other, no moment is free."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Said(Waiting):
    report: NodeReport


class Reports:
    """The reports of this process's agents. `run` writes them."""

    def __init__(self, database: Callable[[], Database | None]) -> None:
        self._database = database
        self._waiting: list[_Said] = []
        self._any = asyncio.Event()

    async def report(self, report: NodeReport) -> None:
        """Returns when it is durable. Raises SessionLost, DatabaseAway."""
        if self._database() is None:
            raise DatabaseAway("the database is not up yet")
        said = _Said(report=report)
        self._waiting.append(said)
        self._any.set()
        await said.written

    async def run(self) -> None:
        """Write what is said until cancelled."""
        while True:
            await self._any.wait()
            batch = self._taken()
            late = [each for each in batch if each.tries >= PATIENCE]
            busy = await self._write([each for each in batch if each.tries < PATIENCE])
            busy += await self._write(late, wait=True)
            self._waiting[:0] = busy
            if not self._waiting:
                self._any.clear()
            elif len(busy) == len(batch):
                await asyncio.sleep(AGAIN_SECONDS)

    def _taken(self) -> list[_Said]:
        """The next ones, in their order: one of each node, since the one after it counts on it."""
        taken: dict[UUID, _Said] = {}
        rest: list[_Said] = []
        containers = 0
        for each in self._waiting:
            if each.written.done():  # whoever said it is gone
                continue
            containers += len(each.report.containers)
            if each.report.node_id in taken or (taken and containers > MOST_CONTAINERS):
                rest.append(each)
            else:
                taken[each.report.node_id] = each
        self._waiting = rest
        return list(taken.values())

    async def _write(self, batch: list[_Said], *, wait: bool = False) -> list[_Said]:
        """Put them on record, and say so to those who wait; returns those that are to be tried again."""
        db = self._database()
        if not batch:
            return []
        try:
            if db is None:
                raise DatabaseAway("the database is not up yet")
            outcome = await record(db, [each.report for each in batch], wait=wait)
        except Exception as error:
            if wait and isinstance(error, DatabaseAway):
                for each in batch:
                    each.tries = 0  # the next try tells whether it is the database or somebody who has the node
                return batch
            if len(batch) > 1 and not isinstance(error, DatabaseAway):
                # One of them cannot be written: the others are not to pay for it.
                return [again for each in batch for again in await self._write([each])]
            for each in batch:
                each.fail(error)
            return []
        busy = []
        for each in batch:
            if each.report.node_id in outcome.busy:
                each.tries += 1
                busy.append(each)
            elif each.report.node_id in outcome.over:
                each.fail(SessionLost(f"session {each.report.session} is over"))
            else:
                each.done()
        return busy
