"""Passes one by one, for tests that do not keep to a worker's rounds."""

from __future__ import annotations

from orchestrator.planning.view import Installation, Policy
from orchestrator.reconciler import gather, one_pass
from orchestrator.store.db import Database


async def reconcile_due(db: Database, installation: Installation, policy: Policy) -> bool:
    """Do one pass; returns whether something was due. When nothing is, wakes are gathered first."""
    idle = await one_pass(db, installation, policy)
    if idle is not None and await gather(db) > 0:
        idle = await one_pass(db, installation, policy)
    return idle is None
