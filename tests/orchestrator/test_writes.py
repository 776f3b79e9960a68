"""What a report and a pass say to the database: nothing for what is as it was, one statement for all that is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from uuid import UUID

import pytest

from domain.assignment import NodeHello
from domain.container import Seen
from domain.service import ServiceState, Verb
from domain.spec import PortSpec, ServiceSpec, Strategy, Transport
from orchestrator import dispatch
from orchestrator.reconciler import gather
from orchestrator.store import schedule
from tests.api.test_cost import FILL, logged, scanned
from tests.harness.passes import reconcile_due
from tests.orchestrator.world import INSTALLATION, POLICY, Node, Record, done

REPORTED = 30


async def statements(work: Callable[[], Awaitable[object]]) -> list[str]:
    """What the work says within its blocks, without their begins and ends."""
    seen: list[tuple[str, tuple[object, ...]]] = []
    with logged(seen):
        await work()
    return [" ".join(query.split()) for query, _ in seen]


async def due(record: Record) -> set[UUID]:
    """The services that are looked at next."""
    await gather(record.db)
    async with record.db.read() as conn:
        return {row["id"] for row in await conn.fetch("SELECT id FROM services WHERE look_at <= clock_timestamp()")}


async def host_of_ten_services(record: Record) -> tuple[Node, list[UUID]]:
    node = await Node.join(record.db)
    services = [await record.create(f"s{n}", target=3) for n in range(10)]
    for each in services:
        await record.operate(each, Verb.START)
    await record.settle(node)
    assert len(node.held) == REPORTED
    return node, services


async def versions(record: Record) -> set[tuple[object, ...]]:
    """Which versions of the rows of containers and services there are: another one for each write."""
    async with record.db.read() as conn:
        rows = await conn.fetch("SELECT id, xmin::text FROM containers UNION ALL SELECT id, xmin::text FROM services")
    return {tuple(row) for row in rows}


async def test_a_pass_that_changes_nothing_writes_no_definition(record: Record) -> None:
    _, (service, *_) = await host_of_ten_services(record)
    before = await record.service(service)
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE services SET look_at = clock_timestamp() WHERE id = $1", service)
    said = await statements(lambda: reconcile_due(record.db, INSTALLATION, POLICY))
    (written,) = [each for each in said if each.startswith("UPDATE services")]
    assert "spec" not in written
    assert await record.service(service) == before
    assert service not in await due(record)


async def test_a_report_that_says_nothing_new_writes_no_container_and_wakes_no_service(record: Record) -> None:
    node, _ = await host_of_ten_services(record)
    before = await versions(record)
    said = await statements(lambda: node.report({key: done(each) for key, each in node.held.items()}))
    assert len(said) == 2, said
    assert await due(record) == set()
    assert await versions(record) == before


async def test_a_new_session_tells_everything_again_for_two_statements(record: Record) -> None:
    node, _ = await host_of_ten_services(record)
    before = await versions(record)
    again = await Node.join(record.db)
    assert again.registration.session > node.registration.session
    said = await statements(lambda: again.report({key: done(each) for key, each in node.held.items()}))
    assert len(said) == 2, said
    assert await due(record) == set()
    assert await versions(record) == before
    # It was the newest all the same: the session before it has no say any more, and the next thing said counts.
    (container, told), *_ = [(key, done(each)) for key, each in node.held.items()]
    await again.report({container: replace(told, state=Seen.EXITED, exit_code=3)})
    assert len(await due(record)) == 1


@pytest.mark.parametrize(
    "other",
    [
        "",
        "state = 'Unreachable'",
        "engine = jsonb_set(engine, '{memory}', '1')",
        "address = '10.0.0.2'",
        "ahead = jsonb_build_object('node_id', id, 'lineage', gen_random_uuid(), 'revision', 7)",
    ],
)
async def test_a_new_session_wakes_who_waits_for_a_node_where_the_node_was_another(record: Record, other: str) -> None:
    """Those that wait, and those for every node: a cut of all connections is a session for each host."""
    node = await Node.join(record.db)
    every = await record.create("every", spec=ServiceSpec(image="a:1", deployment_strategy=Strategy.EVERY_NODE))
    waiting, at_rest = await record.create("waiting"), await record.create("at-rest")
    for each in (every, waiting, at_rest):
        await record.operate(each, Verb.START)
    await record.settle(node)
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE services SET waits_for = 'a node' WHERE id = $1", waiting)
        await conn.execute("UPDATE nodes SET address = '10.0.0.1'")
        if other:
            await conn.execute(f"UPDATE nodes SET {other}")  # noqa: S608 - one of the above
    hello = NodeHello(name="local", cluster_id=None, engine=node.engine, address="10.0.0.1")
    await dispatch.register(record.db, hello)
    on_it = {at_rest} if "state" in other else set()
    assert await due(record) == ({every, waiting} | on_it if other else set())


async def test_a_report_of_thirty_changes_costs_as_many_statements_as_one_of_one(record: Record) -> None:
    node, services = await host_of_ten_services(record)
    ended = {key: replace(done(each), state=Seen.EXITED, exit_code=1) for key, each in node.held.items()}
    (first, seen), *_ = ended.items()
    one = await statements(lambda: node.report({first: seen}))
    await record.passes()
    every = await statements(lambda: node.report(ended))
    assert [text.split(" ")[:2] for text in every] == [text.split(" ")[:2] for text in one]
    assert len(every) == 5, every
    assert await due(record) == set(services)
    states = [await record.state(each) for each in services]
    assert set(states) == {ServiceState.STOPPED}


async def test_a_pass_that_places_a_hundred_costs_as_many_statements_as_one_that_places_five(record: Record) -> None:
    """One more than for two: with the fifth the clients of its links are to know more names."""
    nodes = [await Node.join(record.db, f"n{n}") for n in range(100)]

    async def placing(name: str, target: int) -> list[str]:
        service = await record.create(name, target=target)
        await record.operate(service, Verb.START)
        await record.passes()
        for agent in nodes:
            await agent.fetch()
        await gather(record.db)
        said = await statements(lambda: reconcile_due(record.db, INSTALLATION, POLICY))
        rows = await record.rows(service)
        assert len(rows) == len({row.node_id for row in rows}) == target
        for agent in nodes:
            await agent.fetch()
        held = {key for agent in nodes for key, each in agent.held.items() if each.service_id == service}
        assert held == {row.id for row in rows}
        return said

    two = await placing("two", 2)
    assert len(two) == 10, two
    five = await placing("five", 5)
    assert len(five) == 11, five
    assert await placing("hundred", 100) == five


async def test_a_pass_that_stops_thirty_costs_as_many_statements_as_one_that_stops_one(record: Record) -> None:
    node = await Node.join(record.db)
    one, many = await record.create("one", target=1), await record.create("many", target=30)
    said = {}
    for service in (one, many):
        await record.operate(service, Verb.START)
        await record.settle(node)
        await record.operate(service, Verb.STOP)
        said[service] = await statements(lambda: reconcile_due(record.db, INSTALLATION, POLICY))
        await record.settle(node)
        assert await record.state(service) is ServiceState.STOPPED
    assert said[many] == said[one]
    assert len(said[one]) == 9, said[one]


async def test_what_is_due_next_counts_wakes_that_nobody_gathered_yet(record: Record) -> None:
    node, _ = await host_of_ten_services(record)
    async with record.db.read() as conn:
        assert await schedule.soonest(conn) is None
    (key, each), *_ = node.held.items()
    await node.report({key: replace(done(each), state=Seen.EXITED, exit_code=1)})
    async with record.db.read() as conn:
        soon = await schedule.soonest(conn)
    assert soon is not None
    assert soon <= 0


async def test_no_statement_of_reports_and_their_passes_reads_a_large_table_from_end_to_end(record: Record) -> None:
    port = PortSpec(protocol=Transport.TCP, inner_port=80, outer_port=8080, published=True)
    service = await record.create("web", target=3)
    async with record.db.transaction() as conn:
        await conn.execute("SET LOCAL statement_timeout = '60s'")
        await conn.execute(FILL, timeout=60)
    fixed = await record.create("web", target=1, spec=ServiceSpec(image="tutela/web:latest", ports=(port,)))
    node = await Node.join(record.db)
    seen: list[tuple[str, tuple[object, ...]]] = []
    with logged(seen):
        for each in (service, fixed):
            await record.operate(each, Verb.START)
        await record.settle(node)
        await node.report({key: replace(done(each), state=Seen.EXITED) for key, each in node.held.items()})
        await Node.join(record.db)
        await record.passes()
    found = [problem for query, arguments in seen if (problem := await scanned(record.db, query, arguments))]
    assert not found, "\n\n".join(found)
