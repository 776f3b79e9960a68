"""The one reader of `events` in this process, and everybody who wants to hear of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import UUID

import structlog

from app.wire.streams import event_frame
from orchestrator.metrics import EVENTS
from orchestrator.store import events
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.events import Event, Position

log = structlog.get_logger("streams")
PAGE = 500
TICK_SECONDS = 30.0
"""The longest sleep: covers a lost NOTIFY."""
SOON_SECONDS = 0.03
"""While a transaction under way holds back what came after it began."""
LONGEST_SOON = 0.5
RETRY_SECONDS = 1.0
MOST_BACKLOG = 1000

Hear = Callable[[Event, str], None]


class EventHub:
    """Reads while somebody listens. A frame is made once for all connections.

    `wake` is set when there may be new rows; the hub is the only one that waits for it.
    """

    def __init__(self, db: Database, wake: asyncio.Event) -> None:
        self._db = db
        self._wake = wake
        self._hearers: set[Hear] = set()
        self._position: Position | None = None
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def heard_by(self, hear: Hear) -> AsyncIterator[Position]:
        """Call `hear` for every event after the position given. Raises DatabaseAway when there is none yet."""
        async with self._starting:
            if self._position is None:
                async with self._db.read() as conn:
                    self._position = events.at_edge((await events.edge(conn))[0])
                self._task = asyncio.create_task(self._run(), name="event hub")
            self._hearers.add(hear)
        try:
            yield self._position
        finally:
            self._hearers.discard(hear)
            if not self._hearers and self._task is not None:
                self._task.cancel()
                self._task = self._position = None

    @contextlib.asynccontextmanager
    async def changes(self, account_id: UUID, resource_uri: str) -> AsyncIterator[asyncio.Event]:
        """A flag that is set when something happens to the object or to what belongs to it. A hint to look."""
        changed = asyncio.Event()

        def hear(event: Event, _frame: str) -> None:
            if event.account_id == account_id and (resource_uri == event.resource_uri or resource_uri in event.parents):
                changed.set()

        async with self.heard_by(hear):
            yield changed

    async def _run(self) -> None:
        soon = SOON_SECONDS
        while True:
            self._wake.clear()
            try:
                wait = TICK_SECONDS
                if await self._look():
                    wait, soon = soon, min(soon * 2, LONGEST_SOON)
                else:
                    soon = SOON_SECONDS
            except DatabaseAway as error:
                log.warning("database away", reason=str(error), retry_in=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except Exception:
                # The boundary of the loop: a defect must not end every event stream for good.
                log.exception("reading events failed")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _look(self) -> bool:
        """Tell what is new; whether there is more that has to wait for an older transaction."""
        assert self._position is not None  # noqa: S101 - set before the task is made
        async with self._db.read() as conn:
            edge, younger = await events.edge(conn)
            if self._position.until == self._position.since:
                self._position = Position(self._position.since, edge, 0)
            while True:
                found = await events.window(conn, self._position, PAGE)
                EVENTS.add(n=len(found))
                for event in found:
                    self._position = replace(self._position, id=event.id)
                    frame = event_frame(event, str(self._position))
                    for hear in tuple(self._hearers):
                        hear(event, frame)
                if len(found) < PAGE:
                    break
                await asyncio.sleep(0)
        # A window that a failure had left open is closed; what came since is in the next.
        unseen = self._position.until < edge
        self._position = events.at_edge(self._position.until)
        return younger or unseen


class Backlog:
    """What one connection has still to send. One that falls behind too far is given up, and forgotten at once."""

    def __init__(self, account_id: UUID) -> None:
        self._account_id = account_id
        self._waiting: deque[tuple[Event, str]] = deque()
        self._news = asyncio.Event()
        self.overflow = asyncio.Event()

    def hear(self, event: Event, frame: str) -> None:
        """Take an event if it concerns the account."""
        if self.overflow.is_set() or event.account_id not in {None, self._account_id}:
            return
        if len(self._waiting) >= MOST_BACKLOG:
            self._waiting.clear()
            self.overflow.set()
            return
        self._waiting.append((event, frame))
        self._news.set()

    async def next(self) -> tuple[Event, str]:
        """The oldest that waits."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()
