"""Passes one by one, for tests that do not keep to a worker's rounds."""

from __future__ import annotations

import asyncio

from orchestrator.planning.view import Installation, Policy
from orchestrator.reconciler import gather, one_pass
from orchestrator.store.db import Database
from orchestrator.store.wake import LONGEST


async def reconcile_due(db: Database, installation: Installation, policy: Policy) -> bool:
    """Do one pass; returns whether something was due. When nothing is, wakes are gathered first, and those of large
    services are waited for, which lie a moment ahead (`wake.seen`)."""
    idle = await one_pass(db, installation, policy)
    if idle is not None and await gather(db) > 0:
        idle = await one_pass(db, installation, policy)
    if idle is not None and idle.seconds is not None and 0 < idle.seconds <= LONGEST / 1000:
        await asyncio.sleep(idle.seconds)
        idle = await one_pass(db, installation, policy)
    return idle is None
