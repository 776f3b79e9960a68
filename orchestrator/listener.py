"""One dedicated connection that hears NOTIFY and sets wake flags. A hint to look, never the truth.

Every (re)connect wakes everybody once, since what was said meanwhile is lost (RELIABILITY E30).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator

import asyncpg
import structlog

from orchestrator.store import wake
from orchestrator.store.db import connect, translated
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("listener")
PING_SECONDS = 10.0
LONGEST_PAUSE = 5.0
MOST_HINTS = 1000


class Wakeups:
    """Named flags that coalesce: setting one twice is setting it once."""

    def __init__(self) -> None:
        self._service = asyncio.Event()
        self._events = asyncio.Event()
        self._missed = asyncio.Event()
        self._nodes: dict[str, set[asyncio.Event]] = {}
        self._revoked: dict[str, set[asyncio.Event]] = {}
        self._streams: asyncio.Queue[str] = asyncio.Queue(MOST_HINTS)

    @property
    def service(self) -> asyncio.Event:
        """Set when some service is due."""
        return self._service

    @property
    def events(self) -> asyncio.Event:
        """Set when there are new rows in `events`. For one waiter, who clears it."""
        return self._events

    @property
    def missed(self) -> asyncio.Event:
        """Set when news for nodes may have been missed: look at all of them. For one waiter, who clears it."""
        return self._missed

    @property
    def streams(self) -> asyncio.Queue[str]:
        """Streams that control planes ask of nodes (`wake.stream`). For one waiter; what is too much is lost."""
        return self._streams

    @contextlib.contextmanager
    def node(self, node_id: str) -> Iterator[asyncio.Event]:
        """A flag of one's own, set when there is something new for the node."""
        with _registered(self._nodes, node_id) as event:
            yield event

    @contextlib.contextmanager
    def revoked(self, node_id: str) -> Iterator[asyncio.Event]:
        """A flag of one's own, set when the node may have been taken out."""
        with _registered(self._revoked, node_id) as event:
            yield event

    def wake_node(self, node_id: str) -> None:
        """Set the flags of those who wait for news for the node."""
        for event in self._nodes.get(node_id, ()):
            event.set()

    def wake_revoked(self, node_id: str) -> None:
        """Set the flags of those who hold the node's session."""
        for event in self._revoked.get(node_id, ()):
            event.set()

    def ask_stream(self, payload: str) -> None:
        """Somebody asks for a stream. Who asks is told nothing if this is lost, and gives up soon."""
        with contextlib.suppress(asyncio.QueueFull):
            self._streams.put_nowait(payload)

    def everybody(self) -> None:
        """Set all flags, but those of nodes: which of them have news is found for all at once (`missed`)."""
        self._service.set()
        self._events.set()
        self._missed.set()
        for events in self._revoked.values():
            for event in events:
                event.set()


@contextlib.contextmanager
def _registered(flags: dict[str, set[asyncio.Event]], key: str) -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    flags.setdefault(key, set()).add(event)
    try:
        yield event
    finally:
        flags[key].discard(event)
        if not flags[key]:
            del flags[key]


async def listen(dsn: str, wakeups: Wakeups) -> None:
    """Keep listening for ever; reconnects with growing, jittered pauses."""
    pause = 0.1
    while True:
        try:
            await _session(dsn, wakeups)
            pause = 0.1
        except DatabaseAway as error:
            log.warning("not listening", reason=str(error), retry_in=round(pause, 1))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
        pause = min(pause * 2, LONGEST_PAUSE)


async def _session(dsn: str, wakeups: Wakeups) -> None:
    conn = await connect(dsn)
    try:
        # The driver says in many ways that its connection is gone.
        with translated(conn):
            await _hear(conn, wakeups)
    finally:
        conn.terminate()


async def _hear(conn: asyncpg.Connection[asyncpg.Record], wakeups: Wakeups) -> None:
    ended = asyncio.Event()
    on_service = _callback(lambda _payload: wakeups.service.set())
    on_event = _callback(lambda _payload: wakeups.events.set())
    conn.add_termination_listener(lambda _conn: ended.set())
    await conn.add_listener(wake.SERVICE, on_service)
    await conn.add_listener(wake.NODE, _callback(wakeups.wake_node))
    await conn.add_listener(wake.REVOKED, _callback(wakeups.wake_revoked))
    await conn.add_listener(wake.STREAM, _callback(wakeups.ask_stream))
    await conn.add_listener(wake.EVENT, on_event)
    wakeups.everybody()
    while not ended.is_set():
        try:
            async with asyncio.timeout(PING_SECONDS):
                await ended.wait()
        except TimeoutError:
            await conn.fetchval("SELECT 1")


def _callback(hear: Callable[[str], None]) -> Callable[..., None]:
    def called(_conn: object, _pid: object, _channel: object, payload: str) -> None:
        hear(payload)

    return called
