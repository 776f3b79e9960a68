"""A process with a terminal on another host, over the stream that its node dialled back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from agents import frames
from agents.frames import Broken
from agents.stream_frames import MORE, WINDOW, parts
from domain.errors import Conflict


class RemoteConsole:
    """As app.wire.logs.Console. `close` it whatever happens: the node hangs up on the process then."""

    def __init__(self, socket: ServerConnection, node: str) -> None:
        self._socket = socket
        self._node = node
        self._output: asyncio.Queue[bytes | Conflict] = asyncio.Queue(WINDOW + 1)
        self._room = asyncio.Semaphore(WINDOW)
        self._over = False
        self._reader = asyncio.create_task(self._read(), name="console")

    async def read(self) -> bytes:
        """What it wrote; nothing when it has ended. Raises Conflict."""
        data = await self._output.get()
        if isinstance(data, Conflict):
            raise data
        if data:
            with contextlib.suppress(ConnectionClosed):  # what came before the end is read all the same
                await self._socket.send(MORE)
        return data

    async def write(self, data: bytes) -> None:
        """Keystrokes for it; waits while it does not read them. Raises Conflict."""
        for part in parts(data):
            await self._room.acquire()
            if self._over:
                self._room.release()
                raise self._cut()
            try:
                await self._socket.send(part)
            except ConnectionClosed as error:
                raise self._cut() from error

    async def close(self) -> None:
        """Let go."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()

    async def _read(self) -> None:
        last: bytes | Conflict = self._cut()
        try:
            async for message in self._socket:
                if isinstance(message, bytes):
                    if message:
                        await self._output.put(message)
                    continue
                frame: dict[str, Any] = frames.parse(message)
                if "more" in frame:
                    self._room.release()
                elif "end" in frame:
                    last = b""
                    break
                elif (failed := frames.failed(frame)) is not None:
                    last = Conflict(str(failed))
                    break
        except (ConnectionClosed, Broken):
            pass
        self._over = True
        self._room.release()
        await self._output.put(last)

    def _cut(self) -> Conflict:
        return Conflict(f"the connection to node {self._node} was cut")
