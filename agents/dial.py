"""Reaching a control plane: TCP, TLS and WebSocket, each attempt short, since links that heal must serve at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from agents.frames import CONTROL_PLANE, MOST_DOWN
from domain.errors import Invalid, NotAllowed

DEFAULT_PORT = 8801
AGAIN_SECONDS = 0.4
CONNECT_SECONDS = 1.2
HANDSHAKE_SECONDS = 2.0
PING_SECONDS, PONG_SECONDS = 1.0, 2.0


def agent_url(text: str) -> str:
    """The agents' door that people mean: `host`, `host:port` or `wss://host:port`. Raises Invalid."""
    full = text if "://" in text else f"wss://{text}"
    parts = urlsplit(full)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme != "wss" or not parts.hostname or port == -1 or parts.path not in {"", "/"}:
        raise Invalid(
            {"url": f"must be wss://HOST:{DEFAULT_PORT}, the agents' door of a control plane and not its API"}
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"wss://{host}:{port or DEFAULT_PORT}"


def client_context(authority: str | None) -> ssl.SSLContext:
    """TLS that trusts this authority (PEM) and nobody else; None trusts anybody: only for asking who they are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=authority)
    return context


class TooSlow(ConnectionError):
    """A control plane that takes connections and does not get on with them: it has too much to do, or hangs."""


async def open_socket(url: str, path: str, context: ssl.SSLContext, *, patience: int = 1) -> ClientConnection:
    """A WebSocket to the control plane. Raises ConnectionError, and NotAllowed when it refuses us with its reason.

    `patience`: so many times HANDSHAKE_SECONDS, since what was given up half done has to be done again.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None  # noqa: S101 - `agent_url` checked it
    sock = await _reach(parts.hostname, parts.port or DEFAULT_PORT)
    try:
        return await connect(
            url + path,
            sock=sock,
            ssl=context,
            server_hostname=CONTROL_PLANE,
            open_timeout=HANDSHAKE_SECONDS * patience,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            close_timeout=1.0,
            max_size=MOST_DOWN,
            user_agent_header=None,
            proxy=None,
        )
    except InvalidStatus as error:
        sock.close()
        if error.response.status_code == 403:
            raise NotAllowed(error.response.body.decode("utf-8", "replace").strip()) from error
        raise ConnectionError(f"{url} answers {error.response.status_code}") from error
    except ssl.SSLError as error:
        sock.close()
        raise ConnectionError(f"{url}: {_tls(error)}") from error
    except TimeoutError as error:
        sock.close()
        raise TooSlow(f"{url}: {error or type(error).__name__}") from error
    except (OSError, InvalidHandshake, WebSocketException) as error:
        sock.close()
        raise ConnectionError(f"{url}: {error or type(error).__name__}") from error


def _tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"it is not a control plane of this installation ({error.verify_message})"
    return f"TLS failed ({error.reason or error})"


async def _reach(host: str, port: int) -> socket.socket:
    """A connected socket: a new attempt each AGAIN_SECONDS until one succeeds.

    The kernel sends the first packet of an attempt again only after a second, then after three: too late for a
    link that healed a moment ago.
    """
    tries: set[asyncio.Task[socket.socket]] = set()
    deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
    try:
        while True:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise ConnectionError(f"{host}:{port} does not answer")
            tries.add(asyncio.create_task(_connect(host, port)))
            done, _ = await asyncio.wait(tries, timeout=min(AGAIN_SECONDS, left), return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                tries.discard(each)
                error = each.exception()
                if error is None:
                    return each.result()
                raise ConnectionError(f"{host}:{port}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        for each in tries:
            each.cancel()
        for result in await asyncio.gather(*tries, return_exceptions=True):
            if isinstance(result, socket.socket):
                result.close()


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed: OSError | None = None
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, address)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
    raise failed or OSError(f"{host} has no address")
