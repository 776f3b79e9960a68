"""The way between agents and control planes: `ControlChannel` over the real frames and the real NodeCalls.

A connection is as one over TCP: what was sent arrives in order or late, or the connection ends and nobody knows what
was carried out. A link can be cut in both directions or in one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents import frames
from app.fleet.calls import NodeCalls
from domain.assignment import Beat, Heard, NodeAssignments, NodeHello, NodeReport, Registration
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.plane import Plane

BEAT_SECONDS = 8.0
PONG_SECONDS = 3.0
"""After so long without a sign of the other side a connection is given up."""


@dataclass(slots=True, kw_only=True)
class Weather:
    """By seed: the slowest way of a message in seconds, and shares of calls that are cut before or after they were
    carried out, and of reports that come twice, the second time late."""

    slowest: float = 0.01
    cut_before: float = 0.0
    cut_after: float = 0.0
    twice: float = 0.0


@dataclass(slots=True)
class Link:
    """Of one host to all control planes. Each direction passes or not."""

    up: asyncio.Event = field(default_factory=asyncio.Event)
    down: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.heal()

    @property
    def whole(self) -> bool:
        """Whether both directions pass."""
        return self.up.is_set() and self.down.is_set()

    def heal(self) -> None:
        """Both directions pass."""
        self.up.set()
        self.down.set()


class Connection:
    """One connection of one agent process to one control plane process."""

    def __init__(self, plane: Plane, calls: NodeCalls, chance: random.Random) -> None:
        self._chance = chance
        self.plane = plane
        self.calls = calls
        self.process = plane.process
        self.open = True
        self.waiting: dict[int, asyncio.Future[str]] = {}
        self.serving: list[asyncio.Task[Any]] = []

    def close(self, reason: str) -> None:
        """Whoever waits for an answer is told. What was sent before may be read before the end of the connection is."""
        if not self.open:
            return
        self.open = False
        self.calls.end()
        for each in self.waiting.values():
            if not each.done():
                each.set_exception(ConnectionError(reason))
                each.exception()
        for task in self.serving:
            if self._chance.random() < 0.5:
                task.cancel()


class Channel:
    """An agent process's channel."""

    def __init__(
        self,
        process: Process,
        link: Link,
        weather: Weather,
        chance: random.Random,
        planes: Callable[[], list[Plane]],
        leased: Callable[[], None],
    ) -> None:
        """`leased` is called when the agent is told that it was heard."""
        self._process = process
        self._link = link
        self._weather = weather
        self._chance = chance
        self._planes = planes
        self._leased = leased
        self._connection: Connection | None = None
        self._number = 0

    async def register(self, hello: NodeHello) -> Registration:
        await self._process.reach()
        if self._connection is not None:
            self._connection.close("connected anew")
            self._connection = None
        planes = [each for each in self._planes() if each.up]
        await asyncio.sleep(self._way())
        if not self._link.whole:
            await asyncio.sleep(self._chance.uniform(0.5, 2.0))
            raise ConnectionError("no control plane is reached")
        if not planes:
            raise ConnectionError("connection refused")
        plane = self._chance.choice(planes)
        self._connection = connection = Connection(plane, NodeCalls(plane.shared), self._chance)
        plane.connections.append(connection)
        self._process.spawn(self._watch(connection))
        begun: Registration = await self._call(
            "register", frames.HELLO, hello, frames.REGISTRATION, connection.calls.register
        )
        self._leased()
        return begun

    async def assignments(self, registration: Registration, since: int) -> NodeAssignments:
        calls = self._here().calls

        async def work(asked: frames.Since) -> NodeAssignments:
            return await calls.assignments(asked.registration, asked.since)

        asked = frames.Since(registration=registration, since=since)
        news: NodeAssignments = await self._call("assignments", frames.SINCE, asked, frames.ASSIGNMENTS, work)
        return news

    async def report(self, report: NodeReport) -> None:
        calls = self._here().calls

        async def work(told: NodeReport) -> frames.Done:
            await calls.report(told)
            return frames.Done()

        await self._call("report", frames.REPORT, report, frames.DONE, work)

    async def beat(self, beat: Beat) -> Heard:
        calls = self._here().calls
        async with asyncio.timeout(BEAT_SECONDS):
            heard: Heard = await self._call("beat", frames.BEAT, beat, frames.HEARD, calls.beat)
            self._leased()
            return heard

    def _here(self) -> Connection:
        if self._connection is None or not self._connection.open:
            raise ConnectionError("not connected")
        return self._connection

    def _way(self) -> float:
        return self._chance.uniform(0.0003, self._weather.slowest)

    async def _watch(self, connection: Connection) -> None:
        """Pings: a link that is cut for too long ends the connection, for both sides."""
        silent = 0.0
        while connection.open:
            await asyncio.sleep(0.5)
            silent = 0.0 if self._link.whole and not connection.process.frozen else silent + 0.5
            if silent >= PONG_SECONDS or not connection.process.alive:
                connection.close("the connection ended")

    async def _call(self, name: str, up: Any, body: Any, down: Any, work: Callable[[Any], Awaitable[Any]]) -> Any:
        await self._process.reach()
        connection, chance, weather = self._here(), self._chance, self._weather
        self._number += 1
        number = self._number
        text = frames.call(number, name, up, body)
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.waiting[number] = waiting
        lot = chance.random()
        if lot < weather.cut_before:
            connection.close("the connection was cut")
        else:
            cut = lot < weather.cut_before + weather.cut_after
            self._serve(connection, number, text, up, down, work, cut=cut)
            if name == "report" and chance.random() < weather.twice:
                later = chance.uniform(0.1, 3.0)
                self._serve(connection, -number, text, up, down, work, cut=False, later=later)
        try:
            answer = await waiting
        finally:
            connection.waiting.pop(number, None)
        await self._process.reach()
        frame = frames.parse(answer)
        failed = frames.failed(frame)
        if failed is not None:
            raise failed
        return frames.read(down, frame.get("body"))

    def _serve(
        self,
        connection: Connection,
        number: int,
        text: str,
        up: Any,
        down: Any,
        work: Callable[[Any], Awaitable[Any]],
        *,
        cut: bool,
        later: float = 0.0,
    ) -> None:
        async def serving() -> None:
            await asyncio.sleep(self._way() + later)
            await self._link.up.wait()
            await connection.process.reach()
            request = frames.read(up, frames.parse(text)["body"])
            try:
                answer = frames.answer(number, down, await work(request))
            except Exception as error:
                answer = frames.failure(number, error)
            if cut:
                connection.close("the connection was cut")
                return
            await asyncio.sleep(self._way())
            await self._link.down.wait()
            waiting = connection.waiting.get(number)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

        connection.serving = [each for each in connection.serving if not each.done()]
        connection.serving.append(connection.process.spawn(serving()))
