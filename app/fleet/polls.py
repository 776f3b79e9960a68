"""What the agents of this process were told last, so that a host with nothing new costs the database nothing.

News is heard by notification, also between two calls of an agent. Since notifications may be lost, one statement for
all agents together finds who has news every LOOK_SECONDS, and at once when the listener connects anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from domain.assignment import NodeAssignments
from orchestrator import dispatch
from orchestrator.listener import Wakeups
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("polls")
LOOK_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Told:
    """What the agent of one session was told last. `news` is set when there may be more."""

    node_id: UUID
    session: int
    news: asyncio.Event
    last: NodeAssignments | None = None
    """The last answer without what is said once; None: it is not known what the agent has."""

    restless: bool = False
    """Something was asked that may change without being said: to be read anew, and not to be told from memory."""

    def begin(self) -> None:
        """The record is about to be read: what changes from now on is news."""
        self.news.clear()
        self.last = None

    def took(self, answer: NodeAssignments) -> None:
        """This is the answer."""
        self.restless = bool(answer.images) or (answer.swarm is not None and not answer.swarm.quiet)
        base = max(answer.revision, 1)  # nothing that a ledger takes in, and no full set
        self.last = replace(answer, base=base, containers=(), images=(), copies=())

    def knows(self, since: int) -> bool:
        """Whether who asks for what came after `since` has what was told last."""
        return self.last is not None and self.last.revision == since


class Polls:
    """The open sessions of this process. `run` looks for lost news."""

    def __init__(self, wakeups: Wakeups, database: Callable[[], Database | None]) -> None:
        self._wakeups = wakeups
        self._database = database
        self._open: dict[Told, None] = {}  # in the order in which they began, whoever is woken first

    @contextlib.contextmanager
    def session(self, node_id: UUID, session: int) -> Iterator[Told]:
        """A session that was just begun, until it is over."""
        with self._wakeups.node(str(node_id)) as news:
            told = Told(node_id, session, news)
            self._open[told] = None
            try:
                yield told
            finally:
                del self._open[told]

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wakeups.missed.wait()
            self._wakeups.missed.clear()
            try:
                await self.look()
            except DatabaseAway as error:
                log.debug("cannot look for news", reason=str(error))
            except Exception:
                # The boundary of the loop: a defect must not leave all agents without news.
                log.exception("cannot look for news")

    async def look(self) -> None:
        """Wake those who have news. Raises DatabaseAway."""
        db = self._database()
        waiting = [(each, each.last) for each in self._open if each.last is not None and not each.news.is_set()]
        if db is None or not waiting:
            return
        found = await dispatch.news(db, [last for _, last in waiting], [each.node_id for each, _ in waiting])
        for place in found:
            waiting[place][0].news.set()
