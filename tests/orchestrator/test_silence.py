"""Most hosts are silent at once: it is noted, and nothing is moved before each had its time (decision 27)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from domain.assignment import SILENT_SECONDS
from domain.node import NodeState
from domain.service import Verb
from domain.spec import CrashPolicy, ServiceSpec, Strategy
from orchestrator import dispatch, swarming, sweeps
from orchestrator.store import fleet, nodes
from orchestrator.store.db import now
from tests.orchestrator.test_swarming import OVERLAY, Hosts
from tests.orchestrator.world import Node, Record

pytestmark = pytest.mark.postgres

SPREAD = ServiceSpec(
    image="tutela/web:latest", deployment_strategy=Strategy.HIGH_AVAILABILITY, autoreplace=CrashPolicy.ALWAYS
)


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
    await sweeps.begin(record.db)
    await record.passes()
    assert await record.rows(service) == before
    async with record.db.transaction() as conn:
        await conn.execute("UPDATE installation SET disrupted_at = clock_timestamp() - interval '61 s'")
        await conn.execute("UPDATE nodes SET last_seen = clock_timestamp() WHERE name <> 'n2'")
        await conn.execute("UPDATE services SET look_at = clock_timestamp()")
    await record.passes()
    (left,) = [row for row in await record.rows(service) if row.leaving]
    assert left.node_id == members[1].registration.node_id, "it had its time"


async def test_a_swarm_whose_hosts_are_all_silent_is_not_lost(record: Record) -> None:
    """It was begun anew after 20 s, and every host told to leave the one that worked, for want of a network of ours."""
    hosts = await Hosts.linked(record)

    async def found() -> tuple[str, set[str]]:
        async with record.db.read() as conn:
            resets = await conn.fetch("SELECT swarm_reset FROM nodes WHERE swarm_reset <> ''")
            return await conn.fetchval("SELECT cluster FROM swarm"), {row["swarm_reset"] for row in resets}

    async def execute(statement: str, *values: object) -> None:
        async with record.db.transaction() as conn:
            await conn.execute(statement, *values)

    assert await found() == ("c", set())
    await execute(
        "UPDATE nodes SET state = 'Unreachable', last_seen = now() - interval '60 s',"
        " away_since = now() - interval '60 s'"
    )
    await dispatch.expire(record.db)
    await swarming.settle(record.db, OVERLAY)
    assert await found() == ("c", set())
    await execute(
        "UPDATE nodes SET state = 'Deployed', last_seen = now() WHERE id = $1", hosts.worker.registration.node_id
    )
    await dispatch.expire(record.db)
    await swarming.settle(record.db, OVERLAY)
    assert await found() == ("c", set()), "one that cannot speak for the swarm is the first to be heard"
    await execute("UPDATE installation SET unheard_at = clock_timestamp() - interval '81 s'")
    await swarming.settle(record.db, OVERLAY)
    assert await found() == ("", {"m", "o", "w"}), "its manager had its time: it is lost"
