"""The API for containers: a second listener, on the host's address that they reach (spec 2.20).

The API binds to loopback, which inside a container is the container itself. So it also listens on the gateway of
the engine's default bridge, which every container reaches whatever its network; there only callers from the
container networks are served, since a host may take packets for that address from outside.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.settings import Settings, is_loopback

log = structlog.get_logger("inside")
RETRY_SECONDS = 5.0

Network = ipaddress.IPv4Network


class OnlyFrom:
    """Closes the door to callers from elsewhere."""

    def __init__(self, app: ASGIApp, networks: tuple[Network, ...]) -> None:
        self._app = app
        self._networks = networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = (scope.get("client") or ("0.0.0.0", 0))[0]  # noqa: S104 - an address to compare
        if scope["type"] == "lifespan" or any(ipaddress.ip_address(client) in each for each in self._networks):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


def wanted(settings: Settings) -> bool:
    """Whether containers need a door of their own: they cannot use a public URL that is loopback."""
    return bool(settings.inside_address) or is_loopback(urlsplit(settings.public_url).hostname or "localhost")


async def listen(
    settings: Settings,
    app: ASGIApp,
    gateway: Callable[[], Awaitable[str]],
    serve: Callable[[ASGIApp, socket.socket], uvicorn.Server],
) -> None:
    """Serve containers for ever. `gateway()` gives the engine's bridge address, empty while it is not known."""
    said = False
    while True:
        address = settings.inside_address or await gateway()
        try:
            sock = socket.create_server((address, settings.port), backlog=128) if address else None
        except OSError as error:
            if not said:
                log.warning("containers cannot reach the API", address=address, reason=str(error))
            sock, said = None, True
        if sock is None:
            await asyncio.sleep(RETRY_SECONDS)
            continue
        inner = app if settings.inside_address else OnlyFrom(app, _sources(settings, address))
        server = serve(inner, sock)
        log.info("containers reach the API", address=f"{address}:{settings.port}")
        try:
            await server.serve(sockets=[sock])
        finally:
            sock.close()


def _sources(settings: Settings, address: str) -> tuple[Network, ...]:
    """The services' networks, and the default bridge's."""
    return (Network(settings.network_pool), Network(f"{address}/16", strict=False))
