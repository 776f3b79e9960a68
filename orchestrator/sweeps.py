"""What time alone brings: silent nodes, old rows. Single idempotent statements; any process may run them."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import structlog

from orchestrator import dispatch, swarming
from orchestrator.planning.view import Installation
from orchestrator.store import (
    actions,
    answers,
    audit,
    containers,
    drains,
    events,
    fleet,
    health,
    nodes,
    services,
    stacks,
    users,
)
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
PURGE_EVERY = 600
KEEP_HOURS = 24
DRAIN_MINUTES = 10
KEEP_ACTION_DAYS = 90
KEEP_AUDIT_DAYS = 90


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


async def sweep(db: Database, installation: Installation | None = None) -> None:
    """Run for ever. With an `installation`, its swarm is looked after."""
    turn, patience, resting = 0, Patience(), False
    soonest: datetime | None = None
    while True:
        try:
            async with db.read() as conn:
                # First: the rest of this waits for what they have locked.
                if turn % ABANDONED_EVERY == 0 and (ended := await health.end_abandoned(conn, ABANDONED_SECONDS)):
                    log.warning("transactions of a process that hangs were ended", transactions=ended)
                at = await now(conn)
            if patience.over(at):
                if soonest is None or at >= soonest:
                    soonest = await dispatch.expire(db)
                if installation is not None and turn % SWARM_EVERY == 0:
                    resting = resting and turn % SWARM_ANYWAY_EVERY != 0
                    resting = await swarming.look(db, installation, resting=resting)
            if turn % GIVE_UP_EVERY == 0:
                async with db.transaction() as conn:
                    await drains.give_up(conn, DRAIN_MINUTES, await now(conn))
            if turn % PURGE_EVERY == 0:
                async with db.transaction() as conn:
                    await containers.purge_terminated(conn, KEEP_HOURS)
                    await services.purge_destroyed(conn, KEEP_HOURS)
                    await stacks.purge_terminated(conn, KEEP_HOURS)
                    await nodes.purge_terminated(conn, KEEP_HOURS)
                    await events.purge(conn)
                    await actions.purge(conn, KEEP_ACTION_DAYS)
                    await audit.purge(conn, KEEP_AUDIT_DAYS)
                    await users.purge_deleted(conn)
                    await fleet.purge_tokens(conn)
                    await answers.purge(conn)
        except DatabaseAway as error:
            log.warning("database away", reason=str(error))
        turn += 1
        await asyncio.sleep(SWEEP_SECONDS)
