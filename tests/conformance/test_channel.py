"""The same cases over the channel in the process and over the socket: what agents may rely on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from agents.channel import ControlChannel
from app.fleet.calls import NodeCalls
from app.fleet.polls import LOOK_SECONDS
from domain.assignment import Beat, ContainerReport, NodeHello, NodeReport, Registration, SessionLost
from domain.container import Observed, Seen
from domain.errors import Conflict, NotAllowed
from domain.service import Verb
from orchestrator.planning.view import Policy
from orchestrator.store import accounts, nodes, wake
from tests.fleet.plane import Plane, engine, plane
from tests.harness.passes import reconcile_due
from tests.orchestrator.world import INSTALLATION, Record

SOON = LOOK_SECONDS - 2
"""Sooner than a look for lost news would find them."""


@pytest.fixture
async def control(database_url: str, tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(database_url, tmp_path) as made:
        yield made


@pytest.fixture(params=["local", "socket"])
async def channel(request: pytest.FixtureRequest, control: Plane) -> AsyncIterator[ControlChannel]:
    if request.param == "local":
        yield NodeCalls(control.shared)
        return
    made = await control.join("n1")
    yield made
    await made.close()


def hello(name: str = "n1") -> NodeHello:
    return NodeHello(name=name, cluster_id=None, engine=engine(name))


def report(registration: Registration, seq: int = 1, *seen: ContainerReport) -> NodeReport:
    return NodeReport(
        node_id=registration.node_id,
        session=registration.session,
        seq=seq,
        applied_revision=0,
        engine=engine("n1"),
        containers=seen,
    )


def beat(registration: Registration) -> Beat:
    return Beat(node_id=registration.node_id, session=registration.session, engine_up=True)


async def record_of(control: Plane) -> Record:
    async with control.db.read() as conn:
        account = await accounts.admin(conn)
    assert account is not None
    return Record(control.db, account)


async def test_a_session_begins_with_everything_and_then_brings_what_changes(
    channel: ControlChannel, control: Plane
) -> None:
    registration = await channel.register(hello())
    first = await channel.assignments(registration, 0)
    assert (first.base, first.containers, first.cluster_id) == (0, (), registration.cluster_id)
    record = await record_of(control)
    service = await record.create(target=2)
    await record.operate(service, Verb.START)
    await reconcile_due(control.db, INSTALLATION, Policy())
    asked = await channel.assignments(registration, first.revision)
    assert [each.reference for each in asked.images] == ["tutela/web:latest"]


async def test_news_end_the_wait(channel: ControlChannel, control: Plane) -> None:
    registration = await channel.register(hello())
    first = await channel.assignments(registration, 0)
    waiting = asyncio.create_task(channel.assignments(registration, first.revision))
    await asyncio.wait({waiting}, timeout=0.1)
    async with control.db.transaction() as conn:
        await nodes.bump_revisions(conn, [registration.node_id])
        await wake.node(conn, registration.node_id)
    news = await asyncio.wait_for(waiting, SOON)
    assert (news.base, news.revision) == (first.revision, first.revision + 1)


async def test_a_beat_is_on_record_when_it_is_answered(channel: ControlChannel, control: Plane) -> None:
    registration = await channel.register(hello())
    async with control.db.read() as conn:
        before = await conn.fetchval("SELECT clock_timestamp()")
    await channel.beat(beat(registration))
    async with control.db.read() as conn:
        node = await nodes.get(conn, registration.node_id)
    assert node.last_seen is not None
    assert node.last_seen >= before


async def test_a_newer_session_ends_the_older_one(channel: ControlChannel, control: Plane) -> None:
    old = await channel.register(hello())
    new = await channel.register(hello())
    assert (new.node_id, new.session) == (old.node_id, old.session + 1)
    for call in (channel.report(report(old)), channel.beat(beat(old)), channel.assignments(old, 0)):
        with pytest.raises(SessionLost):
            await call
    await channel.report(report(new))
    await channel.beat(beat(new))


async def test_another_installations_ledger_is_refused(channel: ControlChannel) -> None:
    with pytest.raises(Conflict, match="another installation"):
        await channel.register(replace(hello(), cluster_id=uuid4()))


async def test_an_engine_that_another_agent_serves_is_refused(channel: ControlChannel, control: Plane) -> None:
    other = NodeCalls(control.shared)
    await other.register(replace(hello("other"), engine=engine("n1")))
    with pytest.raises(Conflict, match="the agent of node other serves this Docker engine"):
        await channel.register(hello())
    async with control.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET last_seen = now() - interval '6 s' WHERE name = 'other'")
    await channel.register(hello())


async def test_what_is_reported_of_others_changes_nothing(channel: ControlChannel, control: Plane) -> None:
    registration = await channel.register(hello())
    stranger = ContainerReport(container_id=uuid4(), observed=Observed(state=Seen.RUNNING))
    await channel.report(report(registration, 1, stranger))


async def test_a_node_that_is_taken_out_is_told_so(channel: ControlChannel, control: Plane) -> None:
    registration = await channel.register(hello())
    first = await channel.assignments(registration, 0)
    waiting = asyncio.create_task(channel.assignments(registration, first.revision))
    await asyncio.wait({waiting}, timeout=0.1)
    async with control.db.transaction() as conn:
        await nodes.terminate(conn, registration.node_id, datetime.now(UTC))
        await wake.node(conn, registration.node_id)
        await wake.revoked(conn, registration.node_id)
    with pytest.raises(NotAllowed, match="taken out"):
        await asyncio.wait_for(waiting, SOON)
