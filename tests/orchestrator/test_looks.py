"""Who is looked at again because a node changed, a drain ended, or another pass was slower."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from domain.action import Action, ActionState, Request
from domain.assignment import SILENT_SECONDS, ImageResult, NodeHello
from domain.container import Seen
from domain.node import NodeState
from domain.service import Verb
from domain.spec import Link, ServiceSpec, Strategy
from orchestrator import dispatch, reconciler, worker
from orchestrator.listener import Wakeups
from orchestrator.planning.view import Policy
from orchestrator.store import actions, drains, wake
from orchestrator.store.db import now
from orchestrator.store.schedule import Idle
from orchestrator.worker import Worker
from tests.agents.harness import eventually
from tests.harness.told import assignments_since
from tests.orchestrator.test_writes import due
from tests.orchestrator.world import INSTALLATION, POLICY, Node, Record

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("state", [NodeState.TERMINATED, NodeState.UNREACHABLE])
async def test_nothing_is_placed_on_a_node_that_was_lost_or_taken_out_meanwhile(
    record: Record, monkeypatch: pytest.MonkeyPatch, state: NodeState
) -> None:
    """It would never be confirmed gone: nobody speaks for that node, and no service of it is woken again."""
    await Node.join(record.db)
    service = await record.create(target=1)
    await record.operate(service, Verb.START)
    await record.passes()
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE image_requests SET image = $1, answered_at = clock_timestamp()", IMAGE)
        await conn.execute("UPDATE services SET look_at = clock_timestamp()")
    real = reconciler.decide

    async def slow(*args: Any) -> object:
        found = await real(*args)
        async with record.db.transaction() as other:
            await other.execute("UPDATE nodes SET state = $1", state.value)
        return found

    monkeypatch.setattr(reconciler, "decide", slow)
    await reconciler.one_pass(record.db, INSTALLATION, POLICY)
    assert await record.rows(service) == []
    async with record.db.read() as conn:
        assert await conn.fetchval("SELECT look_at - clock_timestamp() FROM services") <= timedelta(seconds=0.2)


IMAGE: dict[str, Any] = {
    "reference": "tutela/web:latest", "image_id": "sha256:1", "digest": None, "env": [], "ports": [],
    "entrypoint": [], "command": [], "volumes": []}  # fmt: skip


async def test_a_session_that_begins_without_its_engine_has_the_services_of_the_node_looked_at(record: Record) -> None:
    """The silence that follows is the end of one that was Unreachable already: nobody would be woken by it."""
    node = await Node.join(record.db)
    service = await record.create(target=1)
    await record.operate(service, Verb.START)
    await record.settle(node)
    assert await due(record) == set()
    await dispatch.register(record.db, NodeHello(name="local", cluster_id=None, engine=None))
    assert await due(record) == {service}


@pytest.mark.parametrize("how", ["in vain", "canceled"])
async def test_a_drain_that_ends_has_the_services_of_its_node_looked_at(record: Record, how: str) -> None:
    """What left its slot, and whose successor is gone, is to have it again."""
    node = await Node.join(record.db)
    service = await record.create(target=1)
    await record.operate(service, Verb.START)
    await record.settle(node)
    async with record.db.transaction() as conn:
        action = Action(
            id=uuid4(),
            account_id=record.account.id,
            service_id=None,
            verb="Node Drain",
            object_uri="",
            state=ActionState.IN_PROGRESS,
            request=Request(),
            start_date=await now(conn),
        )
        await actions.insert(conn, action)
        await drains.begin(conn, node.registration.node_id, action.id)
        await conn.execute("UPDATE services SET look_at = NULL")
    async with record.db.transaction() as conn:
        if how == "canceled":
            await drains.let_go(conn, action.id)
        else:
            await drains.give_up(conn, 10, await now(conn) + timedelta(minutes=11))
    assert await due(record) == {service}


async def test_the_soonest_that_a_lane_saw_counts(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that looked before another's pass was written may be the last one to end."""
    found = [Idle(5.0), Idle(-0.1), Idle(None)]

    async def passed(*_: object) -> Idle | None:
        await asyncio.sleep(0)
        return found.pop(0) if started.is_set() else None

    started = asyncio.Event()
    made = Worker(record.db, Wakeups(), replace(INSTALLATION), Policy(), lanes=3)

    async def gathered(*_: object) -> int:
        return 0

    monkeypatch.setattr(worker, "gather", gathered)
    monkeypatch.setattr(worker, "one_pass", passed)
    asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_later(0.05, started.set))
    assert await made.drain() == Idle(5.0)


async def test_what_is_said_during_a_long_pass_does_not_wait_for_it(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the other lanes had ended: they found nothing due."""
    due, done, long = ["first", "large"], list[str](), asyncio.Event()
    wakeups = Wakeups()
    made = Worker(record.db, wakeups, INSTALLATION, Policy(), lanes=3)

    async def passed(*_: object) -> Idle | None:
        if not due:
            return Idle(None)
        name = due.pop(0)
        if name == "large":
            await long.wait()
        done.append(name)
        return None

    async def gathered(*_: object) -> int:
        return 0

    monkeypatch.setattr(worker, "gather", gathered)
    monkeypatch.setattr(worker, "one_pass", passed)
    draining = asyncio.create_task(made.drain())
    for name in ("small", "another"):
        await asyncio.sleep(0.05)  # every lane but one finds nothing meanwhile
        due.append(name)
        wakeups.service.set()
        await eventually(lambda name=name: name in done, within=20, what=name)  # type: ignore[misc]
    assert "large" not in done
    long.set()
    assert await draining == Idle(None)
    assert done == ["first", "small", "another", "large"]


async def test_what_is_said_while_all_lanes_look_is_looked_for_by_the_next_free_one(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have looked before it was said, and nothing else would bring another look for half a minute."""
    wakeups, due, done, looking = Wakeups(), ["first", "again"], list[str](), list[asyncio.Event]()
    made = Worker(record.db, wakeups, INSTALLATION, Policy(), lanes=2)

    async def passed(*_: object) -> Idle | None:
        if due:
            done.append(due.pop(0))
            return None
        if "again" in done and len(looking) < 2:  # this one sees nothing, and says so later
            looking.append(asyncio.Event())
            await looking[-1].wait()
        return Idle(None)

    async def gathered(*_: object) -> int:
        return 0

    monkeypatch.setattr(worker, "gather", gathered)
    monkeypatch.setattr(worker, "one_pass", passed)
    draining = asyncio.create_task(made.drain())
    await eventually(lambda: len(looking) == 2, within=20, what="both lanes to look")
    due.append("second")
    wakeups.service.set()
    await asyncio.sleep(0.05)
    for each in looking:
        each.set()
    await draining
    assert done == ["first", "again", "second"]


async def test_an_image_is_asked_of_another_node_and_the_first_ones_late_answer_does_not_count(record: Record) -> None:
    first, second = await Node.join(record.db, "a"), await Node.join(record.db, "b")
    service = await record.create(target=1)
    await record.operate(service, Verb.START)
    await record.passes()
    asked = (await assignments_since(record.db, first.registration, 0)).images
    assert len(asked) == 1
    async with record.db.transaction() as conn:
        silent = timedelta(seconds=SILENT_SECONDS)
        await conn.execute("UPDATE nodes SET last_seen = last_seen - $1::interval WHERE name = 'a'", silent)
        await conn.execute("UPDATE image_requests SET created_at = created_at - $1::interval", POLICY.lost_after)
    await dispatch.expire(record.db)
    assert await due(record) == {service}
    await record.passes()
    moved = (await assignments_since(record.db, second.registration, 0)).images
    assert [each.request_id for each in moved] == [each.request_id for each in asked]
    late = ImageResult(request_id=asked[0].request_id, error="its registry does not answer")
    await first.report({}, images=(late,))
    assert await due(record) == {service}  # its node is back
    await record.passes()
    assert (await record.service(service)).operation is not None
    await record.settle(first, second)
    (row,) = await record.rows(service)
    assert row.spec.image_id == "sha256:1"


async def test_clients_are_told_names_of_new_slots(record: Record) -> None:
    """They know the first four whether these exist or not, then eight, sixteen."""
    node = await Node.join(record.db)
    db = await record.create("db", target=4)
    links = (Link(name="db", to_service=db),)
    web = await record.create(target=1, spec=ServiceSpec(image="tutela/web:latest", links=links))
    for each in (db, web):
        await record.operate(each, Verb.START)
    await record.settle(node)
    (client,) = await record.rows(web)
    assert ("db-5", "db_5") not in client.networks[1].links
    await record.scale(db, 5)
    await record.settle(node)
    (client,) = await record.rows(web)
    assert ("db-5", "db_5") in client.networks[1].links


async def test_the_start_of_a_service_for_every_node_by_itself_is_an_action_that_nobody_asked_for(
    record: Record,
) -> None:
    node = await Node.join(record.db)
    spec = ServiceSpec(image="tutela/web:latest", deployment_strategy=Strategy.EVERY_NODE, tags=("gpu",))
    service = await record.create(target=1, spec=spec)
    first = await record.operate(service, Verb.START)
    await record.settle(node)
    assert (await record.action(first)).state is ActionState.SUCCESS
    assert await record.rows(service) == []
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET tags = '{gpu}'")
        await wake.waiting_services(conn)
    await record.settle(node)
    (row,) = await record.rows(service)
    assert row.seen is not None
    assert row.seen.state is Seen.RUNNING
    async with record.db.read() as conn:
        found = await conn.fetchval("SELECT id FROM actions WHERE service_id = $1 AND id <> $2", service, first)
    own = await record.action(found)
    assert (own.verb, own.state, own.request.is_user_action) == ("Service Start", ActionState.SUCCESS, False)
    assert own.object_uri == f"/api/v1/service/{service}/"
