"""Pure ASGI: paths as clients spell them, a limit on bodies, an id for each request."""

from __future__ import annotations

import json
import re
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1024 * 1024
_SLASHES = re.compile(r"/{2,}")


class Paths:
    """Collapse runs of slashes and add the final one, without a redirect: that would lose bodies (spec 1.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path = _SLASHES.sub("/", scope["path"])
            if path.startswith(("/api/", "/v1/")) and not path.endswith("/"):
                path += "/"
            given = scope
            scope = {**scope, "path": path, "raw_path": path.encode(), "tutela.request_id": uuid4().hex[:12]}
            if scope["type"] == "websocket":
                # uvicorn logs the query string of what is accepted, and a stream's may hold a key (spec 1.3).
                given["query_string"] = b""
        await self._app(scope, receive, send)


class _TooLarge(Exception):
    pass


class BodyLimit:
    """Refuse bodies above 1 MiB, also those that do not say how long they are (RELIABILITY S27)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, total = False, 0

        async def counting() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > MOST_BYTES:
                raise _TooLarge
            return message

        async def watching(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if length.isdigit() and int(length) > MOST_BYTES:
                raise _TooLarge
            await self._app(scope, counting, watching)
        except _TooLarge:
            if not started:
                await _refuse(send)


async def _refuse(send: Send) -> None:
    content = json.dumps({"error": f"The body is larger than {MOST_BYTES} bytes.", "code": "too_large"}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": content})
