"""Hosts without engines: agents that speak the real protocol, many in one process: `python -m bench._fleet FOLDER`.

Session, channel, TLS, certificate and ledger are the product's own; only the engine is a model: what is to run runs
after a fixed delay, what is to go is gone, an image is always there. Ledgers stay in memory, since each host would
write its own to a disk of its own. The process is told what to do on stdin and answers on stdout, one JSON a line.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
import uvloop

from agents import credentials, enrol
from agents.channel_socket import SocketChannel
from agents.credentials import Membership
from agents.frames import Join
from agents.ledger import Ledger
from agents.session import Session
from domain.assignment import (
    ContainerAssignment,
    EngineInfo,
    ImageRequest,
    ImageResult,
    NodeAssignments,
    NodeHello,
    NodeReport,
    Registration,
)
from domain.container import Observed, Seen, Want
from domain.image import ResolvedImage

JOINS_AT_ONCE = 8
JOIN_TRIES = 100
MEMORY, CPUS = 65536, 16


class Tally:
    """What all agents of this process did."""

    def __init__(self) -> None:
        self.received: list[tuple[str, float]] = []
        self.reports = self.reported = self.registrations = 0
        self.report_seconds: list[float] = []
        self.last_report = 0.0

    def clear(self) -> None:
        """Count from here."""
        self.received, self.report_seconds = [], []
        self.reports = self.reported = self.registrations = 0


class MeasuredChannel(SocketChannel):
    """The agent's own channel; notes when it hears what."""

    def __init__(self, directory: Path, membership: Membership, tally: Tally) -> None:
        super().__init__(directory, membership)
        self._tally = tally
        self._heard_of: set[UUID] = set()
        self.registered_at = self.told_at = 0.0

    async def register(self, hello: NodeHello) -> Registration:
        found = await super().register(hello)
        self.registered_at = time.monotonic()
        self._tally.registrations += 1
        return found

    async def assignments(self, registration: Registration, since: int) -> NodeAssignments:
        news = await super().assignments(registration, since)
        at = time.monotonic()
        if news.base == 0:
            self.told_at = at
        for each in news.containers:
            if each.want is Want.RUN and each.container_id not in self._heard_of:
                self._heard_of.add(each.container_id)
                self._tally.received.append((str(each.service_id), at))
        return news

    async def report(self, report: NodeReport) -> None:
        began = time.monotonic()
        await super().report(report)
        self._tally.last_report = time.monotonic()
        self._tally.report_seconds.append(self._tally.last_report - began)
        self._tally.reports += 1
        self._tally.reported += len(report.containers)

    def cut(self) -> None:
        """The connection is gone at once, as when a link or the other side dies."""
        if self._socket is not None:
            self._socket.transport.abort()


class ModelNode:
    """A host: the product's agent protocol over an engine that is a model. `delay` in seconds, of a start or a stop."""

    def __init__(self, directory: Path, membership: Membership, delay: float, tally: Tally) -> None:
        self._ledger = Ledger(directory)
        self._delay = delay
        self._orders: dict[UUID, tuple[Want, int]] = {}
        self._under_way = 0
        self.channel = MeasuredChannel(directory, membership, tally)
        self.session = Session(
            name=membership.name, channel=self.channel, ledger=self._ledger, wake=self._look, pushed=lambda: None
        )
        self.session.engine = engine(membership.name)
        self._running = asyncio.create_task(self.session.run(), name=membership.name)

    def in_sync(self, since: float) -> bool:
        """Whether a session that began after `since` was told everything, and all of that is done and reported."""
        told = self.channel.told_at > self.channel.registered_at > since
        return told and not self._under_way and self.session.settled

    def _look(self) -> None:
        """Something else may be wanted: carry it out, as an engine would."""
        for request in self.session.open_requests:
            self.session.answer(answered(request))
        assignments = self._ledger.assignments
        for container_id in self._orders.keys() - assignments.keys():
            del self._orders[container_id]
        for each in list(assignments.values()):
            order = each.want, each.start_gen
            if self._orders.get(each.container_id) != order:
                self._orders[each.container_id] = order
                self._under_way += 1
                asyncio.get_running_loop().call_later(self._delay, self._done, each, order)
        self.session.applied(self._ledger.revision)

    def _done(self, assignment: ContainerAssignment, order: tuple[Want, int]) -> None:
        self._under_way -= 1
        if self._orders.get(assignment.container_id) == order:
            self.session.seen(assignment.container_id, observed(assignment))

    async def close(self) -> None:
        """End it."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.channel.close()
        self._ledger.close()


def engine(name: str) -> EngineInfo:
    """An engine of its own for each host."""
    return EngineInfo(
        engine_id=hashlib.sha256(name.encode()).hexdigest()[:32],
        version="20.10.24",
        storage_driver="overlay2",
        cpus=CPUS,
        memory=MEMORY,
        gateway="172.17.0.1",
        place=f"{name}:/var/lib/docker",
    )


def answered(request: ImageRequest) -> ImageResult:
    """The image is there."""
    digest = hashlib.sha256(request.reference.encode()).hexdigest()
    image = ResolvedImage(reference=request.reference, image_id=f"sha256:{digest}", command=("sleep", "inf"))
    return ImageResult(request_id=request.request_id, image=image)


def observed(assignment: ContainerAssignment) -> Observed:
    """What the agent sees once the engine has done it."""
    now, start_gen = datetime.now(UTC), assignment.start_gen
    match assignment.want:
        case Want.RUN:
            name = assignment.container_id.hex * 2
            return Observed(
                state=Seen.RUNNING, start_gen=start_gen, engine_id=name, created_at=now, started_at=now, ip="172.17.0.2"
            )
        case Want.STOP:
            return Observed(state=Seen.EXITED, start_gen=start_gen, exit_code=0, finished_at=now)
        case Want.GONE:
            return Observed(state=Seen.GONE, start_gen=start_gen)


async def join(door: str, token: str, name: str, directory: Path) -> Membership:
    """Have a host join as `./tutela agent join` does; a door that is busy is asked again."""
    read = enrol.read_token(token)
    for last in (False,) * JOIN_TRIES + (True,):
        try:
            trusted = await enrol.authority(door, read)
            request = credentials.request(directory)
            asked = Join(secret=read.secret, name=name, request=request, engine=engine(name))
            found = await enrol.join(door, read, trusted, asked)
        except ConnectionError:
            if last:
                raise
            await asyncio.sleep(0.1)
        else:
            member = credentials.membership(found, (door,), None)
            credentials.store(directory, member, found.certificate)
            return member
    raise AssertionError("not reached")


class Fleet:
    """The hosts of this process. Each command is a method; its keywords and its answer are JSON."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[ModelNode] = []
        self._tally = Tally()

    async def join(self, door: str, tokens: Sequence[str], first: int, count: int, delay: float) -> dict[str, Any]:
        """So many hosts join, by the tokens in turn (each is good for an equal share), and connect."""
        turns, share = asyncio.Semaphore(JOINS_AT_ONCE), -(-count // len(tokens))

        async def one(number: int) -> None:
            async with turns:
                name = f"host-{first + number:05}"
                directory = self._folder / name
                member = await join(door, tokens[number // share], name, directory)
                self._nodes.append(ModelNode(directory, member, delay, self._tally))

        await asyncio.gather(*(one(number) for number in range(count)))
        return {}

    async def status(self, since: float) -> dict[str, Any]:
        """How many hosts are in sync, in sessions that began after `since` (seconds of the monotonic clock)."""
        return {
            "in_sync": sum(node.in_sync(since) for node in self._nodes),
            "connected": sum(node.channel.registered_at > since and node.session.registered for node in self._nodes),
            "received": len(self._tally.received),
            "registrations": self._tally.registrations,
        }

    async def told(self) -> dict[str, Any]:
        """Which containers were heard of for the first time since `clear`, and what was reported."""
        tally = self._tally
        return {
            "received": tally.received,
            "reports": tally.reports,
            "reported": tally.reported,
            "report_seconds": tally.report_seconds,
            "last_report": tally.last_report,
        }

    async def clear(self) -> dict[str, Any]:
        """Count from here."""
        self._tally.clear()
        return {}

    async def cut(self, part: int = 0, parts: int = 1) -> dict[str, Any]:
        """All connections are gone at once, or those of one of so many parts of the hosts."""
        at = time.monotonic()
        for node in self._nodes[part::parts]:
            node.channel.cut()
        return {"at": at}

    async def close(self) -> None:
        """All agents end."""
        await asyncio.gather(*(node.close() for node in self._nodes))


async def main() -> None:
    """Serve commands until stdin ends."""
    fleet = Fleet(Path(sys.argv[1]))
    commands = {name: getattr(fleet, name) for name in ("join", "status", "told", "clear", "cut")}
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        print(json.dumps(await commands[asked.pop("do")](**asked)), flush=True)
    await fleet.close()


if __name__ == "__main__":
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    uvloop.run(main())
