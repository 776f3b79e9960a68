"""Reports and passes at the same moment, on real connections: neither waits for the other's thinking, and no wake is
lost (decision 24). In the simulator transactions are serial, so that it cannot show this."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from uuid import UUID, uuid4

from domain.container import ContainerState, Observed, Seen
from domain.service import ServiceState, Verb
from orchestrator import apply
from orchestrator.reconciler import decide, gather
from orchestrator.store import pauses, reports, schedule, wake
from orchestrator.store.db import Connection, Database
from tests.harness.passes import reconcile_due
from tests.orchestrator.world import INSTALLATION, POLICY, Node, Record, done


async def running(record: Record, *agents: Node, target: int = 1) -> UUID:
    service = await record.create(target=target)
    await record.operate(service, Verb.START)
    await record.settle(*agents)
    assert await record.state(service) is ServiceState.RUNNING
    return service


def ended(node: Node) -> dict[UUID, Observed]:
    return {key: replace(done(each), state=Seen.EXITED, exit_code=1) for key, each in node.held.items()}


async def cached(record: Record, service: UUID) -> tuple[str, list[str]]:
    """The states in the columns that filters and events go by: the service's, its containers'."""
    async with record.db.read() as conn:
        own = await conn.fetchval("SELECT state FROM services WHERE id = $1", service)
        rows = await conn.fetch("SELECT state FROM containers WHERE service_id = $1 AND terminated_at IS NULL", service)
    return own, [row["state"] for row in rows]


async def taken(conn: Connection, service: UUID) -> schedule.Due:
    found = await schedule.take(conn)
    assert isinstance(found, schedule.Due)
    assert found.id == service
    return found


async def test_a_report_does_not_wait_for_a_pass_and_is_seen_by_the_next_one(record: Record) -> None:
    node = await Node.join(record.db)
    service = await running(record, node)
    async with record.db.transaction() as conn:
        await wake.service(conn, service)
    async with record.db.transaction() as conn:
        due = await taken(conn, service)
        view, plan = await decide(conn, due.read(), INSTALLATION, POLICY, due.at)
        await node.report(ended(node))  # would wait for this very transaction, were the service's lock needed
        assert await gather(record.db) == 0  # and stays until the pass has ended
        await apply.apply(conn, view, plan)
    assert (await cached(record, service))[0] == ServiceState.RUNNING.value  # as the pass saw it
    assert await record.passes() == 1
    assert (await cached(record, service))[0] == ServiceState.STOPPED.value


async def test_a_pass_that_is_rolled_back_takes_no_wake_along(record: Record) -> None:
    node = await Node.join(record.db)
    service = await running(record, node)
    async with record.db.transaction() as conn:
        await wake.service(conn, service)
    with contextlib.suppress(ZeroDivisionError):
        async with record.db.transaction() as conn:
            await taken(conn, service)
            await node.report(ended(node))
            raise ZeroDivisionError
    await record.passes()
    assert (await cached(record, service))[0] == ServiceState.STOPPED.value


async def test_a_report_between_a_passs_look_and_its_writing_counts_for_the_containers_state(record: Record) -> None:
    """The pass saw a container that had ended, and stops it; it runs again by the time that this is written."""
    node = await Node.join(record.db)
    service = await running(record, node, target=2)
    (crashed, seen), *_ = ended(node).items()
    await node.report({crashed: seen})
    await record.passes()
    await record.operate(service, Verb.STOP)
    async with record.db.transaction() as conn:
        due = await taken(conn, service)
        view, plan = await decide(conn, due.read(), INSTALLATION, POLICY, due.at)
        assert {row.seen.state for row in view.containers if row.seen} == {Seen.RUNNING, Seen.EXITED}
        await node.report({crashed: done(node.held[crashed])})
        await apply.apply(conn, view, plan)
    assert await cached(record, service) == (ServiceState.STOPPING.value, [ContainerState.STOPPING.value] * 2)
    await record.settle(node)
    assert await record.state(service) is ServiceState.STOPPED


async def test_a_report_waits_for_a_pass_that_writes_and_goes_by_what_it_wrote(record: Record) -> None:
    node = await Node.join(record.db)
    service = await running(record, node)
    await record.operate(service, Verb.STOP)
    async with record.db.transaction() as conn:
        due = await taken(conn, service)
        await apply.apply(conn, *await decide(conn, due.read(), INSTALLATION, POLICY, due.at))
        said = asyncio.create_task(node.report(ended(node)))
        await waits_for_a_lock(record)
    await said
    assert (await cached(record, service))[1] == [ContainerState.STOPPED.value]
    await record.settle(node)
    assert await record.state(service) is ServiceState.STOPPED


async def waits_for_a_lock(record: Record) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(3), record.db.read() as conn:  # it gives up after the lock_timeout of 4 s
        while not await conn.fetchval(waiting):
            await conn.execute("SELECT pg_sleep(0.01)")


async def test_reports_of_two_nodes_about_one_service_do_not_wait_for_each_other(record: Record) -> None:
    one, other = await Node.join(record.db, "one"), await Node.join(record.db, "other")
    service = await running(record, one, other, target=2)
    assert len(one.held) == len(other.held) == 1
    async with record.db.transaction() as conn:
        assert await reports.touch(conn, [one.said()])
        await wake.leave(conn, [service])
        await other.report(ended(other))
    assert await record.passes() >= 1


async def test_a_node_that_comes_back_waits_for_no_pass(record: Record) -> None:
    node = await Node.join(record.db)
    service = await running(record, node)
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET state = 'Unreachable'")
        await wake.service(conn, service)
    async with record.db.transaction() as conn:
        due = await taken(conn, service)
        view, plan = await decide(conn, due.read(), INSTALLATION, POLICY, due.at)
        await Node.join(record.db)
        await apply.apply(conn, view, plan)
    assert await record.passes() == 1  # the one that sees it back


async def test_wakes_of_what_is_paused_are_kept_in_the_queue_and_not_in_a_heap(record: Record) -> None:
    node = await Node.join(record.db)
    service = await running(record, node)
    async with record.db.transaction() as conn:
        await pauses.set_service(conn, service, "admin")
    for code in range(5):
        await node.report({key: replace(seen, exit_code=code) for key, seen in ended(node).items()})
        assert await record.passes() == 0
    async with record.db.transaction() as conn:
        assert await conn.fetchval("SELECT count(*) FROM wakes") == 0
        assert await schedule.soonest(conn) is None
        await pauses.set_service(conn, service, None)
    assert await record.passes() == 1


async def test_wakes_of_a_service_that_was_purged_go(record: Record) -> None:
    """Else they would be due for ever, and the workers never rest."""
    async with record.db.transaction() as conn:
        await wake.leave(conn, [uuid4()])
        assert (await schedule.soonest(conn) or 0.0) <= 0
    assert await gather(record.db) == 0
    async with record.db.read() as conn:
        assert await conn.fetchval("SELECT count(*) FROM wakes") == 0
        assert await schedule.soonest(conn) is None


async def test_passes_and_reports_at_once_end_as_wanted(record: Record, database_url: str) -> None:
    """Passes that write containers of the same nodes whose agents report of them: no deadlock, nothing forgotten."""
    agents = [await Node.join(record.db, name) for name in ("one", "two", "three")]
    services = [await record.create(f"s{n}", target=6) for n in range(4)]
    second = await Database.open(database_url)
    stopped = asyncio.Event()

    async def passes(db: Database) -> None:
        while not stopped.is_set():
            await reconcile_due(db, INSTALLATION, POLICY)

    async def agent(node: Node) -> None:
        while not stopped.is_set():
            await node.obey()
            # The same again, each a little different, so that there is a row to write.
            await node.report({key: replace(done(each), restart_count=node.seq) for key, each in node.held.items()})

    async def users() -> None:
        for verb, wanted in (
            (Verb.START, ServiceState.RUNNING),
            (Verb.STOP, ServiceState.STOPPED),
            (Verb.START, ServiceState.RUNNING),
            (Verb.TERMINATE, ServiceState.TERMINATED),
        ):
            for service in services:
                await record.operate(service, verb)
            for service in services:
                while await record.state(service) is not wanted:
                    await reconcile_due(record.db, INSTALLATION, POLICY)
        stopped.set()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for db in (record.db, record.db, second, second):
            group.create_task(passes(db))
        for node in agents:
            group.create_task(agent(node))
        group.create_task(users())
    await second.close()
    async with record.db.read() as conn:
        assert await conn.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_a_large_service_is_looked_at_a_moment_after_its_containers_were_seen_a_small_one_at_once(
    record: Record,
) -> None:
    """Each of its hosts reports by itself, and a pass reads all of its containers: those of a moment have one pass."""
    large, small = await record.create("large", target=1000), await record.create("small", target=wake.LARGE - 1)
    async with record.db.transaction() as conn:
        for _ in range(3):
            await wake.seen(conn, [large, small])
    assert await gather(record.db) == 2
    async with record.db.read() as conn:
        rows = await conn.fetch("SELECT id, extract(epoch FROM look_at - clock_timestamp()) AS wait FROM services")
    waits = {row["id"]: row["wait"] for row in rows}
    assert waits[small] <= 0 < waits[large] <= wake.LONGEST / 1000
    # In a redeployment one host after the other reports, and each would be a moment later.
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE services SET operation = $2 WHERE id = $1", large, {"verb": "redeploy"})
        await wake.seen(conn, [large])
    assert await gather(record.db) == 1
    async with record.db.read() as conn:
        assert await conn.fetchval("SELECT look_at <= clock_timestamp() FROM services WHERE id = $1", large)
    # What somebody asks for is not put off by it.
    async with record.db.transaction() as conn:
        await wake.leave(conn, [large])
    assert await gather(record.db) == 1
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE services SET look_at = NULL WHERE id = $1", small)
        await taken(conn, large)
