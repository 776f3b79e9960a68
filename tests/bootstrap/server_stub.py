"""A server process with the real lock, keeper and signals, whose only role answers /health."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

from app import serve
from app.lock import INSTANCE
from app.settings import Settings

BODY = json.dumps({"status": "ok", "instance": INSTANCE}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(BODY), BODY)


async def roles(settings: Settings, dsn: Callable[[], Awaitable[str]], stop: asyncio.Event) -> None:
    kind = os.environ.get("STUB", "")
    if kind == "dies":
        raise RuntimeError("made to fail")
    if kind != "hangs":
        await dsn()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, settings.host, settings.port)
    await stop.wait()
    server.close()  # so that others see that the stop has come
    if kind == "hangs":
        await asyncio.sleep(3600)


if __name__ == "__main__":
    sys.exit(serve.main(roles))
