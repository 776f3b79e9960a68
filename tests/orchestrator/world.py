"""A real database with an obedient agent in place of a host: what the orchestrator's tests act on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from uuid import UUID, uuid4

from domain.action import Action, ActionState, Request
from domain.assignment import (
    ContainerAssignment,
    ContainerReport,
    EngineInfo,
    ImageResult,
    NodeHello,
    NodeReport,
    Registration,
    SessionLost,
)
from domain.container import Container, Observed, Seen, Want
from domain.image import ResolvedImage
from domain.service import Service, ServiceState, ServiceWant, Verb, change, counts, operate, service_state
from domain.spec import ServiceSpec
from orchestrator import dispatch
from orchestrator.planning.view import Installation, Policy
from orchestrator.reporting import record
from orchestrator.store import accounts, actions, containers, nodes, services, wake
from orchestrator.store.db import Database, now
from tests.harness.passes import reconcile_due
from tests.harness.told import assignments_since

ENGINE = EngineInfo(engine_id="E", version="20.10", storage_driver="overlay2", cpus=2, memory=4096)
INSTALLATION = Installation(api_url="http://api.test", stream_url="ws://api.test")
POLICY = Policy()


@dataclass
class Node:
    """An agent that does what it is told, through the real dispatch functions."""

    db: Database
    registration: Registration
    revision: int = 0
    seq: int = 0
    held: dict[UUID, ContainerAssignment] = field(default_factory=dict)
    engine: EngineInfo = ENGINE

    @classmethod
    async def join(cls, db: Database, name: str = "local") -> Node:
        engine = replace(ENGINE, place=name)
        registration = await dispatch.register(db, NodeHello(name=name, cluster_id=None, engine=engine))
        return cls(db, registration, engine=engine)

    async def fetch(self) -> list[ContainerAssignment]:
        news = await assignments_since(self.db, self.registration, self.revision)
        self.revision = news.revision
        images = tuple(
            ImageResult(request_id=each.request_id, image=ResolvedImage(reference=each.reference, image_id="sha256:1"))
            for each in news.images
        )
        if images:
            await self.report({}, images=images)
        self.held |= {each.container_id: each for each in news.containers}
        return list(news.containers)

    async def report(
        self, seen: dict[UUID, Observed], *, images: tuple[ImageResult, ...] = (), seq: int | None = None
    ) -> None:
        await record_one(self.db, self.said(seen, images=images, seq=seq))

    def said(
        self,
        seen: Mapping[UUID, Observed] = MappingProxyType({}),
        *,
        images: tuple[ImageResult, ...] = (),
        seq: int | None = None,
    ) -> NodeReport:
        """Its next report."""
        if seq is None:
            self.seq += 1
        return NodeReport(
            node_id=self.registration.node_id,
            session=self.registration.session,
            seq=self.seq if seq is None else seq,
            applied_revision=self.revision,
            engine=self.engine,
            containers=tuple(ContainerReport(container_id=key, observed=value) for key, value in seen.items()),
            images=images,
        )

    async def obey(self) -> bool:
        """Fetch, do, report; returns whether there was anything."""
        news = await self.fetch()
        if news:
            await self.report({each.container_id: done(each) for each in news})
        return bool(news)


async def record_one(db: Database, report: NodeReport) -> None:
    """As `app.fleet.reports` does with a report that comes alone. Raises SessionLost."""
    outcome = await record(db, [report])
    if outcome.busy:
        async with db.transaction() as conn:
            await nodes.lock(conn, report.node_id)  # as soon as it is free
        return await record_one(db, report)
    if outcome.over:
        raise SessionLost(f"session {report.session} is over")


def done(assignment: ContainerAssignment) -> Observed:
    """The container as wanted."""
    state = {Want.RUN: Seen.RUNNING, Want.STOP: Seen.EXITED, Want.GONE: Seen.GONE}[assignment.want]
    return Observed(state=state, start_gen=assignment.start_gen, exit_code=137 if state is Seen.EXITED else None)


@dataclass
class Record:
    """One account on a real database, and the operations of a user on it."""

    db: Database
    account: accounts.Account

    @classmethod
    async def open(cls, dsn: str) -> Record:
        db = await Database.open(dsn)
        async with db.transaction() as conn:
            await accounts.ensure_admin(conn, "admin", "key")
            account = await accounts.admin(conn)
        assert account is not None
        return cls(db, account)

    async def create(self, name: str = "web", target: int = 2, spec: ServiceSpec | None = None) -> UUID:
        async with self.db.transaction() as conn:
            service = Service(
                id=uuid4(),
                account_id=self.account.id,
                account=self.account.username,
                name=name,
                unique_name=await services.free_unique_name(conn, self.account.id, name),
                spec=spec or ServiceSpec(image="tutela/web:latest"),
                target=target,
                want=ServiceWant.INIT,
                subnet=await services.next_subnet(conn, "10.192.0.0/12"),
                created_at=await now(conn),
            )
            await services.insert(conn, service, ServiceState.INIT)
        return service.id

    async def operate(self, service_id: UUID, verb: Verb) -> UUID:
        return await self._change(
            service_id, lambda service, rows, action, at: operate(service, rows, verb, action, at).service
        )

    async def scale(self, service_id: UUID, target: int) -> UUID:
        def rule(service: Service, rows: object, action: UUID, at: object) -> Service:
            return change(service, rows, spec=service.spec, target=target, action=action, now=at).service  # type: ignore[arg-type]

        return await self._change(service_id, rule)

    async def _change(self, service_id: UUID, rule: Callable[..., Service]) -> UUID:
        action_id = uuid4()
        async with self.db.transaction() as conn:
            service = await services.lock(conn, self.account.id, service_id)
            rows = (await containers.of_services(conn, [service_id]))[service_id]
            at = await now(conn)
            after = rule(service, counts(rows), action_id, at)
            await services.save(conn, after, service_state(after, counts(rows)))
            await actions.insert(
                conn,
                Action(
                    id=action_id,
                    account_id=self.account.id,
                    service_id=service_id,
                    verb="Service Test",
                    object_uri=f"/api/v1/service/{service_id}/",
                    state=ActionState.IN_PROGRESS,
                    request=Request(),
                    start_date=at,
                ),
            )
            await wake.service(conn, service_id)
        return action_id

    async def service(self, service_id: UUID) -> Service:
        async with self.db.read() as conn:
            return await services.get(conn, self.account.id, service_id)

    async def rows(self, service_id: UUID) -> list[Container]:
        async with self.db.read() as conn:
            return [
                row for row in (await containers.of_services(conn, [service_id]))[service_id] if not row.terminated_at
            ]

    async def state(self, service_id: UUID) -> ServiceState:
        return service_state(await self.service(service_id), counts(await self.rows(service_id)))

    async def action(self, action_id: UUID) -> Action:
        async with self.db.read() as conn:
            return await actions.get(conn, self.account.id, action_id)

    async def passes(self) -> int:
        """Do what is due; returns how many passes that were."""
        count = 0
        while await reconcile_due(self.db, INSTALLATION, POLICY):
            count += 1
        return count

    async def settle(self, *nodes: Node, rounds: int = 60) -> None:
        """Passes and agents in turn until neither has anything to do."""
        for _ in range(rounds):
            did = await self.passes()
            news = [await node.obey() for node in nodes]
            if not did and not any(news) and not await self.passes():
                return
        raise AssertionError("did not settle")


__all__ = ["ENGINE", "INSTALLATION", "POLICY", "Node", "Record", "done", "replace"]
