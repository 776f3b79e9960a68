"""The orchestrator role: workers, sweeps and purges in one task group."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from orchestrator.listener import Wakeups, listen
from orchestrator.planning.view import Installation, Policy
from orchestrator.purges import purge
from orchestrator.store.db import Database
from orchestrator.sweeps import begin, sweep
from orchestrator.worker import Worker


async def orchestrate(db: Database, wakeups: Wakeups, installation: Installation, policy: Policy) -> None:
    """Run until cancelled."""
    await begin(db)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(unending("worker", Worker(db, wakeups, installation, policy).run()))
        tasks.create_task(unending("sweeps", sweep(db, installation)))
        tasks.create_task(unending("purges", purge(db)))


async def unending(name: str, loop: Coroutine[Any, Any, None]) -> None:
    """Run a loop that has no end, until cancelled. Raises what it raises, and RuntimeError should it end by itself.

    A TaskGroup says nothing of a task that returned or that was cancelled from within, as every one of them was once
    by a defect of Python's (before 3.11.3): the process would live on and do nothing.
    """
    task = asyncio.create_task(loop, name=name)
    try:
        await asyncio.wait({task})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()
    raise RuntimeError(f"{name} ended by itself")


__all__ = ["Wakeups", "listen", "orchestrate", "unending"]
