"""The engine's event stream as a wake flag with the ids it was about.

The reader does nothing but put ids into a set (E26: a subscriber that does not read slows the whole engine).
Every end of the stream is a disconnect, also a quiet one (ECOSYSTEM rule 6): events of the gap are lost, and
whoever listens lists again (E25).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol
from uuid import UUID

from agents.runtime.create_args import CLUSTER
from agents.runtime.errors import translate

KINDS = ("create", "start", "die", "destroy", "pause", "unpause", "oom", "rename")
"""Those that change what a pass sees; health checks would flood the stream (ECOSYSTEM rule 14)."""


class Stream(Protocol):
    """An open event stream: iterate it in one thread, close it from another."""

    def __iter__(self) -> Iterator[Any]: ...
    def close(self) -> None: ...


def filters(cluster_id: UUID) -> dict[str, list[str]]:
    """Filtered by the engine: containers of ours, and only what matters."""
    return {"type": ["container"], "label": [f"{CLUSTER}={cluster_id}"], "event": list(KINDS)}


async def follow(open_stream: Callable[[], Stream]) -> AsyncIterator[frozenset[str]]:
    """Yield an empty set once subscribed, then the ids of each burst; ends when the stream does.

    `open_stream` runs in the reader's thread. Raises RuntimeBusy when the stream cannot be opened.
    """
    reader = _Reader(open_stream, asyncio.get_running_loop())
    reader.start()
    try:
        while True:
            await reader.news.wait()
            reader.news.clear()
            if reader.failed is not None:
                raise translate(reader.failed, "subscribing to its events")
            ids, reader.ids = frozenset(reader.ids), set()
            if reader.opened:
                yield ids
            if reader.ended:
                return
    finally:
        reader.stop()


class _Reader:
    """The thread; its fields but `_stream` are touched on the loop only."""

    def __init__(self, open_stream: Callable[[], Stream], loop: asyncio.AbstractEventLoop) -> None:
        self.news = asyncio.Event()
        self.ids: set[str] = set()
        self.opened = False
        self.ended = False
        self.failed: Exception | None = None
        self._open = open_stream
        self._loop = loop
        self._stream: Stream | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._read, name="engine-events", daemon=True).start()

    def stop(self) -> None:
        """End the reader; closing the stream from here ends its iteration quietly (ECOSYSTEM rule 5)."""
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            try:
                stream.close()
            except (OSError, AttributeError):
                return

    def _read(self) -> None:
        try:
            self._stream = self._open()
            if self._stopped.is_set():
                self._stream.close()
                return
            self._post(self._opened)
            for event in self._stream:
                self._post(self._saw, str(event.get("id") or event.get("Actor", {}).get("ID", "")))
        except Exception as error:
            # Whatever it is, it ends the stream; before the first event it says why there is none.
            if not self.opened:
                self._post(self._failed, error)
        finally:
            self._post(self._over)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        if self._stopped.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            # The loop is closed: the process ends, and so does this daemon thread.
            self._stopped.set()

    def _opened(self) -> None:
        self.opened = True
        self.news.set()

    def _saw(self, engine_id: str) -> None:
        self.ids.add(engine_id)
        self.news.set()

    def _failed(self, error: Exception) -> None:
        self.failed = error
        self.news.set()

    def _over(self) -> None:
        self.ended = True
        self.news.set()
