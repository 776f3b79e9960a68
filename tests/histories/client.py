"""A small HTTP client on asyncio that tells apart what was never sent from what was sent and not answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ANSWER_SECONDS = 12.0
"""Longer than all that the API itself waits for: 5 s for a connection, 5 s for a statement."""


class NotSent(Exception):
    """No connection: nothing of the request went out."""


class NoAnswer(Exception):
    """It was sent, perhaps in part; what became of it is not known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, with the names of its headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def action(self) -> str | None:
        """The uuid of the action that it names."""
        uri = self.headers.get("x-tutum-action-uri")
        return uri.strip("/").rsplit("/", 1)[-1] if uri else None


class Client:
    """One user's connection, kept open, to one of several API processes: the next one after each failure."""

    def __init__(self, ports: Sequence[int], authorization: str, first: int) -> None:
        self._ports, self._authorization, self._turn = ports, authorization, first
        self._address = f"127.0.1.{first % 200 + 1}"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, body: Any = None, key: str | None = None) -> Answer:
        """One request. Raises NotSent, NoAnswer."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: api\r\nAuthorization: {self._authorization}\r\n"
        if key is not None:
            head += f"Idempotency-Key: {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        try:
            reader, writer = await self._connected()
        except (OSError, TimeoutError) as error:
            self._turn += 1
            raise NotSent(str(error)) from error
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(head.encode() + data)
                await writer.drain()
                return await _answer(reader)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self._turn += 1
            await self.close()
            raise NoAnswer(str(error)) from error

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            await self.close()
            async with asyncio.timeout(2):
                # From an address of its own: calls of triggers have a limit for each.
                self._streams = await asyncio.open_connection(
                    "127.0.0.1", self._ports[self._turn % len(self._ports)], local_addr=(self._address, 0)
                )
        return self._streams

    async def elsewhere(self) -> None:
        """Go on at the next process: what one has answered, all have to know."""
        self._turn += 1
        await self.close()

    async def close(self) -> None:
        """Let go of the connection."""
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> Answer:
    """Raises EOFError, ValueError for what is no whole answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split(" ")[1]), headers, json.loads(body) if body else None)
