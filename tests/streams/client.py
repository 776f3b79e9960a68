"""A client of the Stream API for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.harness.server import TutelaProcess

Frame = dict[str, Any]


def key_of(server: TutelaProcess) -> str:
    found: str = json.loads((server.state_dir / "admin-key.json").read_text())["api_key"]
    return found


@contextlib.asynccontextmanager
async def stream(
    server: TutelaProcess, path: str, *, header: str | None = None, unread: bool = False, **more: Any
) -> AsyncIterator[ClientConnection]:
    """A connection with the admin's key in the header, or with `header` ("" for none).

    `unread`: a client with small buffers, which soon holds the server up when nobody reads.
    """
    value = f"ApiKey admin:{key_of(server)}" if header is None else header
    if unread:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        more |= {"sock": sock, "max_queue": 1, "close_timeout": 0.1}
    headers = {"Authorization": value} if value else {}
    async with connect(
        f"ws://127.0.0.1:{server.port}{path}",
        additional_headers=headers,
        proxy=None,
        ping_interval=None,
        **{"close_timeout": 1.0, **more},
    ) as socket_:
        yield socket_


async def frame(socket_: ClientConnection, within: float = 30) -> Frame:
    """The next frame."""
    async with asyncio.timeout(within):
        got: Frame = json.loads(await socket_.recv())
    return got


async def until(socket_: ClientConnection, wanted: Callable[[Frame], bool], within: float = 30) -> list[Frame]:
    """The frames up to the first that is wanted."""
    got: list[Frame] = []
    try:
        async with asyncio.timeout(within):
            while not got or not wanted(got[-1]):
                got.append(json.loads(await socket_.recv()))
    except TimeoutError:
        raise AssertionError(f"waited {within} s; the last frames: {got[-10:]}") from None
    return got


async def rest(socket_: ClientConnection, within: float = 30) -> tuple[list[Frame], int]:
    """The frames until the server closes, and the code that it closes with."""
    got: list[Frame] = []
    try:
        async with asyncio.timeout(within):
            while True:
                got.append(json.loads(await socket_.recv()))
    except TimeoutError:
        raise AssertionError(f"waited {within} s for the end; the last frames: {got[-10:]}") from None
    except ConnectionClosed:
        return got, socket_.close_code or 0


async def text_of(socket_: ClientConnection, count: int, within: float = 60) -> list[str]:
    """The text of the next log lines."""
    out: list[str] = []
    try:
        async with asyncio.timeout(within):
            while len(out) < count:
                out.append(json.loads(await socket_.recv())["log"])
    except TimeoutError:
        raise AssertionError(f"waited {within} s; {len(out)} lines, the last {out[-3:]}") from None
    return out
