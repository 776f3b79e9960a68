"""The agent protocol over one WebSocket to a control plane, with the node's certificate.

The agent dials, so a host behind NAT joins like any other, and listens on no port. Calls carry numbers, so that the
long wait for news does not hold up reports. Which control plane it is does not matter: all have the same record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from agents import credentials, frames
from agents.credentials import Membership
from agents.dial import TooSlow, open_socket
from domain.assignment import Beat, Heard, NodeAssignments, NodeHello, NodeReport, Registration
from domain.errors import NotAllowed

A = TypeVar("A")
T = TypeVar("T")
log = structlog.get_logger("channel")
BEAT_SECONDS = 8.0
"""Without an answer to a beat, and the session is given up while its lease (10 s) holds. Whether the link and the other
side are there at all is found out by pings, sooner: who answers them is late, and a new session would make it later."""


class SocketChannel:
    """A node's way to its control planes. `asked` hears what they ask for by themselves."""

    def __init__(self, directory: Path, membership: Membership) -> None:
        self._directory = directory
        self._membership = membership
        self._urls = list(membership.control_planes)
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._slow = 0
        self.asked: Callable[[str, dict[str, Any]], None] = lambda _name, _body: None

    @property
    def url(self) -> str | None:
        """The control plane it is connected to."""
        return self._urls[0] if self._socket is not None else None

    async def register(self, hello: NodeHello) -> Registration:
        """Connect anew and begin a session: with the control plane that served last, else with the next one."""
        await self.close()
        failed: Exception = ConnectionError("no control plane is known")
        for _ in range(len(self._urls)):
            try:
                await self._open(self._urls[0])
                told = replace(hello, address=_own_address(self._socket))
                found = await self._call("register", frames.HELLO, told, frames.REGISTRATION)
            except (ConnectionError, TimeoutError, OSError) as error:
                failed = error if isinstance(error, ConnectionError) else ConnectionError(str(error))
                await self.close()
                self._next()
                continue
            await self._known(found.control_planes)
            log.info("connected", url=self._urls[0], session=found.session)
            return found
        raise failed

    async def assignments(self, registration: Registration, since: int) -> NodeAssignments:
        """What changed after `since`; waits for a change, at most some seconds."""
        asked = frames.Since(registration=registration, since=since)
        return await self._call("assignments", frames.SINCE, asked, frames.ASSIGNMENTS)

    async def report(self, report: NodeReport) -> None:
        """Hand in a report; returns when it is durable."""
        await self._call("report", frames.REPORT, report, frames.DONE)

    async def beat(self, beat: Beat) -> Heard:
        """The agent is there; returns when that is durable."""
        async with asyncio.timeout(BEAT_SECONDS):
            found = await self._call("beat", frames.BEAT, beat, frames.HEARD)
        await self._known(found.control_planes)
        return found

    async def renew(self, request: str) -> str:
        """A new certificate for the key in the request, in PEM. Raises NotAllowed, ConnectionError."""
        renewal = frames.Renewal(request=request)
        return (await self._call("renew", frames.RENEWAL, renewal, frames.CREDENTIAL)).certificate

    async def dial(self, url: str, path: str) -> ClientConnection:
        """Another connection, as the same node. Raises ConnectionError, NotAllowed."""
        context = await asyncio.to_thread(credentials.context, self._directory, self._membership)
        return await open_socket(url, path, context)

    async def close(self) -> None:
        """End the connection."""
        socket, self._socket = self._socket, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if socket is not None:
            socket.transport.abort()

    def _next(self) -> None:
        """Try another control plane first the next time."""
        self._urls.append(self._urls.pop(0))

    async def _open(self, url: str) -> None:
        context = await asyncio.to_thread(credentials.context, self._directory, self._membership)
        try:
            self._socket = await open_socket(url, frames.SESSION_PATH, context, patience=2 ** min(self._slow, 2))
        except TooSlow:
            self._slow += 1
            raise
        self._slow = 0
        self._reader = asyncio.create_task(self._read(self._socket), name="agent channel")

    async def _call(self, name: str, up: TypeAdapter[A], body: A, down: TypeAdapter[T]) -> T:
        socket = self._socket
        if socket is None:
            raise ConnectionError("not connected")
        self._number += 1
        number, waiting = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            await socket.send(frames.call(number, name, up, body))
            frame = await waiting
        except ConnectionClosed as error:
            raise _ended(error) from error
        finally:
            self._waiting.pop(number, None)
        failed = frames.failed(frame)
        if failed is not None:
            raise failed
        try:
            return frames.read(down, frame.get("body"))
        except frames.Broken as error:
            raise ConnectionError(f"the control plane's answer to {name} is not understood: {error}") from error

    async def _read(self, socket: ClientConnection) -> None:
        """Hand answers to who waits for them, until the connection ends."""
        error: Exception = ConnectionError("the connection ended")
        try:
            async for text in socket:
                frame = frames.parse(text)
                waiting = self._waiting.get(frame.get("id", 0))
                if waiting is not None and not waiting.done():
                    waiting.set_result(frame)
                elif isinstance(frame.get("ask"), str) and isinstance(frame.get("body"), dict):
                    self.asked(frame["ask"], frame["body"])
        except ConnectionClosed as closed:
            error = _ended(closed)
        except frames.Broken as broken:
            error = ConnectionError(f"the control plane says something that is no frame: {broken}")
        finally:
            if self._socket is socket:
                self._socket = None
                self._next()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(error)
                    waiting.exception()  # it may be that nobody waits any more
            with contextlib.suppress(Exception):
                socket.transport.abort()

    async def _known(self, urls: tuple[str, ...]) -> None:
        """Remember where control planes are: those that answered, those it was told of, those of the join."""
        wanted = tuple(dict.fromkeys((*self._urls[:1], *urls, *self._membership.control_planes)))
        wanted = wanted[: credentials.MOST_URLS]
        if urls and set(wanted) != set(self._membership.control_planes):
            try:
                self._membership = await asyncio.to_thread(
                    credentials.store_urls, self._directory, self._membership, wanted
                )
            except OSError as error:
                log.warning("where control planes are cannot be written down", reason=str(error))
        if urls and set(wanted) != set(self._urls):
            self._urls = list(wanted)


def _own_address(socket: ClientConnection | None) -> str:
    """The address of this host on the way to the control plane: where other hosts are likely to reach it."""
    name = socket.local_address if socket is not None else None
    return str(name[0]) if isinstance(name, tuple) else ""


def _ended(closed: ConnectionClosed) -> Exception:
    if closed.rcvd is not None and closed.rcvd.code == frames.REVOKED_CODE:
        return NotAllowed(closed.rcvd.reason)
    reason = closed.rcvd.reason if closed.rcvd is not None else ""
    return ConnectionError(f"the connection ended{f': {reason}' if reason else ''}")
