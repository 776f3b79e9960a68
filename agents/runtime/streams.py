"""Long connections to the engine: logs that are followed, and processes with a terminal.

A thread sends the request and hands the socket to the loop, so that an open stream costs no thread, and a reader
that does not read stops the reading from the engine and nothing else: the engine keeps what is written in files.
"""

from __future__ import annotations

import asyncio
import calendar
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from docker import APIClient

from agents.runtime.base import RawLine, RuntimeBusy, RuntimeFailed
from agents.runtime.errors import translate
from agents.runtime.frames import Chunks, Lines

T = TypeVar("T")
OPENING_THREADS = 8
OPENING_SECONDS = 15
MOST_STREAMS = 1000
PIECE = 64 * 1024
HANGUP_LOOKS = (0.1, 0.3, 0.6, 1.0)
"""Seconds between the looks whether a process that was hung up on has ended; then it is killed."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A connection whose answer has begun: the socket, what was read of the body, and whether it is in chunks."""

    sock: socket.socket
    head: bytes
    chunked: bool


class EngineStreams:
    """The streams of one engine. `new_client` makes a client for one stream; it may block."""

    def __init__(self, new_client: Callable[[], APIClient]) -> None:
        self._new_client = new_client
        self._pool = ThreadPoolExecutor(OPENING_THREADS, "engine-streams")
        self._open: set[_Connection] = set()

    async def follow(self, engine_id: str, *, since: str | None = None) -> AsyncGenerator[Sequence[RawLine], None]:
        """As ContainerRuntime.follow."""
        self._room()
        params: dict[str, str | int] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 1, "tail": "all"}
        if since is not None:
            params["since"] = _seconds(since)

        def call() -> tuple[_Taken, bool]:
            api: Any = self._new_client()
            try:
                tty = bool(api.inspect_container(engine_id)["Config"].get("Tty"))
                url = api._url("/containers/{0}/logs", engine_id)
                return _taken(api, api._get(url, params=params, stream=True, timeout=OPENING_SECONDS)), tty
            finally:
                api.close()

        taken, tty = await self._thread("following logs", call, lambda made: made[0].sock.close())
        connection = await self._connection(taken)
        try:
            reading = Lines(tty=tty)
            while data := await connection.read():
                if lines := reading.feed(data):
                    yield lines
            if lines := reading.end():
                yield lines
        finally:
            connection.close()

    async def exec(self, engine_id: str, command: Sequence[str]) -> Terminal:
        """As ContainerRuntime.exec."""
        self._room()

        def call() -> tuple[_Taken, str]:
            api: Any = self._new_client()
            try:
                exec_id = str(api.exec_create(engine_id, list(command), stdin=True, tty=True)["Id"])
                answer = api._post_json(
                    api._url("/exec/{0}/start", exec_id),
                    headers={"Connection": "Upgrade", "Upgrade": "tcp"},
                    data={"Tty": True, "Detach": False},
                    stream=True,
                    timeout=OPENING_SECONDS,
                )
                return _taken(api, answer), exec_id
            finally:
                api.close()

        taken, exec_id = await self._thread("starting a command", call, lambda made: made[0].sock.close())
        connection = await self._connection(taken)
        return Terminal(connection, lambda: self._hang_up(engine_id, exec_id))

    def close(self) -> None:
        """Cut all streams; take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._open):
            connection.close()

    def _room(self) -> None:
        if len(self._open) >= MOST_STREAMS:
            raise RuntimeBusy(f"{MOST_STREAMS} streams are open on this node")

    async def _connection(self, taken: _Taken) -> _Connection:
        unix = taken.sock.family == socket.AF_UNIX
        opening = asyncio.open_unix_connection if unix else asyncio.open_connection
        try:
            reader, writer = await opening(sock=taken.sock)
        except BaseException:
            taken.sock.close()
            raise
        made = _Connection(reader, writer, taken, self._open.discard)
        self._open.add(made)
        return made

    async def _thread(self, doing: str, call: Callable[[], T], drop: Callable[[T], None]) -> T:
        """The outcome of `call`; when nobody waits for it any more, `drop` gets it."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda done: _drop(done, drop))
            raise
        except RuntimeFailed:
            raise
        except Exception as error:
            raise translate(error, doing) from error

    async def _hang_up(self, engine_id: str, exec_id: str) -> bool:
        """End the process of an exec as a terminal that goes does: the engine lets it run on otherwise.

        Returns False when it is not known or not on this machine.
        """

        def pid() -> int:
            api: Any = self._new_client()
            try:
                found = api.exec_inspect(exec_id)
                return int(found["Pid"]) if found.get("ExitCode") is None else 0
            finally:
                api.close()

        for number, pause in enumerate((*HANGUP_LOOKS, 0.0)):
            try:
                found = await self._thread("ending a command", pid, lambda _: None)
            except RuntimeFailed:
                return False
            if not found:
                return True
            last = number == len(HANGUP_LOOKS)
            if (last or not number) and not _signal(found, engine_id, signal.SIGKILL if last else signal.SIGHUP):
                return False
            await asyncio.sleep(pause)
        return True


class _Connection:
    """A socket to the engine on the loop. Reads stop by themselves when nobody takes what was read."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        taken: _Taken,
        closed: Callable[[_Connection], None],
    ) -> None:
        self._reader, self._writer, self._closed = reader, writer, closed
        self._head = taken.head
        self._chunks = Chunks() if taken.chunked else None

    async def read(self) -> bytes:
        """The next piece; nothing at the end. Raises RuntimeBusy when the connection was cut."""
        while self._chunks is None or not self._chunks.ended:
            data, self._head = self._head, b""
            try:
                data = data or await self._reader.read(PIECE)
                if not data and self._chunks is not None:
                    raise RuntimeBusy("the engine cut the stream", away=True)
                if self._chunks is None:
                    return data
                data = self._chunks.feed(data)
            except (OSError, ValueError) as error:
                raise RuntimeBusy(f"the engine cut the stream: {error}", away=True) from error
            if data:
                return data
        return b""

    async def write(self, data: bytes) -> None:
        """Send; waits while the other side does not read. Raises RuntimeBusy."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise RuntimeBusy(f"the engine cut the stream: {error}", away=True) from error

    def close(self) -> None:
        """Let go of the socket at once."""
        self._closed(self)
        self._writer.transport.abort()


class Terminal:
    """A process in a container, and the engine's side of its terminal."""

    def __init__(self, connection: _Connection, hang_up: Callable[[], Any]) -> None:
        self._connection = connection
        self._hang_up = hang_up
        self._over = False

    async def read(self) -> bytes:
        """What it wrote; nothing when it has ended. Raises RuntimeBusy."""
        data = await self._connection.read()
        self._over = not data
        return data

    async def write(self, data: bytes) -> None:
        """Keystrokes for it. Raises RuntimeBusy."""
        await self._connection.write(data)

    async def close(self) -> None:
        """Let go; a process that still runs is hung up on."""
        try:
            if not self._over and not await self._hang_up():
                # Not ours to signal: what a person types who wants to leave.
                await self._connection.write(b"\x03\x04")
        except RuntimeFailed:
            return
        finally:
            self._connection.close()


def _taken(api: Any, answer: Any) -> _Taken:
    """The socket of an answer that has begun, for the loop; the client's own objects let go of it. Raises APIError."""
    try:
        api._raise_for_status(answer)
        raw = answer.raw._fp
        # Not blocking, so that the look at what the client has read ahead waits for nothing. That would be lost.
        raw.fp.raw._sock.setblocking(False)
        head = raw.fp.peek()
        return _Taken(socket.socket(fileno=os.dup(raw.fp.fileno())), head, bool(raw.chunked))
    finally:
        answer.close()


def _seconds(timestamp: str) -> str:
    """RFC 3339 as the engine's `since`: seconds and nanoseconds."""
    moment, _, fraction = timestamp.rstrip("Z").partition(".")
    return f"{calendar.timegm(datetime.fromisoformat(moment).timetuple())}.{fraction.ljust(9, '0')}"


def _signal(pid: int, engine_id: str, number: int) -> bool:
    """Signal the process if it is on this machine and in that container: an id alone could mean another."""
    try:
        if engine_id not in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8"):
            return False
        os.kill(pid, number)
    except OSError:
        return False
    return True


def _drop(done: asyncio.Future[T], drop: Callable[[T], None]) -> None:
    if not done.cancelled() and done.exception() is None:
        drop(done.result())
