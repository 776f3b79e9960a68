"""The agents' door: a TLS listener of its own. What is not listed here is refused.

`/join` takes hosts without a certificate, and their secret; `/session` a node, by its certificate; `/stream/TICKET`
the node that was asked for that stream. An agent's calls are served by `NodeCalls`, each in a task of its own, few at
a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import structlog
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from agents import dialback, frames
from agents.frames import Broken, Credential, Join
from agents.stream_frames import ASKED, MOST_STREAM, StreamAsked
from app.fleet import bounds
from app.fleet.authority import NODE_DAYS, Authority, key_digest
from app.fleet.calls import ControlPlane, NodeCalls, reaching
from app.fleet.revoked import watch
from app.fleet.tokens import secret_hash
from app.limits import FAILED_JOINS, Buckets, neighbourhood
from app.settings import Settings
from domain.assignment import LedgerWanted, SessionLost
from domain.errors import DomainError, Invalid, NotAllowed
from orchestrator import enrolment
from orchestrator.store.db import Database

log = structlog.get_logger("door")
MOST_JOINING = 16
MOST_WAITING = 32
"""Connections that wait to be taken; more are made to try again by their kernels. All that wait are taken at once, and
some hundred handshakes in one turn of the loop would make those late who are there already."""

MOST_JOIN_BYTES = 64 * 1024
JOIN_SECONDS = 10.0
MUTE_SECONDS = 15.0
"""A session that does not beat for so long is ended."""

STREAM_PING_SECONDS, STREAM_PONG_SECONDS = 1.0, 4.0
"""A reader of logs shall not wait long on a host that is cut off."""

TELL_SECONDS = 2.0
LISTEN_AGAIN_SECONDS = 5.0
REFRESH_SECONDS = 24 * 3600.0


class Door:
    """Serves the agents that dial this process."""

    def __init__(self, settings: Settings, db: Database, shared: ControlPlane, authority: Authority) -> None:
        self._settings = settings
        self._db = db
        self._shared = shared
        self._authority = authority
        self._joining = 0
        self._failed = Buckets(FAILED_JOINS)
        self._sessions: dict[UUID, _Session] = {}

    async def run(self) -> None:
        """Listen until cancelled."""
        context = await asyncio.to_thread(self._authority.server_context)
        host, port = self._settings.agent_host, self._settings.agent_port
        refreshing = asyncio.create_task(self._refresh(context), name="door certificate")
        try:
            while True:
                try:
                    async with serve(
                        self._converse,
                        host,
                        port,
                        ssl=context,
                        process_request=self._admit,
                        max_size=frames.MOST_UP,
                        open_timeout=10,
                        backlog=MOST_WAITING,
                        ping_interval=5,
                        ping_timeout=10,
                        close_timeout=1,
                        # What hosts say is short: packing costs more than it saves, and 60 KB for each of them.
                        compression=None,
                        server_header=None,
                    ):
                        log.info("agents are served", host=host, port=port)
                        await asyncio.get_running_loop().create_future()
                except OSError as error:
                    log.error(
                        "agents cannot be served: is the port taken? Then set TUTELA_AGENT_PORT",
                        host=host,
                        port=port,
                        reason=str(error),
                    )
                    await asyncio.sleep(LISTEN_AGAIN_SECONDS)
        finally:
            refreshing.cancel()
            await asyncio.gather(refreshing, return_exceptions=True)

    async def _refresh(self, context: ssl.SSLContext) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await asyncio.to_thread(self._authority.refresh, context)
            except OSError as error:
                log.warning("the certificate of this control plane is not renewed", reason=str(error))

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Before the handshake is answered: None lets the connection in."""
        if request.path == frames.JOIN_PATH:
            if self._joining >= MOST_JOINING:
                return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many hosts join now\n")
            connection.protocol.max_message_size = MOST_JOIN_BYTES
            return None
        if request.path == frames.SESSION_PATH:
            if _node_of(connection, self._authority) is None:
                return connection.respond(http.HTTPStatus.UNAUTHORIZED, "a node's certificate is needed\n")
            connection.protocol.max_message_size = frames.MOST_DOWN if self._shared.rebuilding else frames.MOST_UP
            connection.ping_interval = None  # it pings, and is to beat
            return None
        if request.path.startswith(frames.STREAM_PATH):
            return self._admit_stream(connection, request.path.removeprefix(frames.STREAM_PATH))
        return connection.respond(http.HTTPStatus.NOT_FOUND, "there is nothing at this path\n")

    def _admit_stream(self, connection: ServerConnection, ticket: str) -> Response | None:
        node_id = _node_of(connection, self._authority)
        if node_id is None:
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "a node's certificate is needed\n")
        if not self._shared.dialbacks.admit(ticket, node_id):
            log.warning("a stream was refused", node_id=str(node_id), peer=_address(connection))
            return connection.respond(http.HTTPStatus.FORBIDDEN, "this node is not waited for with this ticket\n")
        connection.protocol.max_message_size = MOST_STREAM
        connection.ping_interval, connection.ping_timeout = STREAM_PING_SECONDS, STREAM_PONG_SECONDS
        return None

    async def _stream(self, socket: ServerConnection, ticket: str, node_id: UUID) -> None:
        """Hand it to who waits for it; until either side ends it or the node is taken out."""
        if not self._shared.dialbacks.arrived(ticket, socket):
            await socket.close()
            return
        watching = asyncio.create_task(watch(self._db, self._shared, node_id, socket), name=f"stream of {node_id}")
        try:
            await socket.wait_closed()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _converse(self, socket: ServerConnection) -> None:
        assert socket.request is not None  # noqa: S101 - admitted
        try:
            if socket.request.path == frames.JOIN_PATH:
                await self._join(socket)
            else:
                node_id = _node_of(socket, self._authority)
                assert node_id is not None  # noqa: S101 - admitted
                if socket.request.path.startswith(frames.STREAM_PATH):
                    await self._stream(socket, socket.request.path.removeprefix(frames.STREAM_PATH), node_id)
                    return
                await _Session(self._db, self._shared, self._authority, node_id, socket).serve()
        except ConnectionClosed:
            return
        except Exception:
            # The boundary of the connection: a defect ends it and is logged.
            log.exception("a conversation with an agent failed")

    async def _join(self, socket: ServerConnection) -> None:
        self._joining += 1
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                frame = frames.parse(await socket.recv())
                number = int(frame.get("id", 0))
                try:
                    await socket.send(await self._join_call(number, frame, _address(socket)))
                except (DomainError, ConnectionError) as error:
                    log.warning("a host was not let in", peer=_address(socket), reason=str(error))
                    await socket.send(frames.failure(number, error))
        except (TimeoutError, Broken, ValueError, TypeError):
            await socket.close(frames.BROKEN_CODE)
        finally:
            self._joining -= 1

    async def _join_call(self, number: int, frame: dict[str, Any], ip: str) -> str:
        match frame.get("call"):
            case "authority":
                return frames.answer(number, frames.AUTHORITY, frames.AuthorityFound(certificate=self._authority.pem))
            case "join":
                asked = frames.read(frames.JOIN, frame.get("body"))
                return frames.answer(number, frames.CREDENTIAL, await self._enrol_slowly(asked, ip))
            case _:
                raise Broken("not a call of a joining host")

    async def _enrol_slowly(self, asked: Join, ip: str) -> Credential:
        """Where many wrong tokens came from, nobody is heard for a while (RELIABILITY S10)."""
        place = neighbourhood(ip)
        wait = self._failed.waiting(place)
        if wait is not None:
            raise NotAllowed(f"too many wrong tokens came from this address: try again in {wait} seconds")
        try:
            return await self._enrol(asked, ip)
        except NotAllowed:
            self._failed.take(place)
            raise

    async def _enrol(self, asked: Join, ip: str) -> Credential:
        key = key_digest(asked.request)
        node = await reaching(
            enrolment.enrol(
                self._db,
                secret_hash=secret_hash(asked.secret),
                key_hash=key,
                name=asked.name,
                engine=bounds.engine(asked.engine),
                days=NODE_DAYS,
                ip=ip,
            )
        )
        log.info("a host joined", node=node.name, node_id=str(node.id))
        return self._credential(asked.request, node.id, node.name)

    def _credential(self, request: str, node_id: UUID, name: str) -> Credential:
        return credential(self._authority, self._shared, request, node_id, name)


def credential(authority: Authority, shared: ControlPlane, request: str, node_id: UUID, name: str) -> Credential:
    """The node's certificate for the key in its request, and what else it must know. Raises Invalid."""
    return Credential(
        cluster_id=str(authority.cluster_id),
        node_id=str(node_id),
        name=name,
        certificate=authority.issue(request, node_id),
        authority=authority.pem,
        control_planes=shared.urls,
    )


class _Session:
    """One agent's connection."""

    def __init__(
        self, db: Database, shared: ControlPlane, authority: Authority, node_id: UUID, socket: ServerConnection
    ) -> None:
        self._db = db
        self._shared = shared
        self._authority = authority
        self._node_id = node_id
        self._socket = socket
        self._calls = NodeCalls(shared, node_id)
        self._heard = asyncio.get_running_loop().time()
        self._greeting = False
        self._telling: set[asyncio.Task[None]] = set()
        self._handlers: dict[str, Callable[[int, Any], Awaitable[str]]] = {
            "register": self._register,
            "assignments": self._assignments,
            "report": self._report,
            "beat": self._beat,
            "renew": self._renew,
        }

    async def serve(self) -> None:
        """Until either side ends it."""
        reading = asyncio.create_task(self._read(), name=f"session {self._node_id}")
        watching = asyncio.create_task(
            watch(self._db, self._shared, self._node_id, self._socket), name=f"revocation {self._node_id}"
        )
        listening = asyncio.create_task(self._mute(), name=f"beats of {self._node_id}")
        tasks = {reading, watching, listening}
        try:
            with self._shared.dialbacks.holding(self._node_id, self._tell):
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._calls.end()
            tasks |= self._telling
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(ConnectionClosed):
                await self._socket.close()

    async def _read(self) -> None:
        open_calls: set[asyncio.Task[None]] = set()
        try:
            async for text in self._socket:
                frame = frames.parse(text)
                number, name = frame.get("id"), frame.get("call")
                if not isinstance(number, int) or not isinstance(name, str):
                    raise Broken("not a call")
                if len(open_calls) >= frames.MOST_CALLS:
                    raise Broken("too many calls at once")
                task = asyncio.create_task(self._answer(number, name, frame.get("body")))
                open_calls.add(task)
                task.add_done_callback(open_calls.discard)
        except Broken as error:
            log.warning("an agent was cut off", node_id=str(self._node_id), reason=str(error))
            await self._socket.close(frames.BROKEN_CODE, str(error)[:100])
        finally:
            for task in open_calls:
                task.cancel()
            await asyncio.gather(*open_calls, return_exceptions=True)

    async def _answer(self, number: int, name: str, body: Any) -> None:
        handler = self._handlers.get(name)
        try:
            if handler is None:
                raise NotAllowed(f"this control plane does not know the call {name[:40]}")
            text = await handler(number, body)
        except (SessionLost, LedgerWanted, DomainError, ConnectionError) as error:
            text = frames.failure(number, error)
        except Broken as error:
            text = frames.failure(number, Invalid({name: str(error)}))
        except Exception as error:
            log.exception("an agent's call failed", call=name, node_id=str(self._node_id))
            text = frames.failure(number, ConnectionError(f"the control plane failed ({type(error).__name__})"))
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(text)

    async def _register(self, number: int, body: Any) -> str:
        self._greeting = True  # which may wait for its turn when many come at once
        try:
            begun = await self._calls.register(frames.read(frames.HELLO, body))
        finally:
            self._greeting = False
            self._heard = asyncio.get_running_loop().time()
        return frames.answer(number, frames.REGISTRATION, begun)

    async def _assignments(self, number: int, body: Any) -> str:
        asked = frames.read(frames.SINCE, body)
        return frames.answer(number, frames.ASSIGNMENTS, await self._calls.assignments(asked.registration, asked.since))

    async def _report(self, number: int, body: Any) -> str:
        await self._calls.report(frames.read(frames.REPORT, body))
        return frames.answer_again(number, frames.DONE, frames.Done())

    async def _beat(self, number: int, body: Any) -> str:
        heard = await self._calls.beat(frames.read(frames.BEAT, body))
        self._heard = asyncio.get_running_loop().time()
        return frames.answer_again(number, frames.HEARD, heard)

    async def _renew(self, number: int, body: Any) -> str:
        asked = frames.read(frames.RENEWAL, body)
        node = await reaching(
            enrolment.renew(self._db, self._node_id, key_hash=key_digest(asked.request), days=NODE_DAYS)
        )
        log.info("a node's certificate was renewed", node=node.name)
        return frames.answer(
            number,
            frames.CREDENTIAL,
            credential(self._authority, self._shared, asked.request, node.id, node.name),
        )

    def _tell(self, asked: StreamAsked) -> None:
        """The agent is to dial back. A session that takes no more is ended by itself."""
        task = asyncio.create_task(self._say(frames.ask(dialback.ASK, ASKED.dump_python(asked))))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _say(self, text: str) -> None:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(TELL_SECONDS):
                await self._socket.send(text)

    async def _mute(self) -> None:
        """End a session that says nothing: the next one will be of an agent that does."""
        loop = asyncio.get_running_loop()
        while True:
            if self._greeting:
                self._heard = loop.time()
            left = self._heard + MUTE_SECONDS - loop.time()
            if left <= 0:
                await self._socket.close(frames.BROKEN_CODE, "no beats")
                return
            await asyncio.sleep(left)


def _node_of(connection: ServerConnection, authority: Authority) -> UUID | None:
    """The node in the peer's certificate, which TLS has verified; None without one."""
    tls = connection.transport.get_extra_info("ssl_object")
    certificate = tls.getpeercert() if tls is not None else None
    if not certificate:
        return None
    named = {key: value for part in certificate.get("subject", ()) for key, value in part}
    if named.get("organizationName") != str(authority.cluster_id):
        return None
    try:
        return UUID(named.get("commonName", ""))
    except ValueError:
        return None


def _address(socket: ServerConnection) -> str:
    peer = socket.remote_address
    return str(peer[0]) if isinstance(peer, tuple) else ""
