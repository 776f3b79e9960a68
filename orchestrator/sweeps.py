"""What time alone brings: silent nodes, drains without end. Single idempotent statements; any process may run them.

Old rows are the work of `orchestrator.purges`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog

from orchestrator import dispatch, swarming
from orchestrator.planning.view import Installation
from orchestrator.store import drains, health
from orchestrator.store.db import Database, now
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("sweeps")
SWEEP_SECONDS = 0.5
GRACE_SECONDS = 5.0
"""After a time without sweeps agents may have had nobody to tell that they are there."""

LATE_SECONDS = 2.0
ABANDONED_SECONDS = 5.0
"""A pass takes milliseconds between two statements; who needs longer is stopped, and would hold up the others."""

ABANDONED_EVERY = 2
SWARM_EVERY = 4
SWARM_ANYWAY_EVERY = 120
GIVE_UP_EVERY = 10
DRAIN_MINUTES = 10


class Patience:
    """Whether silence of nodes means anything: not just after nobody could listen.

    Each sweep says when it is, by the database's clock: that of the machine may have been stopped with us.
    """

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._until: datetime | None = None

    def over(self, at: datetime) -> bool:
        """Whether agents had their time to come back by now."""
        if self._last is None or at - self._last > timedelta(seconds=LATE_SECONDS):
            self._until = at + timedelta(seconds=GRACE_SECONDS)
        self._last = at
        return self._until is None or at >= self._until


@contextlib.contextmanager
def boundary(job: str) -> Iterator[None]:
    """What a job raises is logged and not raised: it is tried again at its time, and the others go on."""
    try:
        yield
    except DatabaseAway as error:
        log.warning("database away", job=job, reason=str(error))
    except Exception:
        log.exception("a job failed", job=job)


async def begin(db: Database) -> None:
    """Before anything is decided: where nobody was there to listen, no host is lost for having been silent."""
    while True:
        with boundary("silent nodes"):
            await dispatch.expire(db, patient=True)
            return
        await asyncio.sleep(SWEEP_SECONDS)


async def sweep(db: Database, installation: Installation | None = None) -> None:
    """Run for ever. With an `installation`, its swarm is looked after."""
    turn, patience, resting = 0, Patience(), False
    soonest: datetime | None = None
    while True:
        if turn % ABANDONED_EVERY == 0:
            # First: the rest of this waits for what they have locked.
            with boundary("abandoned transactions"):
                await _end_abandoned(db)
        at: datetime | None = None
        with boundary("clock"):
            async with db.read() as conn:
                at = await now(conn)
        heard = at is not None and patience.over(at)
        if at is not None and (soonest is None or at >= soonest):
            with boundary("silent nodes"):
                soonest = await dispatch.expire(db, patient=not heard)
        if heard and installation is not None and turn % SWARM_EVERY == 0:
            resting = resting and turn % SWARM_ANYWAY_EVERY != 0
            with boundary("swarm"):
                resting = await swarming.look(db, installation, resting=resting)
        if at is not None and turn % GIVE_UP_EVERY == 0:
            with boundary("drains"):
                async with db.transaction() as conn:
                    await drains.give_up(conn, DRAIN_MINUTES, at)
        turn += 1
        await asyncio.sleep(SWEEP_SECONDS)


async def _end_abandoned(db: Database) -> None:
    async with db.read() as conn:
        ended = await health.end_abandoned(conn, ABANDONED_SECONDS)
    if ended:
        log.warning("transactions of a process that hangs were ended", transactions=ended)
