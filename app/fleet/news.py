"""What agents ask for that have something new: read for all of them together, one transaction after the other.

A service of a hundred containers is news for a hundred hosts in the same moment. Read for each, the last of them waited
for a hundred transactions (decision 30). One that asks alone is answered at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from domain.assignment import NodeAssignments
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.telling import Asked, Means, tell

MOST_NODES, MOST_FULL = 64, 8
"""In one transaction, of changes and of full sets: what is read is decoded in one turn of the loop, and beats are not
to wait for that."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Asking:
    asked: Asked
    answer: asyncio.Future[NodeAssignments] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def done(self, answer: NodeAssignments | Exception) -> None:
        """Whoever asked may be gone."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
            self.answer.exception()
        else:
            self.answer.set_result(answer)


class News:
    """What this process's agents ask for. `run` reads it."""

    def __init__(
        self, database: Callable[[], Database | None], means: Callable[[], Means], *, most: int = MOST_NODES
    ) -> None:
        """`most`: nodes in one transaction."""
        self._database = database
        self._means = means
        self._most = most
        self._waiting: list[_Asking] = []
        self._any = asyncio.Event()

    async def read(self, asked: Asked) -> NodeAssignments:
        """What the agent is told. Raises SessionLost, NotAllowed, NotFound, DatabaseAway."""
        asking = _Asking(asked=asked)
        self._waiting.append(asking)
        self._any.set()
        return await asking.answer

    async def run(self) -> None:
        """Read what is asked for until cancelled."""
        while True:
            await self._any.wait()
            await self._answer(self._taken())
            if not self._waiting:
                self._any.clear()

    def _taken(self) -> list[_Asking]:
        """The next ones, in their order: one of each node."""
        taken: dict[UUID, _Asking] = {}
        rest: list[_Asking] = []
        for each in self._waiting:
            if each.answer.done():  # whoever asked is gone
                continue
            if each.asked.node_id in taken or len(taken) == self._most:
                rest.append(each)
            else:
                taken[each.asked.node_id] = each
        self._waiting = rest
        return list(taken.values())

    async def _answer(self, batch: list[_Asking]) -> None:
        db = self._database()
        if not batch:
            return
        try:
            if db is None:
                raise DatabaseAway("the database is not up yet")
            found = await tell(db, [each.asked for each in batch], self._means())
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, DatabaseAway):
                # What is wanted of one of them cannot be read: the others are not to pay for it.
                for each in batch:
                    await self._answer([each])
                return
            for each in batch:
                each.done(error)
            return
        for each, answer in zip(batch, found, strict=True):
            each.done(answer)
