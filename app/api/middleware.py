"""Pure ASGI: paths as clients spell them, HEAD, a limit on bodies, an id for each request."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Sequence
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1024 * 1024
BODY_SECONDS = 60.0
_SLASHES = re.compile(r"/{2,}")


# What docker-cloud's clients call where (spec 5.7). `service/<uuid>/trigger/` and the like go with the service.
_SUBSYSTEMS = {
    "app": frozenset({"service", "container", "stack"}),
    "infra": frozenset({"node", "nodecluster", "provider", "region", "nodetype", "az", "token"}),
    "audit": frozenset({"action"}),
    "repo": frozenset({"repository"}),
}


def _plain(path: str) -> tuple[str, str | None]:
    """The path under /api/v1/ that `/api/<subsystem>/v1/[<namespace>/]<resource>/...` stands for, and its namespace.

    A path that is no such alias stays as it is.
    """
    parts = path.split("/")
    if len(parts) < 5 or parts[1] != "api" or parts[3] != "v1" or parts[2] not in _SUBSYSTEMS:
        return path, None
    resources, rest = _SUBSYSTEMS[parts[2]], parts[4:]
    if rest[0] in resources:
        return "/".join(["/api/v1", *rest]), None
    if len(rest) > 1 and rest[1] in resources:
        return "/".join(["/api/v1", *rest[1:]]), rest[0]
    return path, None


class Paths:
    """Collapse runs of slashes and add the final one, without a redirect: that would lose bodies (spec 1.1).

    docker-cloud's paths become ours; whether a namespace is the user's own is known after the login.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path = _SLASHES.sub("/", scope["path"])
            if path.startswith(("/api/", "/v1/")) and not path.endswith("/"):
                path += "/"
            given = scope
            namespace = None
            if scope["type"] == "http":
                path, namespace = _plain(path)
            # On the given scope too: what nobody expected is answered with it, outside of this middleware.
            given["tutela.request_id"] = uuid4().hex[:12]
            scope = {**scope, "path": path, "raw_path": path.encode()}
            if namespace is not None:
                scope["tutela.namespace"] = namespace
            if scope["type"] == "websocket":
                # uvicorn logs the query string of what is accepted, and a stream's may hold a key (spec 1.3).
                given["query_string"] = b""
        await self._app(scope, receive, send)


Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


class Forwarded:
    """Puts the caller's own address into the scope, where a proxy that is ours has handed the request on.

    Anybody can write `X-Forwarded-For`: it is believed of the configured proxies only, and read from its end, each
    proxy having added who came to it (RELIABILITY S10).
    """

    def __init__(self, app: ASGIApp, proxies: Networks) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client") or ("", 0)
        if self._proxies and self._ours(client[0]):
            said = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
            for each in reversed([part.strip() for line in said for part in line.split(",")]):
                if not _is_address(each):
                    break
                client = (each, 0)
                if not self._ours(each):
                    break
            # In place: what `Paths` says on the scope that it is given is to reach uvicorn, whose scope this is.
            scope["client"] = client
        await self._app(scope, receive, send)

    def _ours(self, address: str) -> bool:
        if not _is_address(address):
            return False
        found = ipaddress.ip_address(address)
        return any(found.version == each.version and found in each for each in self._proxies)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Heads:
    """Answer HEAD as GET, without the body: people's health checks ask so (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, bare)


class _Refused(Exception):
    def __init__(self, status: int, text: str, code: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


_TOO_LARGE = (413, f"The body is larger than {MOST_BYTES} bytes.", "too_large")
_TOO_SLOW = (408, f"The body did not come within {BODY_SECONDS:.0f} seconds.", "too_slow")


class BodyLimit:
    """Refuse bodies above 1 MiB, also those that do not say how long they are, and those that come too slowly
    (RELIABILITY S27)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, total, more = False, 0, True
        until = asyncio.get_running_loop().time() + BODY_SECONDS

        async def counting() -> Message:
            nonlocal total, more
            try:
                async with asyncio.timeout_at(until if more else None):
                    message = await receive()
            except TimeoutError:
                raise _Refused(*_TOO_SLOW) from None
            more = more and message.get("more_body", False)
            total += len(message.get("body", b""))
            if total > MOST_BYTES:
                raise _Refused(*_TOO_LARGE)
            return message

        async def watching(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            if length.isdigit() and int(length) > MOST_BYTES:
                raise _Refused(*_TOO_LARGE)
            await self._app(scope, counting, watching)
        except _Refused as refused:
            if not started:
                await _refuse(send, refused)


async def _refuse(send: Send, refused: _Refused) -> None:
    content = json.dumps({"error": str(refused), "code": refused.code}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
