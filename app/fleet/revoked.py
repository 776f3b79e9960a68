"""Connections of nodes that are taken out end."""

from __future__ import annotations

from uuid import UUID

import structlog
from websockets.asyncio.server import ServerConnection

from agents import frames
from app.fleet.calls import ControlPlane
from orchestrator import dispatch
from orchestrator.store import fleet
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("door")


async def watch(db: Database, shared: ControlPlane, node_id: UUID, socket: ServerConnection) -> None:
    """End the connection of a node that is taken out (S8)."""
    with shared.wakeups.revoked(str(node_id)) as event:
        while True:
            try:
                async with db.read() as conn:
                    gone = await fleet.terminated(conn, node_id)
            except DatabaseAway as error:
                # Unknown is not revoked; the beats ask again.
                log.debug("cannot look whether a node was taken out", reason=str(error))
                gone = False
            except Exception:
                # The boundary of the loop: a defect must not leave the node unwatched.
                log.exception("cannot look whether a node was taken out")
                gone = False
            if gone:
                log.warning("a node that was taken out is cut off", node_id=str(node_id))
                await socket.close(frames.REVOKED_CODE, dispatch.TAKEN_OUT_SHORT)
                return
            await event.wait()
            event.clear()
