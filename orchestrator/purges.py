"""Rows that nobody asks for any more are deleted, each kind by itself: what holds one up is nothing to the others.

Single idempotent statements of a bounded size; any process may run them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.store import (
    actions,
    answers,
    audit,
    containers,
    events,
    fleet,
    mounts,
    nodes,
    services,
    stacks,
    users,
)
from orchestrator.store.db import Connection, Database
from orchestrator.sweeps import boundary

PURGE_SECONDS = 300.0
REST_SECONDS = 0.05
"""Between two statements of one kind, so that others get their turn however much there is to delete."""

KEEP_HOURS = 24
KEEP_ACTION_DAYS = 90
KEEP_AUDIT_DAYS = 90

Purge = Callable[[Connection, int], Awaitable[int]]
"""Deletes no more rows than the limit; returns how many."""

KINDS: tuple[tuple[str, Purge, int], ...] = (
    ("containers", lambda conn, most: containers.purge_terminated(conn, KEEP_HOURS, most), 200),
    ("volumes", lambda conn, most: mounts.purge_terminated(conn, KEEP_HOURS, most), 500),
    ("services", lambda conn, most: services.purge_destroyed(conn, KEEP_HOURS, most), 20),
    ("stacks", lambda conn, most: stacks.purge_terminated(conn, KEEP_HOURS, most), 50),
    ("nodes", lambda conn, most: nodes.purge_terminated(conn, KEEP_HOURS, most), 50),
    ("events", lambda conn, most: events.purge(conn, limit=most), 5000),
    ("actions", lambda conn, most: actions.purge(conn, KEEP_ACTION_DAYS, most), 500),
    ("audit", lambda conn, most: audit.purge(conn, KEEP_AUDIT_DAYS, most), 5000),
    ("users", users.purge_deleted, 50),
    ("keys", users.purge_keys, 500),
    ("tokens", fleet.purge_tokens, 500),
    ("answers", lambda conn, most: answers.purge(conn, limit=most), 5000),
)
"""Each kind with the limit of one transaction. Those that others point at come after them."""


async def purge(db: Database) -> None:
    """Run for ever."""
    while True:
        await purge_once(db)
        await asyncio.sleep(PURGE_SECONDS)


async def purge_once(db: Database) -> None:
    """Delete all that is over, in one transaction after the other. What fails is logged and left for the next time."""
    for name, delete, most in KINDS:
        with boundary(f"purge of {name}"):
            while True:
                async with db.transaction() as conn:
                    deleted = await delete(conn, most)
                if deleted < most:
                    break
                await asyncio.sleep(REST_SECONDS)
