"""This process among the installation's control planes: where agents reach it, and where the others are."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from app.fleet.calls import ControlPlane
from orchestrator.store import fleet
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("fleet")
HERE_SECONDS = 2.0
GONE_SECONDS = 10.0


async def keep(shared: ControlPlane, db: Database, agent_url: str) -> None:
    """Say that this process is there until cancelled; then that it is not."""
    shared.dialbacks.url = agent_url
    try:
        while True:
            try:
                async with db.transaction() as conn:
                    shared.urls = tuple(await fleet.control_plane_up(conn, shared.ident, agent_url, GONE_SECONDS))
            except DatabaseAway as error:
                log.debug("database away", reason=str(error))
            await asyncio.sleep(HERE_SECONDS)
    finally:
        with contextlib.suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(2), db.transaction() as conn:
                await fleet.control_plane_down(conn, shared.ident)
