"""A model of the record and of obedient or faulty agents, to run plans against without I/O."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.calls import begin_next
from domain.container import BoundPort, Container, Observed, Order, Seen, Want
from domain.errors import NotAllowed
from domain.image import ResolvedImage
from domain.node import Candidate, NodeState
from domain.orders import order
from domain.placement import fixed_ports
from domain.restarts import recent
from domain.service import Accepted, Service, ServiceWant, Verb, counts, finish, operate, start, usable_image
from domain.spec import ServiceSpec, Transport
from orchestrator.planning.render import new_container
from orchestrator.planning.service import plan_service
from orchestrator.planning.steps import (
    AdjustContainer,
    BeginQueued,
    CloseService,
    CreateContainer,
    FinishOperation,
    FinishOrder,
    FollowNodes,
    ForgetContainer,
    KeepSlot,
    LeaveSlot,
    Plan,
    RequestImage,
    RetireContainer,
    StartContainer,
    StartOnNodes,
    StopContainer,
    UseImage,
)
from orchestrator.planning.view import (
    ImageAnswer,
    Installation,
    LinkedService,
    NodesWanted,
    Policy,
    ServiceView,
    VolumesFrom,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
NODE = UUID("00000000-0000-4000-8000-0000000000aa")
INSTALLATION = Installation(api_url="http://api.test", stream_url="ws://api.test")
POLICY = Policy()


def number(n: int) -> UUID:
    """A readable uuid."""
    return UUID(f"00000000-0000-4000-8000-{n:012d}")


def a_service(**changes: object) -> Service:
    """A service `web` with a target of 2 that was never started."""
    spec = ServiceSpec(image="tutela/web:latest")
    base = Service(
        id=number(1),
        account_id=number(2),
        account="admin",
        name="web",
        unique_name="web",
        spec=spec,
        target=2,
        want=ServiceWant.INIT,
        subnet="10.192.0.0/24",
        created_at=START,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def an_image(spec: ServiceSpec, version: int = 1) -> ResolvedImage:
    """What the reference means at that version."""
    return ResolvedImage(reference=spec.image, image_id=f"sha256:{version}")


@dataclass
class World:
    """One service, its rows, and a node's agent that does what it is told when `agent` is called."""

    service: Service
    rows: dict[UUID, Container] = field(default_factory=dict)
    nodes: tuple[Candidate, ...] = (Candidate(node_id=NODE, name="n1", state=NodeState.DEPLOYED),)
    linked: tuple[LinkedService, ...] = ()
    answers: dict[UUID, ImageAnswer] = field(default_factory=dict)
    now: datetime = START
    ended: list[tuple[tuple[UUID, ...], bool, str | None]] = field(default_factory=list)
    next_id: int = 100
    shared: tuple[VolumesFrom, ...] = ()
    image_version: int = 1
    image_error: str | None = None
    disrupted_at: datetime | None = None

    def uuid(self) -> UUID:
        self.next_id += 1
        return number(self.next_id)

    def view(self) -> ServiceView:
        operation = self.service.operation
        request = operation.image_request if operation else None
        taken = fixed_ports(self.service.spec)
        return ServiceView(
            service=self.service,
            containers=tuple(self.open_rows()),
            nodes=tuple(self._seen_node(node, taken) for node in self.nodes),
            linked=self.linked,
            image=self.answers.get(request) if request else None,
            installation=INSTALLATION,
            now=self.now,
            shared=self.shared,
            disrupted_at=self.disrupted_at,
        )

    def _seen_node(self, node: Candidate, taken: frozenset[tuple[Transport, int]]) -> Candidate:
        here = [row for row in self.open_rows() if row.node_id == node.node_id]
        held = taken if here else frozenset()
        heard = self.now if node.state is NodeState.DEPLOYED else node.last_seen
        return replace(node, taken=node.taken | held, here=len(here), load=node.load + len(here), last_seen=heard)

    def open_rows(self) -> list[Container]:
        return [row for row in self.rows.values() if row.terminated_at is None]

    def operate(self, verb: Verb) -> Accepted:
        accepted = operate(self.service, counts(list(self.rows.values())), verb, self.uuid(), self.now)
        self.service = accepted.service
        return accepted

    def plan(self) -> Plan:
        """By all nodes; one that is made by those alone that have a container is the same, or asks for the others."""
        view = self.view()
        plan = plan_service(view, POLICY)
        there = {row.node_id for row in view.containers}
        known = tuple(replace(node, taken=frozenset()) for node in view.nodes if node.node_id in there)
        with contextlib.suppress(NodesWanted):
            assert plan_service(replace(view, nodes=known, everyone=False), POLICY) == plan
        return plan

    def step(self) -> Plan:
        """Plan once and apply."""
        plan = self.plan()
        view = self.view()
        for step in plan.steps:
            match step:
                case RequestImage():
                    self.answers[step.request_id] = ImageAnswer(node_id=step.node_id, asked_at=self.now)
                case UseImage():
                    operation = self.service.operation
                    assert operation is not None
                    self.service = replace(
                        self.service, image=step.image, operation=replace(operation, image_request=None)
                    )
                case CreateContainer():
                    self._create(view, step)
                case StartContainer():
                    row = self.rows[step.container_id]
                    self._want(row, want=Want.RUN, start_gen=max(self.service.start_gen, row.start_gen + 1))
                case StopContainer():
                    self._want(self.rows[step.container_id], want=Want.STOP)
                case RetireContainer():
                    self._retire(step)
                case LeaveSlot():
                    self._want(self.rows[step.container_id], leaving=True, want=step.want, refill=True)
                case KeepSlot():
                    self._want(self.rows[step.container_id], leaving=False, refill=False)
                case FollowNodes():
                    self.service = replace(self.service, target=step.target)
                case StartOnNodes():
                    self.service = start(self.service, self.uuid(), self.now).service
                case AdjustContainer():
                    row = self.rows[step.container_id]
                    self._want(row, networks=step.networks, autorestart=step.autorestart, autoreplace=step.autoreplace)
                case ForgetContainer():
                    self._want(self.rows[step.container_id], terminated_at=self.now)
                case FinishOperation():
                    assert self.service.operation is not None
                    if step.success and self.service.want is ServiceWant.RUNNING:
                        filled = {row.slot for row in self.rows.values() if row.want is not Want.GONE}
                        assert set(view.slots) <= filled, "it ended well, and slots are empty"
                    self.ended.append((self.service.operation.actions, step.success, step.message))
                    self.service = finish(self.service)
                case FinishOrder():
                    row = self.rows[step.container_id]
                    assert row.order is not None
                    self.ended.append((row.order.actions, step.success, step.message))
                    self._want(row, order=None)
                case BeginQueued():
                    self._begin_queued()
                case CloseService():
                    self.service = replace(self.service, destroyed_at=self.now)
        if plan.requeue_at is None or plan.requeue_at > self.now:
            assert not self.plan().steps, "there is more to do, and nobody would look again"
        return plan

    def _retire(self, step: RetireContainer) -> None:
        row = self.rows[step.container_id]
        changes: dict[str, object] = {"want": Want.GONE, "refill": step.refill}
        if step.by_policy:
            older = row.order.actions if row.order else ()
            changes["order"] = Order(verb="redeploy", actions=(*older, self.uuid()), since=self.now)
        if step.refill:
            changes["replaced"] = (*recent(row.replaced, self.now), self.now)
        self._want(row, **changes)

    def _begin_queued(self) -> None:
        accepted, call, left = begin_next(self.service, counts(list(self.rows.values())), self.now)
        refused = isinstance(accepted, NotAllowed)
        self.service = left if isinstance(accepted, NotAllowed) else accepted.service
        if refused or self.service.operation is None:
            self.ended.append(((call.action,), not refused, None))

    def order(self, row: Container, verb: Verb) -> None:
        """A user's operation on one container. Raises NotAllowed."""
        self.service, self.rows[row.id] = order(self.service, row, verb, self.uuid(), self.now)

    def _create(self, view: ServiceView, step: CreateContainer) -> None:
        image = usable_image(self.service)
        assert image is not None, "a container was planned without an image"
        ports = tuple(
            BoundPort(protocol=port.protocol, inner_port=port.inner_port, outer_port=port.outer_port)
            for port in self.service.spec.ports
        )
        before = self.rows.get(step.successor_of) if step.successor_of else None
        row = new_container(view, self.service, step, container_id=self.uuid(), image=image, before=before, ports=ports)
        self.rows[row.id] = row
        if before is not None and before.leaving:
            self._want(before, refill=False, order=None)

    def _want(self, row: Container, **changes: object) -> None:
        self.rows[row.id] = replace(row, **changes)  # type: ignore[arg-type]

    def see(self, slot: int, state: Seen, **more: object) -> None:
        """The agent reports this of the slot's container."""
        row = next(row for row in self.open_rows() if row.slot == slot and not row.leaving)
        observed = Observed(state=state, start_gen=row.start_gen, **more)  # type: ignore[arg-type]
        self.rows[row.id] = replace(row, seen=observed)

    def agent(self, *, only: int | None = None) -> bool:
        """The agent does all that is asked (or only for one container); returns whether anything changed."""
        changed = False
        for request, answer in list(self.answers.items()):
            if answer.image is None and answer.error is None:
                image = None if self.image_error else an_image(self.service.spec, self.image_version)
                self.answers[request] = replace(answer, image=image, error=self.image_error)
                changed = True
        rows = self.open_rows()
        for index, row in enumerate(rows):
            if only is not None and index != only % max(len(rows), 1):
                continue
            first = self.rows.get(row.follows) if row.follows else None
            waits = first is not None and not (first.seen is not None and first.seen.state is Seen.GONE)
            if waits and row.want is Want.RUN and row.seen is None:
                continue  # an agent starts it when the other has ended
            after = self._started(row, obey(row))
            changed |= after != row
            self.rows[row.id] = after
        return changed

    def _started(self, before: Container, after: Container) -> Container:
        """With the time of its start, as an engine tells it; settled when the agent looks again."""
        if after.seen is None or after.seen.state is not Seen.RUNNING:
            return after
        known = before.seen is not None and before.seen.state is Seen.RUNNING
        started = before.seen.started_at if known and before.seen else self.now
        return replace(after, seen=replace(after.seen, started_at=started, settling=not known))

    def run(self, rounds: int = 60) -> str:
        """Plan and obey until nothing happens any more; returns the plans that were not empty, as text."""
        from orchestrator.planning.steps import render

        texts = []
        for _ in range(rounds):
            plan = self.step()
            if plan.steps:
                texts.append(render(plan))
            moved = self.agent()
            self.now += timedelta(seconds=1)
            if not moved and not plan.steps:
                return "\n--\n".join(texts)
        raise AssertionError(f"no fixpoint after {rounds} rounds: {texts[-3:]}")


def obey(row: Container) -> Container:
    """What an agent makes of a row: the container as wanted."""
    seen = row.seen
    match row.want:
        case Want.GONE:
            state = Seen.GONE
        case Want.STOP:
            state = Seen.EXITED if seen and seen.state in {Seen.RUNNING, Seen.RESTARTING, Seen.EXITED} else Seen.PENDING
            if seen and seen.state is state:
                return row
        case Want.RUN:
            if seen and seen.start_gen >= row.start_gen and seen.state in {Seen.RUNNING, Seen.EXITED, Seen.FAILED}:
                return row
            state = Seen.RUNNING
    if seen and seen.state is state and seen.start_gen >= row.start_gen:
        return row
    return replace(
        row, seen=Observed(state=state, start_gen=row.start_gen, exit_code=137 if state is Seen.EXITED else None)
    )
