"""The API for containers: a second listener, on the host's address that they reach (spec 2.20).

The API binds to loopback, which inside a container is the container itself. So it also listens on the gateway of
the engine's default bridge, which every container of this host reaches whatever its network, or where
TUTELA_INSIDE_ADDRESS says; there only this host's containers are served, since it may take packets for that address
from outside. They come with their own address, by a bridge of Docker's, from an overlay by `docker_gwbridge`: the
engine puts the host's address only on what leaves the host. So those of another host look like that host, and what they
say crosses the network as it is: they are served, as is everybody, where plain HTTP beyond loopback was consented to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.settings import Settings, is_loopback

log = structlog.get_logger("inside")
RETRY_SECONDS = 5.0

ROUTES = Path("/proc/net/route")
_DOCKERS_BRIDGE = re.compile(r"docker0|docker_gwbridge|br-[0-9a-f]{12}")


class OnlyFrom:
    """Closes the door to callers whose address `lets_in` does not take."""

    def __init__(self, app: ASGIApp, lets_in: Callable[[str], bool]) -> None:
        self._app = app
        self._lets_in = lets_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = (scope.get("client") or ("0.0.0.0", 0))[0]  # noqa: S104 - an address to compare
        if scope["type"] == "lifespan" or self._lets_in(client):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            scope["query_string"] = b""  # uvicorn logs it, and it may hold a key (spec 1.3)
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


def of_this_host(address: str) -> bool:
    """Whether a caller is a container of this machine, or the machine itself, by an IPv4 address.

    Containers with the host's network are the latter, under any address of it: the engine changes that at its bridges.
    From outside the kernel takes no packet with one of these, and to a bridge's network it answers by the bridge.
    """
    return _own(address) or _by_bridge(ipaddress.IPv4Address(address).packed)


def _own(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((address, 9))  # which sends nothing: the kernel names the address that it would send from
        return str(probe.getsockname()[0]) == address
    return False


def _by_bridge(address: bytes) -> bool:
    """Whether the kernel has a bridge of Docker's for it; not what is reached through a container there."""
    number = int.from_bytes(address, sys.byteorder)
    for line in ROUTES.read_text(encoding="ascii").splitlines()[1:]:
        device, *words = line.split()
        network, gateway, mask = (int(words[column], 16) for column in (0, 1, 6))
        if _DOCKERS_BRIDGE.fullmatch(device) and gateway == 0 and number & mask == network:
            return True
    return False


def wanted(settings: Settings) -> bool:
    """Whether containers need a door of their own: they cannot use a public URL that is loopback."""
    return bool(settings.inside_address) or is_loopback(urlsplit(settings.public_url).hostname or "localhost")


async def listen(
    settings: Settings,
    app: ASGIApp,
    gateway: Callable[[], Awaitable[str]],
    serve: Callable[[ASGIApp, socket.socket], uvicorn.Server],
) -> None:
    """Serve containers until cancelled. `gateway()` gives the engine's bridge address, empty while it is not known."""
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
        if settings.inside_exposed:
            log.warning("no TLS beyond this machine: keys travel in the clear", host=address)
        elif settings.inside_address:
            log.warning(
                "only containers of this host are served here: those of others need TUTELA_INSECURE_HTTP=1, which"
                " serves everybody, and their tokens travel in the clear",
                address=address,
            )
        server = serve(app if settings.inside_exposed else OnlyFrom(app, of_this_host), sock)
        log.info("containers reach the API", address=f"{address}:{settings.port}")
        serving = asyncio.create_task(server.serve(sockets=[sock]), name="inside server")
        try:
            await asyncio.shield(serving)
        finally:
            # Streams end as those of the API do, while there is an agent to end their commands.
            server.should_exit = True
            await serving
            sock.close()
