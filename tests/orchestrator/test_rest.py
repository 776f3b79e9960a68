"""What the sweeps do at rest grows with what changes, and time is noticed when it has to be."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.assignment import SILENT_SECONDS, NodeReport
from domain.networks import NetworkMode
from domain.node import NodeState
from domain.swarm import SwarmReport, SwarmRole, SwarmSeen
from orchestrator import dispatch, swarming
from orchestrator.planning.view import Installation
from orchestrator.store import fleet, nodes, swarm
from orchestrator.store.db import now
from tests.orchestrator.world import ENGINE, Node, Record

pytestmark = pytest.mark.postgres

PORTS = Installation(api_url="http://api.test", stream_url="ws://api.test", network=NetworkMode.PORTS)
OVERLAY = Installation(api_url="http://api.test", stream_url="ws://api.test", network=NetworkMode.OVERLAY)


async def said(record: Record, node: Node, seen: SwarmSeen) -> None:
    """The node's agent says what its engine's swarm mode looks like."""
    report = NodeReport(
        node_id=node.registration.node_id,
        session=node.registration.session,
        seq=1,
        applied_revision=0,
        engine=ENGINE,
        swarm=SwarmReport(seen=seen),
    )
    await swarming.take(record.db, report, OVERLAY, seal=str.encode, unseal=bytes.decode)


async def address(record: Record, node: Node, text: str) -> None:
    async with record.db.transaction() as conn:
        await nodes.administer(conn, node.registration.node_id, text, text)


async def test_the_next_look_for_silence_is_when_somebody_can_be_silent(record: Record) -> None:
    async with record.db.read() as conn:
        at = await now(conn)
    assert await dispatch.expire(record.db) >= at + timedelta(seconds=SILENT_SECONDS), "nobody is there yet"
    node, other = await Node.join(record.db, "n1"), await Node.join(record.db, "n2")
    async with record.db.transaction() as conn:
        at = await conn.fetchval(
            "UPDATE nodes SET last_seen = clock_timestamp() - interval '1 s' WHERE id = $1 RETURNING last_seen",
            node.registration.node_id,
        )
    assert await dispatch.expire(record.db) == at + timedelta(seconds=SILENT_SECONDS)
    async with record.db.transaction() as conn:
        await conn.execute(
            "UPDATE nodes SET last_seen = last_seen - interval '5 s' WHERE id = $1", node.registration.node_id
        )
        seen = await conn.fetchval("SELECT last_seen FROM nodes WHERE id = $1", other.registration.node_id)
    assert await dispatch.expire(record.db) == seen + timedelta(seconds=SILENT_SECONDS)
    async with record.db.read() as conn:
        states = [(await nodes.get(conn, each.registration.node_id)).state for each in (node, other)]
    assert states == [NodeState.UNREACHABLE, NodeState.DEPLOYED]


async def test_where_networks_are_ports_nothing_is_read_again(record: Record) -> None:
    await Node.join(record.db, "n1")
    await Node.join(record.db, "n2")
    assert await swarming.look(record.db, PORTS, resting=False)
    await record.db.close()
    assert await swarming.look(record.db, PORTS, resting=True), "without the database"


async def test_what_is_left_of_a_swarm_is_looked_after_where_networks_are_ports(record: Record) -> None:
    node = await Node.join(record.db, "n1")
    async with record.db.transaction() as conn:
        await conn.execute(
            "UPDATE nodes SET swarm_role = 'worker', overlay = true, swarm = $2 WHERE id = $1",
            node.registration.node_id,
            {"active": True, "inside": True, "node": "x"},
        )
    assert not await swarming.look(record.db, PORTS, resting=False), "it is to leave"
    assert not await swarming.look(record.db, PORTS, resting=False), "it has not left"
    await said(record, node, SwarmSeen())
    assert await swarming.look(record.db, PORTS, resting=False)


async def test_a_swarm_at_rest_is_decided_about_when_a_node_goes_or_is_taken_out(record: Record) -> None:
    one, two = await Node.join(record.db, "n1"), await Node.join(record.db, "n2")
    for number, node in enumerate((one, two), 1):
        await address(record, node, f"10.0.0.{number}")
        await said(record, node, SwarmSeen())
    inside = SwarmSeen(active=True, inside=True, node="m1", manager=True, cluster="c", ours=True, quorum=True)
    for _ in range(2):
        await said(record, one, inside)
        await said(record, two, SwarmSeen(active=True, inside=True, node="m2", entered=True))
    for _ in range(3):
        resting = await swarming.look(record.db, OVERLAY, resting=False)
    assert resting
    assert await swarming.look(record.db, OVERLAY, resting=True)
    async with record.db.transaction() as conn:
        await conn.execute(
            "UPDATE nodes SET state = $2 WHERE id = $1", two.registration.node_id, NodeState.UNREACHABLE.value
        )
        # Whoever else noted it before is no reason to rest.
        assert await swarm.note_away(conn)
    assert not await swarming.look(record.db, OVERLAY, resting=True)
    async with record.db.transaction() as conn:
        await conn.execute(
            "UPDATE nodes SET state = $2 WHERE id = $1", two.registration.node_id, NodeState.TERMINATED.value
        )
    assert not await swarming.look(record.db, OVERLAY, resting=True)
    async with record.db.read() as conn:
        rows = await conn.fetch("SELECT swarm_role FROM nodes")
    assert [row["swarm_role"] for row in rows] == [SwarmRole.NONE.value] * 2, "one alone needs no swarm"


async def test_beats_are_written_in_place(record: Record) -> None:
    """Else each of them touches all indexes of the nodes. Rows as long as those of real hosts fill their pages."""
    counted = "SELECT n_tup_upd AS all, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'nodes'"
    async with record.db.read() as conn:
        rows = await conn.fetch(
            "INSERT INTO nodes (id, name, state, session, last_seen, engine)"
            " SELECT gen_random_uuid(), 'n' || n, $1, 1, now(), jsonb_build_object('engine_id', n, 'filling', $2::text)"
            " FROM generate_series(1, 200) n RETURNING id",
            NodeState.DEPLOYED.value,
            "x" * 500,
        )
        sessions = {row["id"]: 1 for row in rows}
        await conn.execute("SELECT pg_stat_force_next_flush()")
        before = await conn.fetchrow(counted)
        for _ in range(10):
            assert len((await fleet.heard(conn, sessions)).states) == 200
        await conn.execute("SELECT pg_stat_force_next_flush()")
        after = await conn.fetchrow(counted)
    assert before is not None
    assert after is not None
    assert after["all"] - before["all"] == 2000
    assert after["hot"] - before["hot"] >= 1500
