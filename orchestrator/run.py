"""The orchestrator role: listener, workers and sweeps in one task group."""

from __future__ import annotations

import asyncio

from orchestrator.listener import Wakeups, listen
from orchestrator.planning.view import Installation, Policy
from orchestrator.store.db import Database
from orchestrator.sweeps import sweep
from orchestrator.worker import Worker


async def orchestrate(db: Database, wakeups: Wakeups, installation: Installation, policy: Policy) -> None:
    """Run until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Worker(db, wakeups, installation, policy).run())
        tasks.create_task(sweep(db, installation))


__all__ = ["Wakeups", "listen", "orchestrate"]
