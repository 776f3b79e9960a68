"""One client of a stream: who it is, what is sent to it, what it says, and how the conversation ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import urlsplit

import structlog
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.errors import body
from app.api.security import Refused, identified, limits, login, who_counts
from app.settings import Settings
from app.streams.watch import Watch
from app.wire.streams import UNAUTHORIZED, error_frame
from domain.access import Right, refusal
from domain.errors import DomainError, Invalid, NotFound
from orchestrator.store import audit
from orchestrator.store.accounts import Account, Principal
from orchestrator.store.audit import Entry
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("streams")
STALL_SECONDS = 150.0
"""Without a frame going out: the reader does not read."""
LAST_FRAME_SECONDS = 2.0
FRAMES_IN_A_ROW = 100
MOST_INPUT = 4

ENDED, INTERNAL, LATER = 1000, 1011, 1013
REFUSED, UNKNOWN, TOO_SLOW, CLASH, GONE = 4400, 4404, 4408, 4409, 4410
UNAUTHORIZED_CODE, FORBIDDEN, THROTTLED = 4401, 4403, 4429
STREAMS_WAIT_SECONDS = 10
AWAY = "The database does not answer. Try again in a moment."


class Ended(Exception):
    """The stream ends here, for a reason that the client is told."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Peer:
    """A client that was let in. `input` is what it says, and stays empty unless the stream `listens`."""

    def __init__(self, socket: WebSocket, *, listens: bool = False) -> None:
        self.socket = socket
        self.input: asyncio.Queue[bytes] = asyncio.Queue(MOST_INPUT)
        self._listens = listens

    def query(self, name: str) -> str | None:
        """A parameter of the query; None when it is not given or empty."""
        return self.socket.query_params.get(name) or None

    async def send(self, frame: str) -> None:
        """One frame; waits while the client does not read, and raises Ended when it never does."""
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self.socket.send_text(frame)
        except TimeoutError:
            raise Ended("too slow: nothing was read for some minutes", TOO_SLOW) from None

    async def send_all(self, frames: Iterable[str]) -> None:
        """Many frames; others get their turn in between."""
        for number, frame in enumerate(frames):
            await self.send(frame)
            if number % FRAMES_IN_A_ROW == FRAMES_IN_A_ROW - 1:
                await asyncio.sleep(0)

    async def hear(self) -> None:
        """Listen until the client goes."""
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._listens:
                text = message.get("text")
                await self.input.put(text.encode() if text is not None else message.get("bytes") or b"")

    async def close(self, code: int, message: str | None = None) -> None:
        """End the conversation, with an error frame when there is something to say. Waits for nobody."""
        try:
            async with asyncio.timeout(LAST_FRAME_SECONDS):
                if message is not None:
                    await self.socket.send_text(error_frame(message))
                await self.socket.close(code)
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            return


Work = Callable[[Peer, Account], Awaitable[None]]


async def converse(socket: WebSocket, work: Work, right: Right, *, listens: bool, at_handshake: bool) -> None:
    """Let the client in and do the work, until it ends, the client goes, or it has the right no more (S8).

    `listens`: it matters what the client says.
    `at_handshake`: how a refusal is told, as an HTTP answer or as a frame on an accepted connection (spec 1.3).
    """
    if not _same_origin(socket):
        # Whoever is told so is a page in a browser: no client that this API is for.
        text = "Not permitted: this page's origin is not that of this server, nor one of TUTELA_ORIGINS."
        await _deny(socket, 403, body(text, "forbidden"))
        return
    try:
        principal = await _who(socket)
        account = principal.account
        if socket.path_params.get("namespace", account.username) != account.username:
            await _deny(socket, 404, body("There is nothing at this path.", "not_found"))
            return
        why = refusal(principal.role, principal.via, right)
        if why is not None:
            await _forbid(socket, why, at_handshake=at_handshake)
            return
    except Refused as error:
        if at_handshake:
            await _deny(socket, error.status_code, body(error.detail, error.code), error.headers)
        else:
            await socket.accept()
            await Peer(socket).close(UNAUTHORIZED_CODE, UNAUTHORIZED)
        return
    except DatabaseAway:
        if at_handshake:
            await _deny(socket, 503, body(AWAY, "database_away"), {"Retry-After": "2"})
        else:
            await socket.accept()
            await Peer(socket).close(LATER, AWAY)
        return
    wait = _too_many(socket, principal, execs=right is Right.WRITE)
    if wait is not None:
        if at_handshake:
            await _deny(socket, 429, body(wait[1], "throttled"), {"Retry-After": str(wait[0])})
        else:
            await socket.accept()
            await Peer(socket).close(THROTTLED, wait[1])
        return
    await socket.accept()
    peer = Peer(socket, listens=listens)
    hearing = asyncio.ensure_future(peer.hear())
    working = asyncio.ensure_future(_conclude(peer, work, account))
    watch: Watch = socket.app.state.watch
    async with watch.over(principal, right) as revoked:
        losing = asyncio.ensure_future(revoked.wait())
        try:
            await asyncio.wait({hearing, working, losing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (hearing, working, losing):
                task.cancel()
            await asyncio.gather(hearing, working, losing, return_exceptions=True)
        if revoked.is_set():
            log.info("stream ended", path=socket.scope["path"], reason="the right to it was taken away")
            await peer.close(UNAUTHORIZED_CODE, UNAUTHORIZED)


async def _who(socket: WebSocket) -> Principal:
    """Who it is, by header, by `user` and `token`, or by `auth`, a header's value (spec 1.3). Raises Refused."""
    header, query = socket.headers.get("authorization", ""), socket.query_params
    if not header and "token" in query:
        header = f"ApiKey {query.get('user', '')}:{query['token']}"
    known, _secret = await login(socket, header or query.get("auth", ""))
    identified(socket, known.principal)
    return known.principal


def _same_origin(socket: WebSocket) -> bool:
    """Whether the connection comes from no page of somebody else (S19). Clients that are no browsers name no origin, or
    the server's own."""
    origin = socket.headers.get("origin")
    if origin is None:
        return True
    config: Settings = socket.app.state.settings
    known = {socket.headers.get("host", ""), urlsplit(config.public_url).netloc}
    return origin in config.known_origins or urlsplit(origin).netloc in known - {""}


def _too_many(socket: WebSocket, principal: Principal, *, execs: bool) -> tuple[int, str] | None:
    """The seconds to wait, and why, when the key has too many streams open or began too many commands."""
    config: Settings = socket.app.state.settings
    watch: Watch = socket.app.state.watch
    caller = who_counts(principal)
    if watch.open_by(caller) >= config.limit_streams:
        return STREAMS_WAIT_SECONDS, f"This key has {config.limit_streams} streams open: close some first."
    wait = limits(socket).execs.take(caller) if execs else None
    return None if wait is None else (wait, f"Too many commands begun with this key: wait {wait} seconds.")


async def _forbid(socket: WebSocket, why: str, *, at_handshake: bool) -> None:
    entry: Entry = socket.scope["tutela.audit"]
    async with socket.app.state.db.transaction() as conn:
        await audit.write(conn, entry, 403)
    text = f"Not permitted: {why}."
    if at_handshake:
        await _deny(socket, 403, body(text, "forbidden"))
    else:
        await socket.accept()
        await Peer(socket).close(FORBIDDEN, text)


async def _conclude(peer: Peer, work: Work, account: Account) -> None:
    try:
        await work(peer, account)
        await peer.close(ENDED)
    except WebSocketDisconnect:
        return
    except Ended as end:
        log.info("stream ended", path=peer.socket.scope["path"], reason=str(end))
        await peer.close(end.code, str(end))
    except DomainError as error:
        code = UNKNOWN if isinstance(error, NotFound) else REFUSED if isinstance(error, Invalid) else CLASH
        await peer.close(code, str(error))
    except DatabaseAway:
        await peer.close(LATER, AWAY)
    except Exception:
        # The boundary of the connection: a defect ends it, is logged, and is told without details.
        log.exception("stream failed", path=peer.socket.scope["path"])
        await peer.close(INTERNAL, "Something went wrong on the server; its log has the details.")


async def _deny(
    socket: WebSocket, status: int, content: dict[str, object], headers: Mapping[str, str] | None = None
) -> None:
    await socket.send_denial_response(JSONResponse(content, status, dict(headers or {})))
