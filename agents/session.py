"""The agent's end of the protocol: assignments come down, reports go up, for ever.

Level-triggered both ways: what is sent is the newest per container, again until it is accepted. Without a
control plane nothing here stops the agent from enforcing its ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import structlog

from agents import clock
from agents.channel import ControlChannel
from agents.fencing import Fence
from agents.ledger import Ledger
from domain.assignment import (
    BEAT_SECONDS,
    LEASE_SECONDS,
    Beat,
    ContainerReport,
    EngineInfo,
    ImageRequest,
    ImageResult,
    LedgerWanted,
    NodeHello,
    NodeReport,
    Registration,
    SessionLost,
    Strangers,
)
from domain.container import Observed, Seen, Want
from domain.errors import DomainError
from domain.swarm import SwarmOrder, SwarmReport

log = structlog.get_logger("session")
CALL_SECONDS = 60.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5
"""A link that heals must serve again within half a second: a cut of 3 s ends before 5 s of silence do, and what is too
much on a host that comes back is gone within 2 s."""

REFUSED_PAUSE = 5.0
START_SECONDS = 4.0
MOST_IN_A_REPORT = 500
UNPRODUCTIVE_PAUSE = 0.2
"""A channel that answers at once with nothing new is not asked again at once."""


class Lease:
    """Until when the control plane will not have the node's `single_writer` containers run elsewhere.

    An agent that starts has none, and START_SECONDS to get one before what runs has to end: it does not know when the
    agent before it was heard last.
    """

    def __init__(self) -> None:
        self._until = clock.seconds() + START_SECONDS

    @property
    def lost(self) -> bool:
        """Whether it ran out."""
        return clock.seconds() >= self._until

    @property
    def left(self) -> float:
        """Seconds until it runs out; not above zero when it has."""
        return self._until - clock.seconds()

    def renew(self, sent: float) -> None:
        """The control plane has on record that the node was there after `sent`."""
        self._until = max(self._until, sent + LEASE_SECONDS)


class Session:
    """Talks to the control plane; the agent gives it what is seen and is woken for what is wanted."""

    def __init__(
        self,
        *,
        name: str,
        channel: ControlChannel,
        ledger: Ledger,
        wake: Callable[[], None],
        pushed: Callable[[], None],
    ) -> None:
        """`wake` is called when something else is wanted, `pushed` when a report was accepted."""
        self._name = name
        self._channel = channel
        self._ledger = ledger
        self._wake = wake
        self._pushed = pushed
        self._news = asyncio.Event()
        self._seen: dict[UUID, Observed] = {}
        self._sent: dict[UUID, Observed] = {}
        self._engine: EngineInfo | None = None
        self._applied = 0
        self._strangers: Strangers | None = None
        self._said: tuple[EngineInfo | None, Strangers | None] | None = None
        self._requests: dict[UUID, ImageRequest] = {}
        self._answers: dict[UUID, ImageResult] = {}
        self._complained = False
        self._found_engine = asyncio.Event()
        self._greeted: tuple[str, str, int] | None = None
        self.registered = False
        self.lease = Lease()
        self.word = ""
        """What an operator last said to a question of this node."""
        self.swarm_order: SwarmOrder | None = None
        self._swarm: SwarmReport | None = None
        self._swarm_said: SwarmReport | None = None
        self._fence = Fence.NO_STARTS
        self._stale = False  # the lease ran out in this session: what was told in it may have been taken back

    @property
    def fence(self) -> Fence:
        """What `single_writer` containers may do: they may run elsewhere by now, unless the lease is held and what is
        wanted was told after it began.
        """
        return Fence.SHUT if self.lease.lost else self._fence

    @property
    def engine(self) -> EngineInfo | None:
        """The engine as last told; None while it does not answer."""
        return self._engine

    @engine.setter
    def engine(self, info: EngineInfo | None) -> None:
        if info != self._engine:
            self._engine = info
            self._news.set()
        if info is not None:
            self._found_engine.set()

    @property
    def open_requests(self) -> list[ImageRequest]:
        """Image requests without an answer."""
        return [each for key, each in self._requests.items() if key not in self._answers]

    @property
    def settled(self) -> bool:
        """Whether all that is known has been accepted."""
        return self.registered and not self._changes() and not self._answers and self._said == self._saying()

    def swarm(self, report: SwarmReport) -> None:
        """What the engine's swarm mode looks like now; what was made and removed is told until accepted."""
        pending = self._swarm if self._swarm != self._swarm_said else None
        if pending is not None:
            report = replace(report, made=(*pending.made, *report.made), removed=(*pending.removed, *report.removed))
        if report != self._swarm:
            self._swarm = report
            if report != self._swarm_said:
                self._news.set()

    def seen(self, container_id: UUID, observed: Observed) -> None:
        """What the container looks like now."""
        if self._seen.get(container_id) != observed:
            self._seen[container_id] = observed
            self._news.set()

    def answer(self, result: ImageResult) -> None:
        """An image request has its answer; told until accepted."""
        if result.request_id in self._requests:
            self._answers[result.request_id] = result
            self._news.set()

    def applied(self, revision: int) -> None:
        """A pass has taken the assignment of this revision into account. Told with what is said next: nobody acts on it
        alone, and a report of its own would be a write for each change of each host.
        """
        self._applied = revision

    def ask(self, question: Strangers | None) -> None:
        """What an operator is asked about, as long as it is; None: nothing."""
        if question != self._strangers:
            before, self._strangers = self._strangers, question
            self._news.set()
            if question is not None and (before is None or before.key != question.key):
                log.warning("containers that nothing asks for are left until an operator says what is right",
                            containers=question.count, of=question.owned, some=question.names)  # fmt: skip

    def drop(self, container_id: UUID) -> None:
        """Nothing more is to be said about the container."""
        self._seen.pop(container_id, None)
        self._sent.pop(container_id, None)

    async def run(self) -> None:
        """Register and serve sessions until cancelled.

        Not before the engine has answered once: whether another agent serves it must be known before anything of
        this node's assignment is carried out on it.
        """
        pause = FIRST_PAUSE
        await self._found_engine.wait()
        while True:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    registration = await self._register()
                self._complained = False
                pause = FIRST_PAUSE
                await self._serve(registration)
            except SessionLost as error:
                log.warning("session lost", reason=str(error))
            except DomainError as error:
                pause = REFUSED_PAUSE
                self._complain("this node is refused; its containers are kept as they are", error)
            except (OSError, TimeoutError) as error:
                self._complain("control plane away; the last assignment stays in force", error)
            except Exception:
                log.exception("session failed")
            self.registered = False
            # Jitter: fifty agents must not come back in step.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    def _complain(self, what: str, error: BaseException) -> None:
        """Once per outage."""
        if not self._complained:
            log.warning(what, reason=str(error) or type(error).__name__)
        self._complained = True

    async def _register(self) -> Registration:
        known = self._ledger.cluster_id
        engine, sent = self._engine, clock.seconds()
        hello = NodeHello(name=self._name, cluster_id=known, engine=engine, seen=self._ledger.seen)
        try:
            registration = await self._channel.register(hello)
        except LedgerWanted as error:
            log.warning("this node's ledger is asked for", reason=str(error))
            registration = await self._channel.register(replace(hello, testimony=self._ledger.testimony()))
        if known not in {None, registration.cluster_id}:
            raise DomainError(f"the ledger is of installation {known}, this is {registration.cluster_id}")
        if registration.quarantine:
            log.warning("this node is quarantined", reason=registration.quarantine)
        self._ledger.begin(registration)
        self._greeted = _identity(engine) or self._greeted
        self._leased(sent)
        self._stale = False
        self._wake()
        self._sent.clear()
        self._said = None
        self._swarm_said = None
        self._requests.clear()
        self._answers.clear()
        self._news.set()
        self.registered = True
        return registration

    async def _serve(self, registration: Registration) -> None:
        """Pull and push until either ends; raises what ended it."""
        try:
            # In a task of its own, for what a failed group does to the next `asyncio.timeout`: see `Worker.drain`.
            await asyncio.create_task(self._loops(registration))
        except BaseExceptionGroup as failed:
            lost = failed.subgroup((SessionLost, DomainError))
            raise (lost or failed).exceptions[0] from failed

    async def _loops(self, registration: Registration) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pull_loop(registration))
            group.create_task(self._push_loop(registration))
            group.create_task(self._beat_loop(registration))

    async def _pull_loop(self, registration: Registration) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked, began = self._ledger.revision, loop.time()
            async with asyncio.timeout(CALL_SECONDS):
                news = await self._channel.assignments(registration, asked)
            requests = {each.request_id: each for each in news.images}
            changed = requests.keys() != self._requests.keys()
            self._requests = requests
            if news.swarm != self.swarm_order:
                self.swarm_order, changed = news.swarm, True
            if (news.word, news.engine) != (self.word, self._ledger.engine):
                self.word, self._ledger.engine, changed = news.word, news.engine, True
            for answered in self._answers.keys() - requests.keys():
                del self._answers[answered]
            if news.base == 0 and not self._stale and self._fence is not Fence.OPEN:
                self._fence, changed = Fence.OPEN, True
            if self._ledger.accept(news):
                for container_id in self._seen.keys() - self._ledger.assignments.keys():
                    self.drop(container_id)
                changed = True
                self._ask_anew()
            if news.copies:
                self._ledger.keep(news.copies)
                changed = True
            if changed:
                self._wake()
            elif loop.time() - began < UNPRODUCTIVE_PAUSE:
                await asyncio.sleep(UNPRODUCTIVE_PAUSE)

    async def _push_loop(self, registration: Registration) -> None:
        seq = 0
        while True:
            await self._news.wait()
            self._news.clear()
            changes, said, answers = self._changes(), self._saying(), dict(self._answers)
            swarm = self._swarm
            if len(changes) > MOST_IN_A_REPORT:
                changes = dict(itertools.islice(changes.items(), MOST_IN_A_REPORT))
                self._news.set()
            identity = _identity(said[0])
            if identity is not None and identity != self._greeted:
                raise SessionLost("the engine is another one than this session began with")
            seq += 1
            async with asyncio.timeout(CALL_SECONDS):
                await self._channel.report(
                    NodeReport(
                        node_id=registration.node_id,
                        session=registration.session,
                        seq=seq,
                        applied_revision=self._applied,
                        engine=said[0],
                        containers=tuple(
                            ContainerReport(container_id=key, observed=seen) for key, seen in changes.items()
                        ),
                        images=tuple(answers.values()),
                        swarm=swarm if swarm != self._swarm_said else None,
                        strangers=said[1],
                    )
                )
            self._accepted(changes, answers)
            self._said, self._swarm_said = said, swarm
            self._pushed()

    async def _beat_loop(self, registration: Registration) -> None:
        while True:
            sent = clock.seconds()
            async with asyncio.timeout(CALL_SECONDS):
                await self._channel.beat(
                    Beat(
                        node_id=registration.node_id,
                        session=registration.session,
                        engine_up=self._engine is not None,
                    )
                )
            self._stale |= self._leased(sent)
            self._ask_anew()
            await asyncio.sleep(max(BEAT_SECONDS - (clock.seconds() - sent), 0.05))

    def _ask_anew(self) -> None:
        """A host that was late, as all are of a control plane that has too much to do, begins a new session only for
        containers of which there may never be two: a full set is the dearest thing to ask for (decision 26).
        """
        if self._stale and any(each.spec.single_writer for each in self._ledger.assignments.values()):
            raise SessionLost("the lease ran out meanwhile: what is wanted is asked for anew")

    def _leased(self, sent: float) -> bool:
        """The lease is renewed; whether it had run out before."""
        back = self.lease.lost
        self._fence = Fence.SHUT if back else self._fence
        self.lease.renew(sent)
        return back

    def _accepted(self, changes: dict[UUID, Observed], answers: dict[UUID, ImageResult]) -> None:
        for request_id in answers:
            self._answers.pop(request_id, None)
            self._requests.pop(request_id, None)
        for container_id, observed in changes.items():
            assignment = self._ledger.assignments.get(container_id)
            if observed.state is Seen.GONE and (assignment is None or assignment.want is Want.GONE):
                self._ledger.forget(container_id)
                self.drop(container_id)
            else:
                self._sent[container_id] = observed

    def _changes(self) -> dict[UUID, Observed]:
        return {key: seen for key, seen in self._seen.items() if self._sent.get(key) != seen}

    def _saying(self) -> tuple[EngineInfo | None, Strangers | None]:
        return self._engine, self._strangers


def _identity(engine: EngineInfo | None) -> tuple[str, str, int] | None:
    return (engine.engine_id, engine.place, engine.emptied) if engine else None
