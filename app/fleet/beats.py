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

from app.fleet.waiting import Waiting
from domain.assignment import Beat, SessionLost
from orchestrator import dispatch
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.fleet import BeatOutcome
from orchestrator.sweeps import boundary

log = structlog.get_logger("beats")
REST_SECONDS = 0.4
"""Between two statements; what comes meanwhile is written together."""

PATIENCE = 3
"""So many times a node that somebody has is left out; then its beat takes its place in the queue for it."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Heard(Waiting):
    session: int
    engine_up: bool


class Beats:
    """The beats of this process's agents. `run` writes them."""

    def __init__(self, database: Callable[[], Database | None]) -> None:
        self._database = database
        self._heard: dict[UUID, _Heard] = {}
        self._here: dict[object, UUID] = {}
        self._any = asyncio.Event()

    async def beat(self, beat: Beat) -> None:
        """Returns when it is on record that the node is there. Raises SessionLost, ConnectionError."""
        before = self._heard.get(beat.node_id)
        if before is not None and before.session > beat.session:
            raise SessionLost(f"session {beat.session} was followed by {before.session}")
        if before is None or before.session < beat.session:
            if before is not None:
                before.fail(SessionLost(f"session {before.session} was followed by {beat.session}"))
            self._heard[beat.node_id] = before = _Heard(session=beat.session, engine_up=beat.engine_up)
        before.engine_up = beat.engine_up
        self._any.set()
        await asyncio.shield(before.written)

    @contextlib.contextmanager
    def here(self, node_id: UUID) -> Iterator[None]:
        """The node's host has proven who it is and waits for its session: until then that is as good as its beats, so
        that of many that come at once none is taken for lost. A lease is only in a session.
        """
        key = object()  # it may wait on two connections
        self._here[key] = node_id
        self._any.set()
        try:
            yield
        finally:
            del self._here[key]

    async def run(self) -> None:
        """Write what is heard until cancelled."""
        while True:
            await self._any.wait()
            self._any.clear()
            heard, self._heard = self._heard, {}
            late = {key: each for key, each in heard.items() if each.tries >= PATIENCE}
            await self._write({key: each for key, each in heard.items() if key not in late})
            await self._write(late, wait=True)
            await self._say_who_is_here()
            await asyncio.sleep(REST_SECONDS)

    async def _write(self, heard: dict[UUID, _Heard], *, wait: bool = False) -> None:
        """Put them on record. What goes wrong is told to those that it happened to: agents beat again."""
        if not heard:
            return
        try:
            outcome = await self._written(heard, wait=wait)
        except DatabaseAway as error:
            for node_id, each in heard.items():
                if wait:
                    each.tries = 0  # the next try tells whether it is the database or somebody who has the node
                    self._again(node_id, each)
                else:
                    each.fail(ConnectionError(str(error)))
            return
        except Exception as error:
            # The boundary of the loop.
            log.exception("beats were not written")
            for each in heard.values():
                each.fail(ConnectionError(type(error).__name__))
            return
        for node_id, each in heard.items():
            if node_id in outcome.over:
                each.fail(SessionLost(f"session {each.session} is over"))
            elif node_id in outcome.states:
                each.done()
            else:
                each.tries += 1
                self._again(node_id, each)

    async def _written(self, heard: dict[UUID, _Heard], *, wait: bool) -> BeatOutcome:
        db = self._database()
        if db is None:
            raise DatabaseAway("the database is not up yet")
        beats = {key: (each.session, each.engine_up) for key, each in heard.items()}
        return await dispatch.heard(db, beats, wait=wait)

    def _again(self, node_id: UUID, each: _Heard) -> None:
        if self._heard.setdefault(node_id, each) is not each:
            each.fail(ConnectionError("a newer beat is being written"))
        self._any.set()

    async def _say_who_is_here(self) -> None:
        db = self._database()
        if not self._here or db is None:
            return
        self._any.set()
        with boundary("hosts that wait"):
            await dispatch.here(db, list(self._here.values()))
