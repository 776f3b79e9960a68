"""WS /v1/events/ (spec 4.12), with a cursor of ours to go on after a break.

At least once: who resumes may get an event of the last moment a second time.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from app.streams.hub import PAGE, Backlog, EventHub
from app.streams.peer import GONE, TOO_SLOW, Ended, Peer
from app.wire.streams import auth_frame, event_frame
from domain.errors import Invalid
from orchestrator.store import events
from orchestrator.store.accounts import Account
from orchestrator.store.db import Connection, Database
from orchestrator.store.events import Position


async def event_stream(peer: Peer, account: Account) -> None:
    """Tell the account's events until the client goes. Raises Ended for one that does not keep up, Invalid."""
    hub: EventHub = peer.socket.app.state.hub
    db: Database = peer.socket.app.state.db
    text = peer.query("cursor")
    # What is new meanwhile is not heard yet: it would be held against who has a long replay to read.
    seen = None if text is None else await _catch_up(peer, account, db, text)
    backlog = Backlog(account.id)
    async with hub.heard_by(backlog.hear) as start:
        sending = asyncio.ensure_future(_send(peer, account, db, backlog, start, seen))
        overflow = asyncio.ensure_future(backlog.overflow.wait())
        try:
            await asyncio.wait({sending, overflow}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            raise Ended("too slow: too many events were waiting; go on with ?cursor=", TOO_SLOW)
        finally:
            sending.cancel()
            overflow.cancel()
            await asyncio.gather(sending, overflow, return_exceptions=True)


async def _send(
    peer: Peer, account: Account, db: Database, backlog: Backlog, start: Position, seen: Position | None
) -> None:
    """The live events, which begin at `start`; before them what came after `seen`."""
    told = 0
    if seen is None:
        await peer.send(auth_frame(str(start)))
    else:
        # An edge that is taken now is not below where the live events begin.
        told, _ = await _replay(peer, account, db, seen)
    while True:
        event, frame = await backlog.next()
        if event.xid >= told:
            await peer.send(frame)


async def _catch_up(peer: Peer, account: Account, db: Database, text: str) -> Position:
    """Tell what came after the cursor, until there was less than a page of it since the last time; up to where."""
    seen = events.position(text)
    if seen is None:
        raise Invalid({"cursor": "is not one that an event came with"})
    async with db.read() as conn:
        edge, _ = await events.edge(conn)
        await _kept(conn, seen)
    if seen.until > edge:
        raise Invalid({"cursor": "is of another installation"})
    await peer.send(auth_frame(text))
    while True:
        edge, count = await _replay(peer, account, db, seen)
        seen = events.at_edge(edge)
        if count < PAGE:
            return seen


async def _replay(peer: Peer, account: Account, db: Database, seen: Position) -> tuple[int, int]:
    """Tell what came after the position, up to the present edge; that edge, and how many events there were."""
    async with db.read() as conn:
        edge, _ = await events.edge(conn)
    count = 0
    for window in (seen, Position(seen.until, edge, 0)):
        while True:
            async with db.read() as conn:
                found = await events.window(conn, window, PAGE, account.id)
                await _kept(conn, window)
            for event in found:
                window = replace(window, id=event.id)
                await peer.send(event_frame(event, str(window)))
            count += len(found)
            if len(found) < PAGE:
                break
    return edge, count


async def _kept(conn: Connection, seen: Position) -> None:
    """Raises Ended when something after the position may be gone."""
    if await events.too_old(conn, seen):
        raise Ended(
            f"the cursor is older than the {events.KEEP_HOURS} hours that events are kept:"
            " read the API, and connect without it",
            GONE,
        )
