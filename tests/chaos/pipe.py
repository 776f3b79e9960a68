"""What agents reach a control plane through: a TCP proxy that can be made slow (this kernel has no netem)."""

from __future__ import annotations

import asyncio
import contextlib
import threading

CHUNK = 16 * 1024


class Pipe:
    """Carries bytes both ways between `host:port` and a port of the same host, in a thread of its own.

    `delay`: seconds that every chunk is late, one way; `rate`: bytes a second and direction, 0 for any number.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.target = host, port, 0
        self.delay, self.rate = 0.0, 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"pipe {port}", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, target: int) -> None:
        """Listen; what comes is for that port."""
        self.target = target
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(timeout=10)

    def close(self) -> None:
        """End all connections."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, self.host, self.port)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                there, onward = await asyncio.open_connection(self.host, self.target)
                try:
                    # The end of one direction is the end of both, as when a proxy loses a side.
                    ways = [
                        asyncio.ensure_future(each) for each in (self._way(reader, onward), self._way(there, writer))
                    ]
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
                finally:
                    onward.close()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Chunks in their order, each due `delay` after it came."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def pour() -> None:
            while True:
                due, chunk = await queue.get()
                if not chunk:
                    return
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                writer.write(chunk)
                await writer.drain()
                if self.rate:
                    await asyncio.sleep(len(chunk) / self.rate)

        pouring = asyncio.ensure_future(pour())
        try:
            while chunk := await reader.read(CHUNK):
                await queue.put((self._loop.time() + self.delay, chunk))
            await queue.put((0.0, b""))
            await pouring
        finally:
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
