"""Most hosts are silent at once: it is noted, and nothing is moved before each had its time (decision 27)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from domain.assignment import SILENT_SECONDS
from domain.node import NodeState
from domain.service import Verb
from domain.spec import CrashPolicy, ServiceSpec, Strategy
from orchestrator import dispatch
from orchestrator.store import fleet, nodes
from orchestrator.store.db import now
from tests.orchestrator.world import Node, Record

pytestmark = pytest.mark.postgres

SPREAD = ServiceSpec(
    image="tutela/web:latest", deployment_strategy=Strategy.HIGH_AVAILABILITY, autoreplace=CrashPolicy.ALWAYS
)


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Record]:
    opened = await Record.open(database_url)
    yield opened
    await opened.db.close()


async def test_that_most_hosts_are_silent_is_noted_before_one_of_them_is_lost(record: Record) -> None:
    members = [await Node.join(record.db, f"n{number}") for number in range(1, 6)]

    async def hush(*who: Node) -> None:
        async with record.db.transaction() as conn:
            await conn.execute(
                "UPDATE nodes SET last_seen = clock_timestamp() - interval '1 minute' WHERE id = ANY($1)",
                [each.registration.node_id for each in who],
            )

    async def noted() -> datetime | None:
        async with record.db.read() as conn:
            return await fleet.disrupted_at(conn)

    async def states() -> list[NodeState]:
        async with record.db.read() as conn:
            return [(await nodes.get(conn, each.registration.node_id)).state for each in members]

    await hush(*members[:2])
    await dispatch.expire(record.db)
    assert await noted() is None, "two of five are lost, and that is that"
    assert await states() == [NodeState.UNREACHABLE] * 2 + [NodeState.DEPLOYED] * 3
    await hush(members[2])
    async with record.db.read() as conn:
        at = await now(conn)
    assert await dispatch.expire(record.db, patient=True) < at + timedelta(seconds=1), "it looks again at once"
    first = await noted()
    assert first is not None
    assert await states() == [NodeState.UNREACHABLE] * 2 + [NodeState.DEPLOYED] * 3, "silence means nothing yet"
    assert await dispatch.expire(record.db) < at + timedelta(seconds=SILENT_SECONDS), "and while they are silent"
    second = await noted()
    assert second is not None
    assert second > first
    assert await states() == [NodeState.UNREACHABLE] * 3 + [NodeState.DEPLOYED] * 2


async def test_who_was_not_heard_while_nobody_listened_is_not_lost(record: Record) -> None:
    """A control plane that was away for a minute: one host was Unreachable before, and was back long ago."""
    service = await record.create(target=3, spec=SPREAD)
    members = [await Node.join(record.db, f"n{number}") for number in range(1, 4)]
    await record.operate(service, Verb.START)
    await record.settle(*members)
    before = await record.rows(service)
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET last_seen = clock_timestamp() - interval '1 minute'")
        await conn.execute("UPDATE nodes SET state = 'Unreachable' WHERE name = 'n2'")
        await conn.execute("UPDATE services SET look_at = clock_timestamp()")
    await record.passes()
    assert await record.rows(service) == before
    async with record.db.read() as conn:
        assert "most hosts are silent" in await conn.fetchval("SELECT waits_for FROM services")
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE installation SET disrupted_at = clock_timestamp() - interval '20 s'")
        await conn.execute("UPDATE nodes SET last_seen = clock_timestamp() WHERE name <> 'n2'")
        await conn.execute("UPDATE services SET look_at = clock_timestamp()")
    await record.passes()
    (left,) = [row for row in await record.rows(service) if row.leaving]
    assert left.node_id == members[1].registration.node_id, "it had its time"
