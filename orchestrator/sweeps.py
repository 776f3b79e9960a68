"""What time alone brings: silent nodes, old rows. Single idempotent statements; any process may run them."""

from __future__ import annotations

import asyncio

import structlog

from orchestrator.store import actions, containers, drains, events, nodes, services, stacks, wake
from orchestrator.store.db import Database, now
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("sweeps")
SWEEP_SECONDS = 5.0
SILENT_SECONDS = 15.0
PURGE_EVERY = 60
KEEP_HOURS = 24
DRAIN_MINUTES = 10
KEEP_ACTION_DAYS = 90


async def sweep(db: Database) -> None:
    """Run for ever."""
    turn = 0
    while True:
        try:
            async with db.transaction() as conn:
                for node_id in await nodes.expire(conn, SILENT_SECONDS):
                    log.warning("node is unreachable", node=str(node_id), silent_for=SILENT_SECONDS)
                    await wake.waiting_services(conn)
                    await wake.services(conn, await nodes.services_on(conn, node_id))
                await drains.give_up(conn, DRAIN_MINUTES, await now(conn))
                if turn % PURGE_EVERY == 0:
                    await containers.purge_terminated(conn, KEEP_HOURS)
                    await services.purge_destroyed(conn, KEEP_HOURS)
                    await stacks.purge_terminated(conn, KEEP_HOURS)
                    await nodes.purge_terminated(conn, KEEP_HOURS)
                    await events.purge(conn)
                    await actions.purge(conn, KEEP_ACTION_DAYS)
        except DatabaseAway as error:
            log.warning("database away", reason=str(error))
        turn += 1
        await asyncio.sleep(SWEEP_SECONDS)
