"""A record made anew from what agents' ledgers hold: the same rows, and nothing left for a pass to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from agents.ledger import Ledger
from app.cli import CommandError
from app.cli import rebuild as command
from app.fleet import kept
from app.fleet.authority import open_authority
from app.secretbox import SecretBox
from app.settings import get_settings
from domain.assignment import LedgerWanted, NodeHello, Registration
from domain.container import Container
from domain.errors import NotAllowed
from domain.service import Service, ServiceState, Verb
from domain.spec import Link, PortSpec, ServiceSpec, Strategy, Transport
from orchestrator import dispatch
from orchestrator.store import accounts, containers, copies, fleet, nodes, pauses, rebuild, services, wake
from orchestrator.store.db import Database
from tests.harness.postgres import TestPostgres
from tests.harness.told import assignments_since
from tests.orchestrator.world import ENGINE, Node, Record

NAMES = ("n1", "n2")


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Record]:
    opened = await Record.open(database_url)
    yield opened
    await opened.db.close()


async def another(postgres: TestPostgres) -> str:
    """A database that is no copy of the others'; its DSN."""
    dsn = await postgres.fresh()
    db = await Database.open(dsn, size=1)
    async with db.transaction() as conn:
        await conn.execute("UPDATE installation SET cluster_id = gen_random_uuid(), lineage = gen_random_uuid()")
    await db.close()
    return dsn


@pytest.fixture
async def fresh(postgres: TestPostgres) -> AsyncIterator[Database]:
    """What is there after the first start on an empty database."""
    dsn = await another(postgres)
    opened = await Record.open(dsn)
    yield opened.db
    await opened.db.close()
    await postgres.drop(dsn)


def hello(name: str, ledger: Ledger | None = None, *, bring: bool = False) -> NodeHello:
    engine = replace(ENGINE, place=name)
    if ledger is None:
        return NodeHello(name=name, cluster_id=None, engine=engine)
    told = ledger.testimony() if bring else None
    return NodeHello(name=name, cluster_id=ledger.cluster_id, engine=engine, seen=ledger.seen, testimony=told)


async def agent(db: Database, folder: Path, name: str) -> tuple[Node, Ledger]:
    registration = await dispatch.register(db, hello(name))
    ledger = Ledger(folder / name)
    ledger.begin(registration)
    return Node(db, registration), ledger


async def learn(db: Database, registration: Registration, ledger: Ledger) -> None:
    """All that the node is told."""
    news = await assignments_since(db, registration, 0)
    ledger.accept(news)
    ledger.keep(news.copies)
    await ledger.save()


async def rows(db: Database, account: UUID, ids: list[UUID]) -> tuple[list[Service], list[Container]]:
    """Services and containers, without what is seen, and what an end of an operation leaves."""
    async with db.read() as conn:
        found = [await services.get(conn, account, each) for each in ids]
        held = await containers.open_rows(conn, ids)
    return found, sorted((replace(each, seen=None) for each in held), key=lambda each: each.id)


SPECS = (
    ServiceSpec(image="tutela/web:latest", ports=(PortSpec(protocol=Transport.TCP, inner_port=80, published=True),)),
    ServiceSpec(image="tutela/web:latest", env=(("A", "1"),), tags=(), deployment_strategy=Strategy.HIGH_AVAILABILITY),
    ServiceSpec(
        image="tutela/web:latest",
        memory=64,
        ports=(PortSpec(protocol=Transport.UDP, inner_port=53, outer_port=5353, published=True),),
    ),
)


async def test_the_same_record_is_made_anew(record: Record, fresh: Database, tmp_path: Path) -> None:
    db = record.db
    agents = {name: await agent(db, tmp_path, name) for name in NAMES}
    ids = [await record.create(f"s{n}", 3 if n == 1 else 1, spec) for n, spec in enumerate(SPECS)]
    linked = ServiceSpec(image="tutela/web:latest", links=(Link(name="db", to_service=ids[0]),))
    ids.append(await record.create("client", 2, linked))
    for each in ids:
        await record.operate(each, Verb.START)
    await record.settle(*(node for node, _ in agents.values()))
    await record.operate(ids[2], Verb.STOP)
    await record.settle(*(node for node, _ in agents.values()))
    async with db.transaction() as conn:
        await nodes.describe(conn, agents["n1"][0].registration.node_id, ["blue"], "first")
        cluster = await nodes.cluster_id(conn)
    for node, ledger in agents.values():
        await learn(db, node.registration, ledger)
    before = await rows(db, record.account.id, ids)
    assert {await record.state(each) for each in ids} == {ServiceState.RUNNING, ServiceState.STOPPED}
    assert len({row.node_id for row in before[1]}) == 2
    async with db.read() as conn:
        ports = await conn.fetch("SELECT * FROM ports ORDER BY node_id, port")
        loads = await conn.fetch("SELECT id, name, tags, nickname, live, reserved_memory FROM nodes ORDER BY id")
        links = await conn.fetch("SELECT * FROM links")

    async with fresh.transaction() as conn:
        await rebuild.begin(conn, cluster, "certificate", b"sealed")
    for name, (_, ledger) in agents.items():
        with pytest.raises(LedgerWanted):
            await dispatch.register(fresh, hello(name, ledger))
        begun = await dispatch.register(fresh, hello(name, ledger, bring=True))
        assert (begun.node_id, begun.quarantine) == (ledger.node_id, "")
        again = await dispatch.register(fresh, hello(name, ledger))
        assert again.node_id == begun.node_id, "it is known by now"
        agents[name] = Node(fresh, again), ledger
    made = Record(fresh, await admin(fresh))
    after = await rows(fresh, made.account.id, ids)
    assert [replace(each, account_id=record.account.id) for each in after[0]] == before[0]
    assert after[1] == before[1]
    async with fresh.read() as conn:
        assert await conn.fetch("SELECT * FROM ports ORDER BY node_id, port") == ports
        assert (
            await conn.fetch("SELECT id, name, tags, nickname, live, reserved_memory FROM nodes ORDER BY id") == loads
        )
        assert await conn.fetch("SELECT * FROM links") == links
        assert await conn.fetchval("SELECT restored_from FROM installation") == agents["n1"][1].seen.lineage  # type: ignore[union-attr]
    # Each is told exactly what it has, and a pass finds nothing to do.
    for node, ledger in agents.values():
        told = await assignments_since(fresh, node.registration, 0)
        have = {key: replace(each, seen_start_gen=0) for key, each in ledger.assignments.items()}
        assert {each.container_id: replace(each, seen_start_gen=0) for each in told.containers} == have
        await node.obey()
    assert await made.passes() == 0, "nothing is decided before all hosts were heard"
    async with fresh.transaction() as conn:
        await rebuild.finish(conn)
        await pauses.set_all(conn, None)
        await wake.every_service(conn)
    await made.settle(*(node for node, _ in agents.values()))
    settled = await rows(fresh, made.account.id, ids)
    assert settled[1] == before[1]
    assert [await made.state(each) for each in ids] == [await record.state(each) for each in ids]
    # It goes on: what is taken is known to be.
    async with fresh.transaction() as conn:
        assert await services.free_unique_name(conn, made.account.id, "s0") == "s0-s2"
    await made.scale(ids[1], 4)
    await made.settle(*(node for node, _ in agents.values()))
    assert sorted(row.slot for row in await made.rows(ids[1])) == [1, 2, 3, 4]
    with pytest.raises(NotAllowed, match="taken out"):
        await dispatch.register(fresh, hello("n3"), node_id=record.account.id)


async def admin(db: Database) -> accounts.Account:
    async with db.read() as conn:
        found = await accounts.admin(conn)
    assert found is not None
    return found


async def test_a_host_is_told_of_each_change_of_what_it_keeps_and_of_nothing_else(record: Record) -> None:
    node, other = await Node.join(record.db, "n1"), await Node.join(record.db, "n2")
    first, second = await record.create("a", 1), await record.create("b", 1)
    for each in (first, second):
        await record.operate(each, Verb.START)
        await record.settle(node, other)
    ours = {row.service_id: row.node_id for each in (first, second) for row in await record.rows(each)}
    assert len(set(ours.values())) == 2

    async def due(at: Node) -> dict[UUID, int]:
        async with record.db.read() as conn:
            return {of: version for _, of, version in await copies.due(conn, [at.registration.node_id])}

    async def told(at: Node, had: dict[UUID, int]) -> None:
        await assignments_since(record.db, at.registration, 1, had=list(had.items()))

    holder = node if ours[first] == node.registration.node_id else other
    stranger = other if holder is node else node
    for at in (node, other):
        await told(at, await due(at))
        assert await due(at) == {}
    await record.scale(first, 1)
    await record.settle(node, other)
    assert await due(stranger) == {}
    assert set(await due(holder)) <= {first}, "what was not changed is not told"
    await told(holder, await due(holder))
    async with record.db.transaction() as conn:
        service = await services.lock(conn, record.account.id, first)
        await services.save(conn, replace(service, spec=replace(service.spec, nickname="x")), ServiceState.RUNNING)
    had = await due(holder)
    assert set(had) == {first}
    news = await assignments_since(record.db, holder.registration, 1)
    (copy,) = news.copies
    assert (copy.of, copy.rows["services"][0]["spec"]["nickname"]) == (first, "x")
    assert "password_hash" not in copy.rows["accounts"][0]
    # It changes again before the agent has said that it has this: it stays due.
    async with record.db.transaction() as conn:
        await services.save(conn, replace(service, spec=replace(service.spec, nickname="y")), ServiceState.RUNNING)
    await told(holder, had)
    assert set(await due(holder)) == {first}
    async with record.db.transaction() as conn:
        await nodes.describe(conn, stranger.registration.node_id, ["blue"], None)
    assert set(await due(stranger)) == {stranger.registration.node_id}


async def test_a_host_that_is_not_known_is_refused_when_nothing_is_made_anew(record: Record, tmp_path: Path) -> None:
    _, ledger = await agent(record.db, tmp_path, "n1")
    node_id = ledger.node_id
    assert node_id is not None
    async with record.db.transaction() as conn:
        await conn.execute("DELETE FROM nodes")
        assert await fleet.terminated(conn, node_id)
    with pytest.raises(NotAllowed):
        await dispatch.register(record.db, hello("n1", ledger, bring=True), node_id=node_id)
    ledger.close()


async def test_what_nobody_knows_the_service_of_is_no_stranger(record: Record, fresh: Database, tmp_path: Path) -> None:
    node, ledger = await agent(record.db, tmp_path, "n1")
    known, lost = await record.create("known", 1), await record.create("lost", 1)
    for each in (known, lost):
        await record.operate(each, Verb.START)
    await record.settle(node)
    await learn(record.db, node.registration, ledger)
    async with record.db.read() as conn:
        cluster = await nodes.cluster_id(conn)
    async with fresh.transaction() as conn:
        await rebuild.begin(conn, cluster, "certificate", b"sealed")
    brought = hello("n1", ledger, bring=True)
    assert brought.testimony is not None
    kept = tuple(copy for copy in brought.testimony.copies if copy.of != lost)
    begun = await dispatch.register(fresh, replace(brought, testimony=replace(brought.testimony, copies=kept)))
    assert "was told more than this record knows" in begun.quarantine
    told = await assignments_since(fresh, begun, 0)
    assert (told.base, told.containers) == (1, ()), "it goes on with what it has"
    async with fresh.read() as conn:
        assert await conn.fetchval("SELECT count(*) FROM containers") == 1
    ledger.close()


@pytest.fixture
def lost(postgres: TestPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A state directory whose database is another, migrated one by now; its DSN."""
    state = tmp_path / "state"
    dsn = asyncio.run(postgres.fresh())
    monkeypatch.setenv("DATABASE_URL", dsn)
    monkeypatch.setenv("TUTELA_STATE_DIR", str(state))
    get_settings.cache_clear()
    yield dsn, state
    asyncio.run(postgres.drop(dsn))
    get_settings.cache_clear()


async def founded(dsn: str, state: Path) -> UUID:
    """The installation is there, as after its first start."""
    record = await Record.open(dsn)
    try:
        await open_authority(record.db, SecretBox.open(state))
        await kept.keep(record.db, state)
        async with record.db.read() as conn:
            return await nodes.cluster_id(conn)
    finally:
        await record.db.close()


async def facts(dsn: str) -> tuple[UUID, bool, str | None]:
    db = await Database.open(dsn, size=1)
    try:
        async with db.read() as conn:
            authority = await fleet.authority(conn)
            return (
                await nodes.cluster_id(conn),
                await rebuild.under_way(conn),
                authority.certificate if authority else None,
            )
    finally:
        await db.close()


def test_the_command_begins_on_an_empty_database_with_what_hosts_trust(
    lost: tuple[str, Path],
    postgres: TestPostgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dsn, state = lost
    with pytest.raises(CommandError, match=r"authority\.json is not there"):
        command.run(force=False)
    cluster = asyncio.run(founded(dsn, state))
    assert (state / kept.FILE).stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="the database is not lost: it has 1 users"):
        command.run(force=False)
    empty = asyncio.run(another(postgres))
    monkeypatch.setenv("DATABASE_URL", empty)
    get_settings.cache_clear()
    secret = (state / "secret-key").read_text()
    (state / "secret-key").unlink()
    with pytest.raises(CommandError, match="secret-key is not there"):
        command.run(force=False)
    assert not (state / "secret-key").exists(), "none is made in its place"
    SecretBox.open(state)
    with pytest.raises(CommandError, match="sealed with another secret"):
        command.run(force=False)
    (state / "secret-key").write_text(secret)
    capsys.readouterr()
    command.run(force=False)
    assert f"was begun in the database {urlsplit(empty).path[1:]} at " in capsys.readouterr().out
    found = kept.read(state)
    assert found is not None
    assert asyncio.run(facts(empty)) == (cluster, True, found.certificate)
    # Somebody starts on an empty database first: what hosts trust is put aside and not lost.
    other = asyncio.run(another(postgres))
    assert asyncio.run(founded(other, state)) != cluster
    assert (state / f"authority.{cluster}.json").exists()
    for each in (empty, other):
        asyncio.run(postgres.drop(each))


def test_begun_once_it_is_begun_and_another_record_is_given_up_only_with_force(
    lost: tuple[str, Path],
    postgres: TestPostgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dsn, state = lost
    cluster = asyncio.run(founded(dsn, state))
    found = kept.read(state)
    assert found is not None
    empty = asyncio.run(another(postgres))
    monkeypatch.setenv("DATABASE_URL", empty)
    get_settings.cache_clear()
    for said, force in (("was begun in", False), ("was begun already in", False), ("was begun in", True)):
        command.run(force=force)
        told = capsys.readouterr().out
        assert (said in told, "Now: ./tutela up" in told) == (True, True)
        assert asyncio.run(facts(empty)) == (cluster, True, found.certificate)
    asyncio.run(of_another(empty))
    with pytest.raises(CommandError, match="authority of another installation: with --force"):
        command.run(force=False)
    command.run(force=True)
    assert asyncio.run(facts(empty)) == (cluster, True, found.certificate)
    asyncio.run(postgres.drop(empty))


async def of_another(dsn: str) -> None:
    """The authority in the database becomes another one."""
    db = await Database.open(dsn, size=1)
    async with db.transaction() as conn:
        await conn.execute("UPDATE authority SET certificate = 'another'")
    await db.close()


def test_a_secret_that_is_none_is_said_to_be(lost: tuple[str, Path]) -> None:
    dsn, state = lost
    asyncio.run(founded(dsn, state))
    (state / "secret-key").write_text("short")
    with pytest.raises(CommandError, match="secret-key: "):
        command.run(force=True)
