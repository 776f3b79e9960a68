"""A control plane in memory: what it is told to want, what it was told."""

from __future__ import annotations

import asyncio
from uuid import UUID

from domain.assignment import (
    Beat,
    ContainerAssignment,
    EngineInfo,
    Heard,
    ImageRequest,
    ImageResult,
    NodeAssignments,
    NodeHello,
    NodeReport,
    Registration,
    SessionLost,
)
from domain.container import Observed, Seen
from domain.errors import Conflict
from tests.agents.build import CLUSTER, NODE


class MemoryChannel:
    """One node's side of the protocol. `away` makes every call a ConnectionError."""

    def __init__(self, cluster_id: UUID = CLUSTER) -> None:
        self.cluster_id = cluster_id
        self.session = 0
        self.revision = 1
        self.wanted: dict[UUID, tuple[int, ContainerAssignment]] = {}
        self.requests: dict[UUID, ImageRequest] = {}
        self.seen: dict[UUID, Observed] = {}
        self.history: list[tuple[UUID, Observed]] = []
        self.answers: dict[UUID, ImageResult] = {}
        self.engine: EngineInfo | None = None
        self.applied = 0
        self.reports: list[NodeReport] = []
        self.away = False
        self.beats = 0
        self.hello: NodeHello | None = None
        self.lineage: UUID | None = None
        self.engine_wanted = ""
        self.word = ""
        self._changed = asyncio.Event()

    def assign(self, *assignments: ContainerAssignment) -> None:
        """Want these (as well)."""
        self.revision += 1
        for each in assignments:
            self.wanted[each.container_id] = (self.revision, each)
        self._changed.set()

    def ask(self, request: ImageRequest) -> None:
        """Open an image request."""
        self.requests[request.request_id] = request
        self.revision += 1
        self._changed.set()

    def say(self, word: str) -> None:
        """As an operator's answer."""
        self.word = word
        self.revision += 1
        self._changed.set()

    def want_engine(self, identity: str) -> None:
        """The engine that the assignment is for."""
        self.engine_wanted = identity
        self.revision += 1
        self._changed.set()

    def lose_session(self) -> None:
        """As if another agent had registered."""
        self.session += 1
        self._changed.set()

    def leave(self) -> None:
        """The control plane goes away."""
        self.away = True
        self._changed.set()

    async def register(self, hello: NodeHello) -> Registration:
        self._reach()
        self.hello = hello
        if hello.cluster_id not in {None, self.cluster_id}:
            raise Conflict("another installation")
        self.session += 1
        return Registration(cluster_id=self.cluster_id, node_id=NODE, session=self.session)

    async def assignments(self, registration: Registration, since: int) -> NodeAssignments:
        while True:
            self._reach()
            if registration.session != self.session:
                raise SessionLost(f"session {registration.session} is over")
            self._changed.clear()
            if since == 0 or self.revision > since:
                return NodeAssignments(
                    cluster_id=self.cluster_id,
                    session=self.session,
                    base=since,
                    revision=self.revision,
                    containers=tuple(each for revision, each in self.wanted.values() if revision > since),
                    images=tuple(self.requests.values()),
                    lineage=self.lineage,
                    engine=self.engine_wanted,
                    word=self.word,
                )
            await self._changed.wait()

    async def report(self, report: NodeReport) -> None:
        self._reach()
        if report.session != self.session:
            raise SessionLost(f"session {report.session} is over")
        self.reports.append(report)
        self.engine, self.applied = report.engine, report.applied_revision
        for each in report.containers:
            self.seen[each.container_id] = each.observed
            self.history.append((each.container_id, each.observed))
            if each.observed.state is Seen.GONE:
                self.wanted.pop(each.container_id, None)
        for answer in report.images:
            self.answers[answer.request_id] = answer
            self.requests.pop(answer.request_id, None)

    async def beat(self, beat: Beat) -> Heard:
        self._reach()
        if beat.session != self.session:
            raise SessionLost(f"session {beat.session} is over")
        self.beats += 1
        return Heard()

    def _reach(self) -> None:
        if self.away:
            raise ConnectionError("the control plane is away")
