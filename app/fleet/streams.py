"""Logs of and commands in any container of any node, from any process that serves users.

What is on the node of this process's own agent is read there; for the rest the node dials back. The same interface
either way (app.wire.logs.Streams).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from agents import frames, stream_frames
from agents.frames import Broken
from agents.newest import Newest, few_at_once
from agents.stream_frames import MORE, StreamKind, StreamRequest
from agents.streams import LogLine
from app.fleet.console import RemoteConsole
from app.fleet.dialbacks import Dialbacks
from app.wire.logs import Console, Streams
from app.wire.logs import LogLine as Line
from domain.errors import Conflict, DomainError, NotAllowed
from orchestrator.store import fleet
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.fleet import Host

log = structlog.get_logger("streams")
READ_SECONDS = 15.0
"""For the last lines of all containers of one node."""

ALL_SECONDS = 30.0
"""For those of all nodes; where they take longer, lines are missing."""

MOST_ASKED = 16
"""Nodes that dial back at a time for one reader: a thousand at once would not all be there in time."""

MOST_TOLD = 10
"""Nodes whose lines are missing that are named."""

BEGIN_SECONDS = 15.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
NOBODY = UUID(int=0)
"""Whose line it is that some lines are missing."""


class FleetStreams:
    """Reads wherever a container is. `local`: the streams of the agent in this process, if there is one."""

    def __init__(self, db: Database, dialbacks: Dialbacks, local: Streams | None) -> None:
        self._db = db
        self._dialbacks = dialbacks
        self._local = local

    async def logs(self, container_ids: Sequence[UUID], tail: int) -> Sequence[Line]:
        """The last `tail` lines of the containers, by time, and before them the last line of each that has none among
        these. Those of nodes that are away are left out, which a line says.

        Raises Conflict when nothing can be read, DatabaseAway.
        """
        groups: dict[UUID, list[Host]] = {}
        for host in (await self._hosts(container_ids)).values():
            groups.setdefault(host.node_id, []).append(host)
        newest, failed = Newest[Line](tail), list[DomainError]()
        until = asyncio.get_running_loop().time() + ALL_SECONDS

        async def ask(hosts: Sequence[Host]) -> None:
            error = await self._tail(hosts, tail, newest, until)
            if error is not None:
                failed.append(error)

        await few_at_once(MOST_ASKED, ask, groups.values())
        if failed and len(failed) == len(groups):
            raise Conflict(_told(failed))
        lines = newest.lines()
        if failed:
            stamp = max([datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z"), *(x.timestamp for x in lines[-1:])])
            text = f"Tutela: lines are missing: {_told(failed)}"
            lines.append(LogLine(container_id=NOBODY, stream="stderr", timestamp=stamp, text=text))
        return lines

    async def follow(self, container_id: UUID, after: str | None) -> AsyncGenerator[Sequence[Line], None]:
        """What it writes, also when its node was away meanwhile. Ends when it is gone for good."""
        pause = FIRST_PAUSE
        while True:
            try:
                host = (await self._hosts([container_id])).get(container_id)
                if host is None:
                    return
                async with contextlib.aclosing(self._follow(host, after)) as pieces:
                    async for piece in pieces:
                        after, pause = piece[-1].timestamp, FIRST_PAUSE
                        yield piece
                return
            except (DomainError, DatabaseAway, ConnectionError) as error:
                log.debug("logs are cut", container=str(container_id), reason=str(error))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, LONGEST_PAUSE)

    async def exec(self, container_id: UUID, command: Sequence[str]) -> Console:
        """Run a command with a terminal in a running container. Raises NotAllowed, Conflict."""
        host = (await self._hosts([container_id])).get(container_id)
        if host is None:
            raise NotAllowed("the container is gone")
        local = self._here(host)
        if local is not None:
            return await local.exec(container_id, command)
        request = StreamRequest(kind=StreamKind.EXEC, containers=(container_id,), command=tuple(command))
        socket = await self._dialbacks.open(self._db, host, request)
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                await _begun(socket, host)
        except BaseException as error:
            await socket.close()
            if isinstance(error, TimeoutError):
                raise Conflict(f"node {host.name} did not begin the command in time") from error
            raise
        return RemoteConsole(socket, host.name)

    async def _hosts(self, container_ids: Sequence[UUID]) -> dict[UUID, Host]:
        async with self._db.read() as conn:
            return await fleet.hosts_of(conn, container_ids)

    def _here(self, host: Host) -> Streams | None:
        return self._local if host.node_id == self._dialbacks.local_node else None

    async def _tail(self, hosts: Sequence[Host], tail: int, newest: Newest[Line], until: float) -> DomainError | None:
        """Add the lines of one node's containers as they come; why some are missing, if any are."""
        host, ids = hosts[0], tuple(each.container_id for each in hosts)
        try:
            async with asyncio.timeout_at(min(until, asyncio.get_running_loop().time() + READ_SECONDS)):
                local = self._here(host)
                if local is not None:
                    newest.add(await local.logs(ids, tail))
                    return None
                request = StreamRequest(kind=StreamKind.LOGS, containers=ids, tail=tail)
                async with contextlib.aclosing(self._read(host, request)) as pieces:
                    async for piece in pieces:
                        newest.add(piece)
                return None
        except (TimeoutError, ConnectionError) as error:
            return Conflict(f"node {host.name}: {str(error) or 'it took too long'}")
        except DomainError as error:
            return error

    def _follow(self, host: Host, after: str | None) -> AsyncGenerator[Sequence[Line], None]:
        local = self._here(host)
        if local is not None:
            return local.follow(host.container_id, after)
        request = StreamRequest(kind=StreamKind.FOLLOW, containers=(host.container_id,), after=after)
        return self._read(host, request)

    async def _read(self, host: Host, request: StreamRequest) -> AsyncGenerator[Sequence[Line], None]:
        """The pieces of a stream up to its end. Raises DomainError, ConnectionError when it is cut."""
        socket = await self._dialbacks.open(self._db, host, request)
        try:
            while True:
                frame = frames.parse(await socket.recv())
                failed = frames.failed(frame)
                if failed is not None:
                    raise failed
                if "end" in frame:
                    return
                yield stream_frames.read_lines(frame, request.containers)
                with contextlib.suppress(ConnectionClosed):  # what came before the end is read all the same
                    await socket.send(MORE)
        except ConnectionClosed as error:
            raise ConnectionError("the connection to the node was cut") from error
        except Broken as error:
            log.warning("a node's stream was cut off", node=host.name, reason=str(error))
            raise ConnectionError("the node says something that is no log") from error
        finally:
            await socket.close()


def _told(failed: Sequence[DomainError]) -> str:
    """Why lines are missing."""
    more = [f"{len(failed) - MOST_TOLD} nodes more"] if len(failed) > MOST_TOLD else []
    return "; ".join([*map(str, failed[:MOST_TOLD]), *more])


async def _begun(socket: ServerConnection, host: Host) -> None:
    """The process runs. Raises NotAllowed, Conflict."""
    try:
        frame = frames.parse(await socket.recv())
    except (ConnectionClosed, Broken) as error:
        raise Conflict(f"the connection to node {host.name} was cut") from error
    failed = frames.failed(frame)
    if isinstance(failed, DomainError):
        raise failed
    if failed is not None or "begun" not in frame:
        raise Conflict(f"node {host.name} could not begin the command")
