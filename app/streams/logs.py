"""WS /v1/service/<uuid>/logs/ and /v1/container/<uuid>/logs/ (spec 4.13)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.streams.hub import EventHub
from app.streams.options import ident, read_options
from app.streams.peer import LATER, Ended, Peer
from app.wire.logs import LogLine, Streams
from app.wire.scalars import uri
from app.wire.streams import log_frame
from domain.container import Container
from orchestrator.store import containers, services
from orchestrator.store.accounts import Account
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("streams")
MOST_PIECES = 4
"""Waiting to be sent, of at most 64 KiB or one line each; beyond that nothing more is read from the engine."""
DRAIN_SECONDS = 5.0
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cast:
    """Whose lines belong to the stream: names of all, which are not terminated, and whether none will come."""

    names: Mapping[UUID, str]
    live: frozenset[UUID]
    over: bool


Look = Callable[[], Awaitable[_Cast]]


async def container_logs(peer: Peer, account: Account) -> None:
    """The lines of one container. Raises NotFound, Invalid, Conflict, Ended."""
    db, container_id = _db(peer), ident(peer, "container")

    async def look() -> _Cast:
        async with db.read() as conn:
            row = await containers.get(conn, account.id, container_id)
        return _cast([row], over=row.terminated_at is not None)

    await _logs(peer, account, look, uri("container", container_id), named=False)


async def service_logs(peer: Peer, account: Account) -> None:
    """The lines of all containers of a service, those that come later included. Raises as `container_logs`."""
    db, service_id = _db(peer), ident(peer, "service")

    async def look() -> _Cast:
        async with db.read() as conn:
            service = await services.get(conn, account.id, service_id)
            rows = (await containers.of_services(conn, [service_id]))[service_id]
        return _cast(rows, over=service.destroyed_at is not None)

    await _logs(peer, account, look, uri("service", service_id), named=True)


def _cast(rows: Sequence[Container], *, over: bool) -> _Cast:
    live = frozenset(row.id for row in rows if row.terminated_at is None)
    return _Cast(names={row.id: row.name for row in rows}, live=live, over=over)


def _db(peer: Peer) -> Database:
    db: Database = peer.socket.app.state.db
    return db


async def _logs(peer: Peer, account: Account, look: Look, resource_uri: str, *, named: bool) -> None:
    options = read_options(peer)
    hub: EventHub = peer.socket.app.state.hub
    streams: Streams | None = peer.socket.app.state.logs
    cast = await look()
    if streams is None:
        raise Ended("logs cannot be read here: no node's agent is connected", LATER)
    names = dict(cast.names)

    def frame(line: LogLine) -> str:
        return log_frame(line, names.get(line.container_id, "") if named else None)

    async def history(ids: Sequence[UUID]) -> dict[UUID, str]:
        """Send the last lines; the timestamp of the last line of each container."""
        lines = await streams.logs(ids, max(options.tail, 1))
        shown = lines[-options.tail :] if options.tail else []
        await peer.send_all(map(frame, shown))
        return {line.container_id: line.timestamp for line in lines}

    if not options.follow:
        await history(list(cast.names))
        return
    async with hub.changes(account.id, resource_uri) as changed:
        cast = await look()
        names |= cast.names
        known = await history(list(cast.names))
        following = _Following(streams, look, changed, names, known)
        try:
            while (piece := await following.next()) is not None:
                await peer.send_all(map(frame, piece))
        finally:
            await following.close()


class _Following:
    """All containers of a stream at once. One queue: when it is full, nothing more is read from the engine."""

    def __init__(
        self, streams: Streams, look: Look, changed: asyncio.Event, names: dict[UUID, str], known: Mapping[UUID, str]
    ) -> None:
        self._streams, self._look, self._changed, self._names = streams, look, changed, names
        self._known = dict(known)
        self._queue: asyncio.Queue[Sequence[LogLine] | None] = asyncio.Queue(MOST_PIECES)
        self._followers: dict[UUID, asyncio.Task[None]] = {}
        self._watcher = asyncio.ensure_future(self._watch())

    async def next(self) -> Sequence[LogLine] | None:
        """The next lines; None when there will be none. Raises what ended the watch."""
        getting = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait({getting, self._watcher}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
            self._watcher.result()
            return await getting
        finally:
            getting.cancel()

    async def close(self) -> None:
        """Let go of everything."""
        tasks = [self._watcher, *self._followers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Follow whoever comes, let go of whoever goes; ends the queue when the last one has."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            try:
                cast = await self._look()
            except DatabaseAway as error:
                log.warning("database away", reason=str(error), retry_in=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()
                continue
            self._names.update(cast.names)
            for container_id in cast.live - self._followers.keys():
                self._followers[container_id] = asyncio.ensure_future(self._follow(container_id))
            for container_id in self._followers.keys() - cast.live:
                if self._followers[container_id].done():
                    del self._followers[container_id]
                elif container_id not in self._known:
                    # One that wrote ends by itself once all is read; this may be one that never was on its node.
                    loop.call_later(DRAIN_SECONDS, self._followers[container_id].cancel)
            for container_id in (self._names.keys() | self._known.keys()) - cast.names.keys() - self._followers.keys():
                self._names.pop(container_id, None)
                self._known.pop(container_id, None)
            if cast.over:
                await asyncio.gather(*self._followers.values(), return_exceptions=True)
                await self._queue.put(None)
                return
            await self._changed.wait()

    async def _follow(self, container_id: UUID) -> None:
        lines = self._streams.follow(container_id, self._known.get(container_id))
        try:
            async with contextlib.aclosing(lines) as pieces:
                async for piece in pieces:
                    self._known[container_id] = piece[-1].timestamp
                    await self._queue.put(piece)
        except Exception:
            # The boundary of the task: the others of the service go on.
            log.exception("following logs failed", container=str(container_id))
