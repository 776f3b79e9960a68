"""Which agents are there: heard by the process that holds their sessions, written for all of them in one statement.

A beat is answered once it is on record, since agents with `single_writer` containers rely on it (their lease).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import structlog

from domain.assignment import Beat, SessionLost
from orchestrator import dispatch
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("beats")
REST_SECONDS = 0.4
"""Between two statements; what comes meanwhile is written together."""

PATIENCE = 3
"""So many times a node that somebody has is left out; then its beat takes its place in the queue for it."""


@dataclass(slots=True)
class _Heard:
    session: int
    engine_up: bool
    written: asyncio.Future[None]
    tries: int = 0


class Beats:
    """The beats of this process's agents. `run` writes them."""

    def __init__(self, database: Callable[[], Database | None]) -> None:
        self._database = database
        self._heard: dict[UUID, _Heard] = {}
        self._here: list[UUID] = []
        self._any = asyncio.Event()

    async def beat(self, beat: Beat) -> None:
        """Returns when it is on record that the node is there. Raises SessionLost, ConnectionError."""
        before = self._heard.get(beat.node_id)
        if before is not None and before.session > beat.session:
            raise SessionLost(f"session {beat.session} was followed by {before.session}")
        if before is None or before.session < beat.session:
            if before is not None:
                _fail(before, SessionLost(f"session {before.session} was followed by {beat.session}"))
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._heard[beat.node_id] = before = _Heard(beat.session, beat.engine_up, written)
        before.engine_up = beat.engine_up
        self._any.set()
        await asyncio.shield(before.written)

    @contextlib.contextmanager
    def here(self, node_id: UUID) -> Iterator[None]:
        """The node's host has proven who it is and waits for its session: until then that is as good as its beats, so
        that of many that come at once none is taken for lost. A lease is only in a session.
        """
        self._here.append(node_id)
        self._any.set()
        try:
            yield
        finally:
            self._here.remove(node_id)

    async def run(self) -> None:
        """Write what is heard until cancelled."""
        while True:
            await self._any.wait()
            self._any.clear()
            heard, self._heard = self._heard, {}
            late = {key: each for key, each in heard.items() if each.tries >= PATIENCE}
            try:
                await self._write({key: each for key, each in heard.items() if key not in late})
                await self._write(late, wait=True)
                if self._here and (db := self._database()) is not None:
                    self._any.set()
                    await dispatch.here(db, self._here)
            except DatabaseAway as error:
                for each in heard.values():
                    _fail(each, ConnectionError(str(error)))
            except Exception as error:
                # The boundary of the loop: agents beat again.
                log.exception("beats were not written")
                for each in heard.values():
                    _fail(each, ConnectionError(type(error).__name__))
            await asyncio.sleep(REST_SECONDS)

    async def _write(self, heard: dict[UUID, _Heard], *, wait: bool = False) -> None:
        db = self._database()
        if not heard:
            return
        if db is None:
            raise DatabaseAway("the database is not up yet")
        beats = {key: (each.session, each.engine_up) for key, each in heard.items()}
        outcome = await dispatch.heard(db, beats, wait=wait)
        for node_id, each in heard.items():
            if node_id in outcome.over:
                _fail(each, SessionLost(f"session {each.session} is over"))
            elif node_id in outcome.states:
                if not each.written.done():
                    each.written.set_result(None)
            elif self._heard.setdefault(node_id, each) is not each:
                _fail(each, ConnectionError("a newer beat is being written"))
            else:
                each.tries += 1
                self._any.set()


def _fail(heard: _Heard, error: Exception) -> None:
    if not heard.written.done():
        heard.written.set_exception(error)
        heard.written.exception()  # whoever beat may be gone
