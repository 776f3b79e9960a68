"""The control plane's end of streams: it asks a node over its session, and the node dials back to who asks.

The session may be another control plane's: then that one is told by NOTIFY (who asks, whom, and a ticket; nothing of
what is wanted). A hint that is lost ends in an answer that says so, after DIAL_SECONDS. The ticket is random, serves
once, and only the node that was asked, by its certificate (RELIABILITY S26).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from agents.dialback import DialBack
from agents.stream_frames import ASKED, REQUEST, StreamAsked, StreamRequest
from domain.errors import Conflict
from domain.node import NodeState
from orchestrator.store import fleet, wake
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.fleet import Host

log = structlog.get_logger("streams")
DIAL_SECONDS = 2.0
"""From the question to the agent's connection."""

Tell = Callable[[StreamAsked], None]


@dataclass(slots=True)
class _Awaited:
    node_id: UUID
    arrived: asyncio.Future[ServerConnection]
    admitted: bool = False


class Dialbacks:
    """Streams that this process waits for, and the nodes whose sessions it holds.

    `url`: where agents reach this process; empty when they do not. `local_node` is the node of the agent in this
    process, `local` its end of streams, for control planes elsewhere.
    """

    def __init__(self, ident: UUID) -> None:
        self.url = ""
        self.local_node: UUID | None = None
        self.local: DialBack | None = None
        self._ident = ident
        self._awaited: dict[str, _Awaited] = {}
        self._holders: dict[UUID, Tell] = {}

    @contextlib.contextmanager
    def holding(self, node_id: UUID, tell: Tell) -> Iterator[None]:
        """This process has the node's session while the block lasts; `tell` must not block."""
        self._holders[node_id] = tell
        try:
            yield
        finally:
            if self._holders.get(node_id) is tell:
                del self._holders[node_id]

    def admit(self, ticket: str, node_id: UUID) -> bool:
        """Whether this node is waited for with this ticket; once."""
        awaited = self._awaited.get(ticket)
        if awaited is None or awaited.node_id != node_id or awaited.admitted:
            return False
        awaited.admitted = True
        return True

    def arrived(self, ticket: str, socket: ServerConnection) -> bool:
        """The node is there; False when nobody waits any more."""
        awaited = self._awaited.get(ticket)
        if awaited is None or awaited.arrived.done():
            return False
        awaited.arrived.set_result(socket)
        return True

    async def open(self, db: Database, host: Host, request: StreamRequest) -> ServerConnection:
        """A stream from the node, which knows what is wanted. Raises Conflict when it is away, DatabaseAway."""
        if host.state is not NodeState.DEPLOYED or host.served_by is None:
            raise Conflict(f"node {host.name} is {host.state.value}: it is read again once its agent is back")
        if not self.url:
            raise Conflict("agents cannot reach this control plane: its log says why; ask another one")
        ticket, arrived = secrets.token_hex(16), asyncio.get_running_loop().create_future()
        self._awaited[ticket] = _Awaited(host.node_id, arrived)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                here = host.served_by == self._ident and self._tell(host.node_id, ticket, self.url)
                if not here:
                    async with db.transaction() as conn:
                        await wake.stream(conn, host.node_id, ticket, self._ident)
                socket: ServerConnection = await arrived
                await socket.send(REQUEST.dump_json(request).decode())
                return socket
        except (TimeoutError, ConnectionClosed) as error:
            _abort(arrived)
            raise Conflict(
                f"node {host.name} did not answer within {DIAL_SECONDS:g} s:"
                f" it is away, or does not reach this control plane at {self.url}"
            ) from error
        except BaseException:
            _abort(arrived)
            raise
        finally:
            del self._awaited[ticket]

    async def relay(self, db: Database, hints: asyncio.Queue[str]) -> None:
        """Tell the nodes whose sessions are here what other control planes ask, until cancelled."""
        while True:
            hint = await hints.get()
            try:
                node_id, ticket, asker = hint.split()
                if not self._known(UUID(node_id)):
                    continue
                async with db.read() as conn:
                    url = await fleet.agent_url(conn, UUID(asker))
                if url is not None:
                    self._tell(UUID(node_id), ticket, url)
            except (ValueError, DatabaseAway) as error:
                log.warning("a stream that another control plane asks for is not told on", reason=str(error))

    def _known(self, node_id: UUID) -> bool:
        return node_id in self._holders or (self.local is not None and node_id == self.local_node)

    def _tell(self, node_id: UUID, ticket: str, url: str) -> bool:
        """Whether the node could be told from here."""
        asked = StreamAsked(ticket=ticket, url=url)
        tell = self._holders.get(node_id)
        if tell is not None:
            tell(asked)
        elif self.local is not None and node_id == self.local_node:
            self.local.asked("stream", ASKED.dump_python(asked))
        else:
            return False
        return True


def _abort(arrived: asyncio.Future[ServerConnection]) -> None:
    if arrived.done() and not arrived.cancelled():
        arrived.result().transport.abort()
