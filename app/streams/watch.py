"""Whether those who have streams open may still have them: one look at all of them every two seconds (S8)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

import structlog

from app.api.security import who_counts
from domain.access import Right, refusal
from orchestrator.store import accounts
from orchestrator.store.accounts import Principal
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("streams")
LOOK_SECONDS = 2.0


class Watch:
    """Looks while there is somebody to look after; the cost is that of one statement, however many they are."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._watched: dict[asyncio.Event, tuple[Principal, Right]] = {}
        self._task: asyncio.Task[None] | None = None

    def count(self) -> int:
        """How many streams are open."""
        return len(self._watched)

    def open_by(self, caller: UUID) -> int:
        """How many streams the key, container or user has open here."""
        return sum(who_counts(principal) == caller for principal, _ in self._watched.values())

    @contextlib.asynccontextmanager
    async def over(self, principal: Principal, right: Right) -> AsyncIterator[asyncio.Event]:
        """A flag that is set when the caller has the right no more."""
        lost = asyncio.Event()
        self._watched[lost] = (principal, right)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="rights of streams")
        try:
            yield lost
        finally:
            del self._watched[lost]
            if not self._watched and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except DatabaseAway as error:
                # Unknown is not revoked; requests are refused meanwhile.
                log.warning("database away", reason=str(error))
            except Exception:
                # The boundary of the loop: a defect must not leave the streams unwatched.
                log.exception("the rights of open streams were not looked at")

    async def _look(self) -> None:
        watched = dict(self._watched)
        async with self._db.read() as conn:
            present = await accounts.still(conn, {principal for principal, _ in watched.values()})
        for lost, (principal, right) in watched.items():
            now = present.get(principal)
            if now is None or refusal(now.role, now.via, right) is not None:
                lost.set()
