"""What a node's containers write, and commands in them: by our ids, over all the engine containers that one of ours
has in its life.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog

from agents.newest import Newest, few_at_once
from agents.runtime.base import Console, ContainerRuntime, RawLine, RuntimeBusy, RuntimeFailed, RuntimeRefused
from agents.view import EngineState, ObservedContainer
from domain.errors import Conflict, NotAllowed

log = structlog.get_logger("agent")
LOG_LINES = 10_000
READ_AT_ONCE = 4
"""Containers whose last lines are read at a time: each may have LOG_LINES in memory until they are merged."""
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
LOOK_AGAIN_SECONDS = 5.0
_UP = frozenset({EngineState.RUNNING, EngineState.PAUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a container wrote; `timestamp` is RFC 3339 with nanoseconds."""

    container_id: UUID
    stream: str
    timestamp: str
    text: str


@dataclass(frozen=True, slots=True)
class _Life:
    """One run of one engine container."""

    engine_id: str
    started_at: datetime | None
    up: bool


class ContainerStreams:
    """Fed by the agent's passes; read by whoever serves users."""

    def __init__(self, runtime: ContainerRuntime) -> None:
        self._runtime = runtime
        self._lives: dict[UUID, _Life] = {}
        self._expected: frozenset[UUID] = frozenset()
        self._changed = asyncio.Event()

    def seen(
        self,
        containers: Iterable[ObservedContainer],
        where: Mapping[UUID, str],
        *,
        unknown: Collection[UUID],
        expected: Iterable[UUID],
    ) -> None:
        """A pass has looked: `where` says which engine container is which of ours, `expected` which shall be here."""
        kept = {key: life for key, life in self._lives.items() if key in unknown}
        self._lives = kept | {
            each.container_id: _Life(each.engine_id, each.started_at, each.state in _UP)
            for each in containers
            if where.get(each.container_id) == each.engine_id
        }
        self._expected = frozenset(expected)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def logs(self, container_ids: Iterable[UUID], tail: int) -> list[LogLine]:
        """The last `tail` lines of the containers that are here, by time; before them the last line of each that has
        none among these. Raises Conflict while the engine is away.
        """
        here = [(each, self._lives[each].engine_id) for each in container_ids if each in self._lives]
        tail = max(0, min(tail, LOG_LINES))
        newest = Newest[LogLine](tail)

        async def read(one: tuple[UUID, str]) -> None:
            container_id, engine_id = one
            newest.add(_line(container_id, line) for line in await self._tail(engine_id, tail))

        await few_at_once(READ_AT_ONCE, read, here)
        return newest.lines()

    async def _tail(self, engine_id: str, tail: int) -> Sequence[RawLine]:
        try:
            return await self._runtime.logs(engine_id, tail=tail)
        except RuntimeRefused:
            return ()  # it went meanwhile
        except RuntimeBusy as error:
            raise Conflict(f"the logs cannot be read now: {error}") from error

    async def follow(self, container_id: UUID, after: str | None) -> AsyncGenerator[Sequence[LogLine], None]:
        """What the container writes, as it comes, in pieces; over restarts, and over its being made anew.

        `after` is the timestamp of the last line that is known already, None when all are wanted. Waits while the
        container is not here yet; ends when it was here and is gone. `aclose` it.
        """
        known, engine_id, pause = False, "", FIRST_PAUSE
        done: _Life | None = None
        while True:
            changed, life = self._changed, self._lives.get(container_id)
            if life is None and known and container_id not in self._expected:
                return
            if life is not None and life != done:
                if known and life.engine_id != engine_id:
                    after = None
                known, engine_id = True, life.engine_id
                try:
                    async with contextlib.aclosing(self._follow(container_id, engine_id, after)) as pieces:
                        async for piece in pieces:
                            after, pause = piece[-1].timestamp, FIRST_PAUSE
                            yield piece
                    done = life
                except RuntimeFailed as error:
                    log.debug("logs are cut", container=str(container_id), reason=str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    continue
            try:
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await changed.wait()
            except TimeoutError:
                # The engine ended the stream of a container that runs: it was restarted and kept its containers.
                done = None if life is not None and life.up else done

    async def _follow(
        self, container_id: UUID, engine_id: str, after: str | None
    ) -> AsyncGenerator[list[LogLine], None]:
        """One connection. `after` itself, which the engine sends again, is left out, and so is what it sends again
        when it rotates its files: the lines of one stream are in the order of time.
        """
        newest = {} if after is None else dict.fromkeys(("stdout", "stderr"), after)
        async with contextlib.aclosing(self._runtime.follow(engine_id, since=after)) as pieces:
            async for piece in pieces:
                fresh = []
                for each in piece:
                    last = newest.get(each.stream, "")
                    # A line from the past after one from the future is new: the clock was set back.
                    if each.timestamp > last or last > _stamp():
                        newest[each.stream] = each.timestamp
                        fresh.append(_line(container_id, each))
                if fresh:
                    yield fresh

    async def exec(self, container_id: UUID, command: Sequence[str]) -> Console:
        """Run a command with a terminal in a running container. Raises NotAllowed, Conflict."""
        life = self._lives.get(container_id)
        if life is None:
            raise NotAllowed("the container is not on its node")
        try:
            return _Console(await self._runtime.exec(life.engine_id, command))
        except RuntimeRefused as error:
            raise NotAllowed(error.reason) from error
        except RuntimeBusy as error:
            raise Conflict(str(error)) from error


class _Console:
    """The runtime's console in the words of the domain: raises Conflict when the way to the process is cut."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def read(self) -> bytes:
        try:
            return await self._console.read()
        except RuntimeFailed as error:
            raise Conflict(str(error)) from error

    async def write(self, data: bytes) -> None:
        try:
            await self._console.write(data)
        except RuntimeFailed as error:
            raise Conflict(str(error)) from error

    async def close(self) -> None:
        await self._console.close()


def _line(container_id: UUID, raw: RawLine) -> LogLine:
    return LogLine(container_id=container_id, stream=raw.stream, timestamp=raw.timestamp, text=raw.text)


def _stamp() -> str:
    """Now, as the engine writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
