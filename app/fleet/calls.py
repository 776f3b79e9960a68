"""The control plane's end of the agent protocol, for the agent in this process and for those that joined.

A node reads and writes what is its own: who it is comes from its certificate and not from what it says (S26).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID, uuid4

from app.fleet import bounds
from app.fleet.beats import Beats
from app.fleet.dialbacks import Dialbacks
from app.fleet.news import MOST_FULL, MOST_NODES, News
from app.fleet.polls import Polls, Told
from app.fleet.reports import Reports
from app.secretbox import SecretBox
from domain.assignment import Beat, Heard, NodeAssignments, NodeHello, NodeReport, Registration, SessionLost
from domain.errors import NotAllowed
from domain.networks import usable_address
from domain.spec import Env
from orchestrator import dispatch, swarming
from orchestrator.listener import Wakeups
from orchestrator.planning.view import Installation
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.telling import Asked, Means

T = TypeVar("T")
POLL_SECONDS = 30.0
"""The longest wait for news: after it the agent is told again what it has."""

RESTLESS_SECONDS = 10.0
"""The same while something is asked of the agent that may change without being said."""

MOST_IN_A_REPORT = 5000
"""Containers in one report; agents send a tenth of it."""

LARGEST_NUMBER = 2**63 - 1


class ControlPlane:
    """What the agents' sessions in this process share. `ident` is this process's own."""

    def __init__(
        self,
        database: asyncio.Future[Database],
        wakeups: Wakeups,
        secrets: SecretBox,
        installation: Installation | None = None,
    ) -> None:
        """Without an `installation` nothing is asked of the engines' swarm mode."""
        self.ident = uuid4()
        self.wakeups = wakeups
        self.secrets = secrets
        self.installation = installation
        self.urls: tuple[str, ...] = ()
        self.rebuilding = False
        """Whether agents may be asked for their ledgers: those are larger than what they say else."""
        self.dialbacks = Dialbacks(self.ident)
        self.beats = Beats(self._there)
        self.polls = Polls(wakeups, self._there)
        self.reports = Reports(self._there)
        self.news, self.full_sets = (News(self._there, self.means, most=each) for each in (MOST_NODES, MOST_FULL))
        # So few at once that passes and users keep connections of the pool, however many agents come.
        self.sessions = asyncio.Semaphore(2)
        self._database = database

    def db(self) -> Database:
        """The database. Raises ConnectionError before it is up."""
        if not self._database.done():
            raise ConnectionError("the database is not up yet")
        return self._database.result()

    def means(self) -> Means:
        """What agents are told beside the record."""
        return Means(secrets=self._environment, unseal=self.secrets.unseal, installation=self.installation)

    def _environment(self, container_id: UUID) -> Env:
        return (("TUTUM_AUTH", f"Bearer {self.secrets.token(container_id)}"),)

    def _there(self) -> Database | None:
        return self._database.result() if self._database.done() else None


@dataclass(slots=True)
class NodeCalls:
    """One agent's calls. `node_id`: who it has proven to be; None for the one in this process."""

    shared: ControlPlane
    node_id: UUID | None = None
    session: int = 0
    """The one that was begun here."""

    had: tuple[tuple[UUID, int], ...] = ()
    """Copies in the last answer: whoever asks again has taken that in."""

    address: str = ""
    """Where the host of the agent in this process is reached, as far as the settings say."""

    _told: Told | None = None
    _ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def end(self) -> None:
        """The connection is over."""
        self._ending.close()

    async def register(self, hello: NodeHello) -> Registration:
        """Begin a session. Raises ConnectionError while the database is away."""
        address = hello.address if usable_address(hello.address) else self.address
        hello = replace(hello, address=address, engine=bounds.engine(hello.engine))
        async with self._turn_to_begin():
            begun = await reaching(
                dispatch.register(self.shared.db(), hello, node_id=self.node_id, served_by=self.shared.ident)
            )
        self.end()
        self._told = self._ending.enter_context(self.shared.polls.session(begun.node_id, begun.session))
        self.session, self.had = begun.session, ()
        if self.node_id is None:
            self.shared.dialbacks.local_node = begun.node_id
        return replace(begun, control_planes=self.shared.urls)

    @contextlib.asynccontextmanager
    async def _turn_to_begin(self) -> AsyncIterator[None]:
        with contextlib.ExitStack() as meanwhile:
            if self.node_id is not None and self.shared.sessions.locked():
                meanwhile.enter_context(self.shared.beats.here(self.node_id))
            async with self.shared.sessions:
                yield

    async def assignments(self, registration: Registration, since: int) -> NodeAssignments:
        """What changed after `since`; waits for a change, at most some seconds.

        Read when there may be something new for the agent, or when it does not have what it was told last.
        """
        self._own(registration.node_id, registration.session)
        told = self._told
        if told is None:
            raise SessionLost("no session was begun on this connection")
        woken, first = told.news.is_set(), told.last is None
        if woken or self.had or not told.knows(since):
            news = await self._read(told, registration, since)
            if woken or first or news.revision > since or self.had:
                return news
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RESTLESS_SECONDS if told.restless else POLL_SECONDS):
                await told.news.wait()
        if told.last is None or told.restless or told.news.is_set():
            return await self._read(told, registration, since)
        return told.last

    async def _read(self, told: Told, registration: Registration, since: int) -> NodeAssignments:
        told.begin()
        news = await self._since(registration, since)
        told.took(news)
        self.had = _due(news)
        return news

    async def report(self, report: NodeReport) -> None:
        """Hand in a report; returns when it is durable."""
        self._own(report.node_id, report.session)
        if len(report.containers) > MOST_IN_A_REPORT or len(report.images) > MOST_IN_A_REPORT:
            raise NotAllowed(f"a report names at most {MOST_IN_A_REPORT} containers")
        if not 0 <= report.seq <= LARGEST_NUMBER:
            raise NotAllowed("the number of a report is one that the database can keep")
        report = bounds.report(report)
        await reaching(self.shared.reports.report(report))
        if report.swarm is not None and self.shared.installation is not None:
            box = self.shared.secrets
            await reaching(
                swarming.take(self.shared.db(), report, self.shared.installation, seal=box.seal, unseal=box.unseal)
            )

    async def beat(self, beat: Beat) -> Heard:
        """The agent is there."""
        self._own(beat.node_id, beat.session)
        await self.shared.beats.beat(beat)
        return Heard(control_planes=self.shared.urls)

    def _own(self, node_id: UUID, session: int) -> None:
        """Beats of all agents are written together, so that a session that never was must not get among them."""
        if self.node_id not in {None, node_id}:
            raise NotAllowed("a node speaks for itself only")
        if session != self.session:
            raise SessionLost(f"session {session} was not begun on this connection, or was followed by another")

    async def _since(self, registration: Registration, since: int) -> NodeAssignments:
        had, self.had = self.had, ()
        reading = self.shared.news if since else self.shared.full_sets
        return await reaching(reading.read(Asked(registration=registration, since=since, had=had)))


def _due(news: NodeAssignments) -> tuple[tuple[UUID, int], ...]:
    """The copies in it that the agent did not have; a full set names the others too, without a version."""
    return tuple((each.of, each.version) for each in news.copies if each.version)


async def reaching(call: Awaitable[T]) -> T:
    """The call's outcome. Raises ConnectionError while the database is away."""
    try:
        return await call
    except DatabaseAway as error:
        raise ConnectionError(str(error)) from error
