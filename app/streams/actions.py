"""WS /v1/action/<uuid>/logs/ (spec 4.2, 4.13): what is being done for an action, until it has ended."""

from __future__ import annotations

import asyncio
import contextlib

from app.api.logs import MOST_TAIL
from app.streams.hub import EventHub
from app.streams.options import ident, read_options
from app.streams.peer import Peer
from app.wire.scalars import uri
from app.wire.streams import action_frame
from orchestrator.store import actions, events
from orchestrator.store.accounts import Account
from orchestrator.store.db import Database

POLL_SECONDS = 1.0
"""Lines come without an event; only the action's end has one."""


async def action_logs(peer: Peer, account: Account) -> None:
    """The lines of an action. Raises NotFound, Invalid."""
    options, action_id = read_options(peer), ident(peer, "action")
    db: Database = peer.socket.app.state.db
    hub: EventHub = peer.socket.app.state.hub
    settled, told, most = 0, set[int](), options.tail
    async with hub.changes(account.id, uri("action", action_id)) as changed:
        while True:
            changed.clear()
            async with db.read() as conn:
                # First the action: when it has ended, all its lines are there.
                action = await actions.get(conn, account.id, action_id)
                lines = await events.action_lines(conn, action_id, settled, MOST_TAIL)
            fresh = [line for line in lines if line.id not in told]
            await peer.send_all(map(action_frame, fresh[-most:] if most else []))
            if action.end_date is not None or not options.follow:
                return
            most = MOST_TAIL
            settled = max([settled, *(line.id for line in lines if line.settled)])
            told = {line.id for line in lines if line.id > settled}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await changed.wait()
