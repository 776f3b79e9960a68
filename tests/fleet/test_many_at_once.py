"""Many hosts at once: their reports are written together, what they ask for is read for few at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from agents import dial
from app.fleet import news, reports
from app.fleet.beats import Beats
from app.fleet.calls import ControlPlane, NodeCalls
from app.fleet.news import News
from app.fleet.reports import Reports
from app.secretbox import SecretBox
from domain.assignment import Beat, ContainerReport, NodeAssignments, NodeHello, SessionLost
from domain.container import Observed, Seen
from domain.errors import Invalid
from domain.node import NodeState
from domain.service import Verb
from orchestrator import dispatch
from orchestrator.listener import Wakeups
from orchestrator.store import nodes
from orchestrator.store.db import Database
from orchestrator.store.errors import DatabaseAway
from orchestrator.telling import Answer, Asked, Means, tell
from tests.api.test_cost import logged
from tests.fleet.plane import plane
from tests.orchestrator.world import ENGINE, Node, Record


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Record]:
    made = await Record.open(database_url)
    yield made
    await made.db.close()


T = TypeVar("T", Reports, News)


@asynccontextmanager
async def running(made: T) -> AsyncIterator[T]:
    """What gathers is at it until the block ends."""
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def at_work(db: Database) -> AbstractAsyncContextManager[Reports]:
    return running(Reports(lambda: db))


async def hosts(db: Database, count: int) -> list[Node]:
    return [await Node.join(db, f"n{n}") for n in range(count)]


async def applied(db: Database) -> set[int]:
    async with db.read() as conn:
        return {row["applied_revision"] for row in await conn.fetch("SELECT applied_revision FROM nodes")}


async def test_reports_of_many_hosts_cost_the_statements_of_one(db: Database) -> None:
    seen: list[tuple[str, tuple[object, ...]]] = []
    some = await hosts(db, 20)
    made = Reports(lambda: db)
    waiting = [asyncio.create_task(made.report(replace(each.said(), applied_revision=7))) for each in some]
    await asyncio.sleep(0)
    with logged(seen):
        running = asyncio.create_task(made.run())
        await asyncio.gather(*waiting)
    running.cancel()
    assert await applied(db) == {7}
    assert sum("UPDATE nodes" in query for query, _ in seen) == 1


async def test_one_after_another_of_a_host_in_their_order(db: Database) -> None:
    (node,) = await hosts(db, 1)
    async with at_work(db) as made:
        told = [replace(node.said(), applied_revision=number) for number in range(1, 6)]
        await asyncio.gather(*(made.report(each) for each in told))
    assert await applied(db) == {5}


async def test_a_large_one_is_written_and_the_next_waits_for_it(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_CONTAINERS", 3)
    many = tuple(ContainerReport(container_id=uuid4(), observed=Observed(state=Seen.RUNNING)) for _ in range(5))
    async with at_work(db) as made:
        said = [replace(each.said(), containers=many, applied_revision=7) for each in await hosts(db, 3)]
        await asyncio.gather(*(made.report(each) for each in said))
    assert await applied(db) == {7}


async def test_a_session_that_is_over_is_told_so_and_the_others_are_written(db: Database) -> None:
    old, other = await hosts(db, 2)
    await Node.join(db, "n0")
    async with at_work(db) as made:
        lost, written = await asyncio.gather(
            made.report(replace(old.said(), applied_revision=7)),
            made.report(replace(other.said(), applied_revision=8)),
            return_exceptions=True,
        )
    assert isinstance(lost, SessionLost)
    assert written is None
    assert await applied(db) == {0, 8}


async def test_one_that_cannot_be_written_does_not_hold_up_the_others(db: Database) -> None:
    bad, good = await hosts(db, 2)
    broken = replace(bad.said({uuid4(): Observed(state=Seen.RUNNING)}), seq=2**70)
    async with at_work(db) as made:
        refused, written = await asyncio.gather(
            made.report(broken), made.report(replace(good.said(), applied_revision=7)), return_exceptions=True
        )
    assert isinstance(refused, Invalid)
    assert written is None
    assert await applied(db) == {0, 7}


async def test_a_node_that_a_pass_has_waits_alone(db: Database) -> None:
    held, free = await hosts(db, 2)
    async with at_work(db) as made:
        async with db.transaction() as conn:
            await nodes.hold(conn, [held.registration.node_id])
            late = asyncio.create_task(made.report(replace(held.said(), applied_revision=7)))
            await made.report(replace(free.said(), applied_revision=8))
            assert not late.done()
        await late
    assert await applied(db) == {7, 8}


async def in_turn(db: Database, node_id: UUID, end: asyncio.Event) -> None:
    """Passes that follow each other so closely that their node is never free."""
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(_holds(db, node_id, end))


async def _holds(db: Database, node_id: UUID, end: asyncio.Event) -> None:
    while not end.is_set():
        async with db.transaction() as conn:
            await nodes.hold(conn, [node_id])
            await asyncio.sleep(0.05)


async def test_where_no_moment_is_free_it_takes_its_place_in_the_queue(db: Database) -> None:
    (node,) = await hosts(db, 1)
    end = asyncio.Event()
    passes = asyncio.create_task(in_turn(db, node.registration.node_id, end))
    beats = Beats(lambda: db)
    beating = asyncio.create_task(beats.run())
    try:
        async with at_work(db) as made, asyncio.timeout(4):  # an agent gives up a beat after that
            await asyncio.sleep(0.1)
            await made.report(replace(node.said(), applied_revision=7))
            told = node.registration
            await beats.beat(Beat(node_id=told.node_id, session=told.session, engine_up=True))
    finally:
        end.set()
        beating.cancel()
        await asyncio.gather(passes, beating, return_exceptions=True)
    assert await applied(db) == {7}


async def test_a_node_that_is_held_does_not_end_the_sessions_of_others(db: Database) -> None:
    held, free = await hosts(db, 2)
    beats = Beats(lambda: db)
    beating = asyncio.create_task(beats.run())
    async with db.transaction() as conn:
        await nodes.hold(conn, [held.registration.node_id])
        told = held.registration
        late = asyncio.create_task(beats.beat(Beat(node_id=told.node_id, session=told.session, engine_up=True)))
        for _ in range(6):  # beyond its patience, and beyond the second that it waits in the queue
            told = free.registration
            await beats.beat(Beat(node_id=told.node_id, session=told.session, engine_up=True))
        assert not late.done()
    await late
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_a_node_that_is_held_for_long_does_not_end_its_session(db: Database) -> None:
    """Whoever has it is stopped after some seconds (decision 24); the report is written then."""
    (node,) = await hosts(db, 1)
    async with at_work(db) as made:
        async with db.transaction() as conn:
            await nodes.hold(conn, [node.registration.node_id])
            late = asyncio.create_task(made.report(replace(node.said(), applied_revision=7)))
            await asyncio.sleep(1.5)
            assert not late.done()
        await late
    assert await applied(db) == {7}


async def test_without_a_database_it_is_said_at_once(db: Database) -> None:
    (node,) = await hosts(db, 1)
    with pytest.raises(DatabaseAway):
        await Reports(lambda: None).report(node.said())
    closed = await Database.open(db.dsn)
    await closed.close()
    async with at_work(closed) as made:
        with pytest.raises(DatabaseAway):
            await made.report(node.said())


async def test_nobody_is_told_of_who_went_away(db: Database) -> None:
    gone, other = await hosts(db, 2)
    made = Reports(lambda: db)
    waiting = asyncio.create_task(made.report(replace(gone.said(), applied_revision=6)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    running = asyncio.create_task(made.run())
    await made.report(replace(other.said(), applied_revision=7))
    running.cancel()
    assert await applied(db) == {0, 7}


async def test_a_host_that_waits_for_its_session_is_not_silent(db: Database, tmp_path: Path) -> None:
    (node,) = await hosts(db, 1)
    database: asyncio.Future[Database] = asyncio.get_running_loop().create_future()
    database.set_result(db)
    shared = ControlPlane(database, Wakeups(), SecretBox.open(tmp_path, None))
    async with db.transaction() as conn:
        await conn.execute("UPDATE nodes SET last_seen = last_seen - interval '1 minute'")
    for _ in range(2):
        await shared.sessions.acquire()
    host = NodeCalls(shared, node.registration.node_id)
    coming = asyncio.create_task(host.register(NodeHello(name="n0", cluster_id=None, engine=node.engine)))
    beating = asyncio.create_task(shared.beats.run())
    await asyncio.sleep(0.3)
    assert not coming.done()
    await dispatch.expire(db)
    async with db.read() as conn:
        assert (await nodes.get(conn, node.registration.node_id)).state is NodeState.DEPLOYED
    shared.sessions.release()
    assert (await coming).session > node.registration.session
    host.end()
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


def reading(db: Database, **most: int) -> AbstractAsyncContextManager[News]:
    return running(News(lambda: db, Means, **most))


async def test_what_many_hosts_have_news_of_is_read_in_as_many_statements_as_for_one(record: Record) -> None:
    some = [await Node.join(record.db, f"n{n}") for n in range(20)]
    async with record.db.transaction() as conn:
        await nodes.bump_revisions(conn, [each.registration.node_id for each in some])
    service = await record.create(target=20)
    await record.operate(service, Verb.START)
    await record.passes()
    for each in some:
        await each.fetch()  # one is asked for the image
    await record.passes()
    ask = [Asked(registration=each.registration, since=each.revision) for each in some]
    said: list[int] = []
    answers: list[NodeAssignments] = []
    async with reading(record.db) as made:
        for group in (ask[:1], ask):
            seen: list[tuple[str, tuple[object, ...]]] = []
            with logged(seen):
                answers = await asyncio.gather(*map(made.read, group))
            said.append(len(seen))
    assert said == [4, 4]
    rows = {row.id: row.node_id for row in await record.rows(service)}
    for asked, answer in zip(ask, answers, strict=True):
        (own,) = answer.containers
        assert rows[own.container_id] == asked.node_id
        (copy,) = (each for each in answer.copies if each.of == service)
        assert [each["id"] for each in copy.rows["services"]] == [str(service)]
        assert [each["id"] for each in copy.rows["containers"]] == [str(own.container_id)]


async def test_of_each_node_one_question_is_read_at_a_time_and_a_session_that_is_over_learns_it(db: Database) -> None:
    """Also where both are on one process: an agent that comes back on another connection."""
    old, other = await hosts(db, 2)
    new = await Node.join(db, "n0")
    async with reading(db) as made:
        lost, told, full = await asyncio.gather(
            *(made.read(Asked(registration=each.registration, since=0)) for each in (old, new, other)),
            return_exceptions=True,
        )
    assert isinstance(lost, SessionLost)
    assert isinstance(told, NodeAssignments)
    assert isinstance(full, NodeAssignments)
    assert (told.session, told.base, full.base) == (new.registration.session, 0, 0)


async def test_one_that_cannot_be_read_does_not_hold_up_the_others(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await hosts(db, 2)

    async def broken(reached: Database, asked: Sequence[Asked], means: Means) -> list[Answer]:
        if bad.registration.node_id in {each.node_id for each in asked}:
            raise ValueError("a row that nobody can read")
        return await tell(reached, asked, means)

    monkeypatch.setattr(news, "tell", broken)
    async with reading(db) as made:
        refused, told = await asyncio.gather(
            *(made.read(Asked(registration=each.registration, since=0)) for each in (bad, good)), return_exceptions=True
        )
    assert isinstance(refused, ValueError)
    assert isinstance(told, NodeAssignments)


async def test_full_sets_are_read_for_few_at_a_time(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many hosts come back at once: passes and users keep connections of the pool, and beats their turns."""
    some, read = await hosts(db, 20), list[int]()

    async def counted(reached: Database, asked: Sequence[Asked], means: Means) -> list[Answer]:
        read.append(len(asked))
        return await tell(reached, asked, means)

    monkeypatch.setattr(news, "tell", counted)
    async with reading(db, most=news.MOST_FULL) as made:
        await asyncio.gather(*(made.read(Asked(registration=each.registration, since=0)) for each in some))
    assert read == [8, 8, 4]


async def test_a_handshake_that_took_too_long_gets_twice_the_time(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a control plane that a thousand hosts come back to begins each of their handshakes anew and ends none."""
    async with plane(database_url, tmp_path) as made:
        host = await made.join()
    monkeypatch.setattr(dial, "HANDSHAKE_SECONDS", 0.1)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", made.port)):  # the kernel takes connections, and nobody gets on with them
        for least in (0.1, 0.2, 0.4, 0.4):
            began = loop.time()
            with pytest.raises(ConnectionError, match="timed out"):
                await host.register(NodeHello(name="n1", cluster_id=None, engine=ENGINE))
            assert loop.time() - began >= least
