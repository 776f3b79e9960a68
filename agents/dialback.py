"""The agent's end of streams: it dials the control plane that asks, says what a container says, and hangs up.

Nothing here listens. One stream does not hold up another, nor the session: each has a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agents import frames, stream_frames
from agents.dial import agent_url
from agents.frames import Broken
from agents.runtime.base import Console
from agents.stream_frames import BEGUN, END, MORE, WINDOW, StreamAsked, StreamKind, StreamRequest
from agents.streams import ContainerStreams, LogLine
from domain.errors import Conflict, DomainError

log = structlog.get_logger("streams")
ASK = "stream"
REQUEST_SECONDS = 5.0
MOST_STREAMS = 1000
"""As many as the engine's side of the agent has at once; the engine's own answer says so before."""

Dial = Callable[[str, str], Awaitable[ClientConnection]]


class DialBack:
    """Serves what control planes ask of one node's containers. `dial` takes a URL and a path."""

    def __init__(self, streams: ContainerStreams, dial: Dial) -> None:
        self._streams = streams
        self._dial = dial
        self._open: set[asyncio.Task[None]] = set()

    def asked(self, name: str, body: dict[str, Any]) -> None:
        """A control plane asks for something; what is no stream is of a later release and left alone."""
        if name != ASK:
            return
        try:
            asked = frames.read(stream_frames.ASKED, body)
            agent_url(asked.url)
        except (Broken, DomainError) as error:
            log.warning("a control plane asks for a stream in words that are not understood", reason=str(error))
            return
        if len(self._open) >= MOST_STREAMS:
            log.warning("too many streams are open: one more is not served", open=len(self._open))
            return
        task = asyncio.create_task(self._serve(asked), name="stream")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Hang up on everybody."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, asked: StreamAsked) -> None:
        try:
            socket = await self._dial(asked.url, frames.STREAM_PATH + asked.ticket)
        except (OSError, DomainError) as error:
            log.warning("the control plane that asks for a stream is not reached", url=asked.url, reason=str(error))
            return
        try:
            await _Stream(self._streams, socket).serve()
        except (ConnectionClosed, TimeoutError, Broken) as error:
            log.debug("a stream was cut", url=asked.url, reason=str(error))
        except Exception:
            # The boundary of the stream: a defect ends it and is logged.
            log.exception("a stream failed")
        finally:
            await socket.close()


class _Stream:
    """One conversation. When the control plane hangs up, the work is given up with all that it holds."""

    def __init__(self, streams: ContainerStreams, socket: ClientConnection) -> None:
        self._streams = streams
        self._socket = socket
        self._room = asyncio.Semaphore(WINDOW)
        self._typed: asyncio.Queue[bytes] = asyncio.Queue(WINDOW)

    async def serve(self) -> None:
        """Until either side has enough. Raises Broken, ConnectionClosed, TimeoutError."""
        async with asyncio.timeout(REQUEST_SECONDS):
            request = frames.read(stream_frames.REQUEST, frames.parse(await self._socket.recv()))
        hearing = asyncio.create_task(self._hear(), name="stream hears")
        working = asyncio.create_task(self._work(request), name=f"stream {request.kind.value}")
        try:
            await asyncio.wait({hearing, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
            else:
                hearing.result()
        finally:
            hearing.cancel()
            working.cancel()
            await asyncio.gather(hearing, working, return_exceptions=True)

    async def _hear(self) -> None:
        async for message in self._socket:
            if isinstance(message, bytes):
                if self._typed.full():
                    raise Broken("more was typed than there is room for")
                self._typed.put_nowait(message)
            elif "more" in frames.parse(message):
                self._room.release()

    async def _work(self, request: StreamRequest) -> None:
        try:
            match request.kind:
                case StreamKind.LOGS:
                    for piece in stream_frames.pieces(await self._streams.logs(request.containers, request.tail)):
                        await self._tell(piece)
                case StreamKind.FOLLOW:
                    await self._follow(request)
                case StreamKind.EXEC:
                    await self._exec(request)
            await self._socket.send(END)
        except DomainError as error:
            await self._socket.send(frames.failure(0, error))

    async def _tell(self, piece: list[LogLine]) -> None:
        await self._room.acquire()
        await self._socket.send(stream_frames.lines_frame(piece))

    async def _follow(self, request: StreamRequest) -> None:
        (container_id,) = request.containers
        async with contextlib.aclosing(self._streams.follow(container_id, request.after)) as found:
            async for lines in found:
                for piece in stream_frames.pieces(lines):
                    await self._tell(piece)

    async def _exec(self, request: StreamRequest) -> None:
        (container_id,) = request.containers
        console = await self._streams.exec(container_id, request.command)
        typing = asyncio.create_task(self._type(console), name="stream types")
        try:
            await self._socket.send(BEGUN)
            while data := await console.read():
                for part in stream_frames.parts(data):
                    await self._room.acquire()
                    await self._socket.send(part)
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
            await console.close()

    async def _type(self, console: Console) -> None:
        with contextlib.suppress(Conflict, ConnectionClosed):  # reading says what became of it
            while True:
                await console.write(await self._typed.get())
                await self._socket.send(MORE)
