"""What agents' waits for news cost the database, and that no news is lost on the way: over a real Postgres."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.fleet import calls
from app.fleet.calls import ControlPlane, NodeCalls
from app.secretbox import SecretBox
from domain.assignment import NodeAssignments, NodeHello, Registration, SessionLost
from domain.errors import NotAllowed
from domain.node import NodeState
from orchestrator.listener import Wakeups, listen
from orchestrator.planning.view import Installation
from orchestrator.store import nodes, pauses, quarantines, wake
from orchestrator.store.db import Connection, Database
from tests.agents.harness import eventually
from tests.fleet.plane import engine

pytestmark = pytest.mark.postgres


class Counted(Database):
    """A database that knows how many statements were said to it."""

    said = 0

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        async with super().read() as conn:
            with conn.query_logger(self._one):
                yield conn
                await asyncio.sleep(0)  # the driver tells of a statement in the loop's next turn

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with super().transaction() as conn:
            with conn.query_logger(self._one):
                yield conn
                await asyncio.sleep(0)  # the driver tells of a statement in the loop's next turn

    def _one(self, _query: object) -> None:
        self.said += 1


class Host:
    """An agent that waits for news, without a wire."""

    def __init__(self, shared: ControlPlane, name: str) -> None:
        self.calls = NodeCalls(shared)
        self.name = name
        self.heard: list[NodeAssignments] = []
        self.revision = 0
        self.registration: Registration
        self.waiting: asyncio.Task[None]

    async def begin(self) -> Host:
        hello = NodeHello(name=self.name, cluster_id=None, engine=engine(self.name))
        self.registration = await self.calls.register(hello)
        self.waiting = asyncio.create_task(self._ask())
        await eventually(lambda: len(self.heard) == 1 and self.rests(), within=30, what="the full set")
        return self

    async def _ask(self) -> None:
        while True:
            news = await self.calls.assignments(self.registration, self.revision)
            self.revision = news.revision
            self.heard.append(news)
            await asyncio.sleep(0)

    def rests(self) -> bool:
        told = self.calls._told
        return told is not None and told.last is not None and not told.news.is_set()

    @property
    def node_id(self) -> UUID:
        return self.registration.node_id


class Ground:
    """A control plane that listens, as far as polls are concerned, and its hosts."""

    def __init__(self, db: Counted, shared: ControlPlane) -> None:
        self.db = db
        self.shared = shared
        self.hosts: list[Host] = []

    async def host(self, name: str) -> Host:
        made = await Host(self.shared, name).begin()
        self.hosts.append(made)
        return made

    async def change(self, host: Host, *, said: bool = True) -> None:
        """Something else is wanted of the host."""
        async with self.db.transaction() as conn:
            await nodes.bump_revisions(conn, [host.node_id])
            if said:
                await wake.node(conn, host.node_id)


@pytest.fixture
async def ground(database_url: str, tmp_path: Path) -> AsyncIterator[Ground]:
    db = Counted((await Database.open(database_url, size=6))._pool, database_url)
    database: asyncio.Future[Database] = asyncio.get_running_loop().create_future()
    database.set_result(db)
    secrets = SecretBox.open(tmp_path, None)
    installation = Installation(api_url="http://api.test", stream_url="ws://api.test")
    made = Ground(db, ControlPlane(database, Wakeups(), secrets, installation))
    listening = asyncio.create_task(listen(database_url, made.shared.wakeups))
    reading = [asyncio.create_task(each.run()) for each in (made.shared.news, made.shared.full_sets)]
    await asyncio.wait_for(made.shared.wakeups.missed.wait(), 30)
    try:
        yield made
    finally:
        tasks = [listening, *reading, *(each.waiting for each in made.hosts)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await db.close()


async def test_hosts_at_rest_cost_one_statement_a_look_however_many_there_are(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "POLL_SECONDS", 0.1)
    costs = []
    for many in (2, 12):
        while len(ground.hosts) < many:
            await ground.host(f"n{len(ground.hosts)}")
        # Copies of the nodes themselves are told and taken in.
        await eventually(lambda: all(each.rests() for each in ground.hosts), within=30, what="rest")
        await ground.shared.polls.look()
        before, told = ground.db.said, [len(each.heard) for each in ground.hosts]
        for look in range(1, 4):
            await ground.shared.polls.look()
            again = [each + look for each in told]
            await eventually(
                lambda again=again: all(len(a.heard) >= n for a, n in zip(ground.hosts, again, strict=True)),  # type: ignore[misc]
                within=30,
                what="each to be told that nothing is new",
            )
        costs.append(ground.db.said - before)
    assert costs == [3, 3]
    for each in ground.hosts:
        last = each.heard[-1]
        assert (last.base, last.revision) == (max(each.revision, 1), each.revision)
        assert (last.containers, last.images, last.copies) == ((), (), ())


async def test_news_between_two_calls_is_told_by_the_next_one(ground: Ground) -> None:
    host = await ground.host("n1")
    host.waiting.cancel()
    await asyncio.gather(host.waiting, return_exceptions=True)
    await ground.change(host)
    await eventually(lambda: not host.rests(), within=30, what="the notification")
    news = await asyncio.wait_for(host.calls.assignments(host.registration, host.revision), 20)
    assert news.revision == host.revision + 1


async def test_a_host_is_told_of_a_change_at_once(ground: Ground) -> None:
    one, other = await ground.host("n1"), await ground.host("n2")
    await ground.change(one)
    await eventually(lambda: len(one.heard) == 2, within=20, what="the news")
    assert (one.heard[-1].revision, len(other.heard)) == (1, 1)


async def test_lost_notifications_are_found_by_the_look(ground: Ground) -> None:
    hosts = [await ground.host(f"n{number}") for number in range(4)]
    changed, copied, out, rest = hosts
    await ground.change(changed, said=False)
    async with ground.db.transaction() as conn:
        await nodes.describe(conn, copied.node_id, ("web",), None)
        await conn.execute(
            "UPDATE nodes SET session = session + 1, state = $2 WHERE id = $1", out.node_id, NodeState.TERMINATED.value
        )
    assert [len(each.heard) for each in hosts] == [1, 1, 1, 1]
    await ground.shared.polls.look()
    await eventually(lambda: len(changed.heard) == 2, within=20, what="the change")
    await eventually(lambda: len(copied.heard) == 2, within=20, what="the copy")
    assert [each.of for each in copied.heard[-1].copies] == [copied.node_id]
    with pytest.raises(NotAllowed, match="taken out"):
        await asyncio.wait_for(out.waiting, 20)
    assert len(rest.heard) == 1


@pytest.mark.parametrize("what", ["paused", "resumed", "engine", "word", "lineage", "address"])
async def test_whatever_is_told_is_found_by_the_look(ground: Ground, what: str) -> None:
    host = await ground.host("n1")
    if what == "resumed":
        async with ground.db.transaction() as conn:
            await pauses.set_node(conn, host.node_id, "admin")
        await ground.change(host)
        await eventually(lambda: len(host.heard) == 2, within=20, what="to be told nothing")
        assert host.heard[-1].revision == 0
    told = len(host.heard)
    async with ground.db.transaction() as conn:
        match what:
            case "paused":
                await pauses.set_node(conn, host.node_id, "admin")
            case "resumed":
                await pauses.set_node(conn, host.node_id, None)
            case "engine":
                await quarantines.accept_engine(conn, host.node_id, "another")
            case "word":
                await quarantines.say(conn, host.node_id, "keep", ahead=None)
            case "lineage":
                await conn.execute("UPDATE installation SET lineage = $1", uuid4())
            case _:
                await nodes.administer(conn, host.node_id, host.name, "192.0.2.7")
    await ground.shared.polls.look()
    if what == "paused":
        # It goes on with what it has; there is nothing to say.
        assert host.rests()
        return
    await eventually(lambda: len(host.heard) > told, within=20, what="the news")


async def test_a_session_that_was_followed_elsewhere_ends_by_the_look(ground: Ground, database_url: str) -> None:
    host = await ground.host("n1")
    other = await Database.open(database_url, size=1)
    async with other.transaction() as conn:
        await conn.execute("UPDATE nodes SET session = session + 1 WHERE id = $1", host.node_id)
    await other.close()
    await ground.shared.polls.look()
    with pytest.raises(SessionLost, match="was followed by"):
        await asyncio.wait_for(host.waiting, 20)


async def test_a_listener_that_connects_anew_looks_at_once(ground: Ground) -> None:
    host, looking = await ground.host("n1"), asyncio.create_task(ground.shared.polls.run())
    await eventually(lambda: not ground.shared.wakeups.missed.is_set(), within=30, what="the first look")
    await ground.change(host, said=False)
    ground.shared.wakeups.everybody()
    await eventually(lambda: len(host.heard) == 2, within=20, what="the news")
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)


async def test_who_does_not_have_what_was_told_is_told_again(ground: Ground) -> None:
    host = await ground.host("n1")
    await ground.change(host)
    await eventually(lambda: host.revision == 1, within=20, what="the news")
    again: Any = await asyncio.wait_for(host.calls.assignments(host.registration, 0), 20)
    assert (again.base, again.revision) == (0, 1)
