"""What is measured without agents: the pure placement, and a pass that finds nothing to do."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import asyncpg
import structlog

from app.installation import installation_of
from app.settings import Settings
from bench._figures import Figure, percentile
from bench._ground import NETWORK_POOL, Ground
from domain.node import Candidate, NodeState
from domain.placement import Room
from domain.spec import ServiceSpec
from orchestrator.planning.view import Policy
from orchestrator.reconciler import decide, one_pass
from orchestrator.store import schedule
from orchestrator.store.db import Database

NODES, OF_A_SERVICE = 1000, 100
PLACING_SECONDS = 3.0
PASSES, WARM = 200, 5


def placing() -> Figure:
    """Placements a second on one core, as a pass does them: place, then occupy, 100 for each service."""
    nodes = tuple(
        Candidate(node_id=UUID(int=n), name=f"host-{n:05}", state=NodeState.DEPLOYED, load=n % 7, memory=65536, cpus=16)
        for n in range(NODES)
    )
    spec = ServiceSpec(image="busybox")
    began, placed = time.perf_counter(), 0
    while time.perf_counter() - began < PLACING_SECONDS:
        room = Room(spec, nodes)
        for _ in range(OF_A_SERVICE):
            found = room.place().node_id
            assert found is not None
            room.occupy(found)
            placed += 1
            if time.perf_counter() - began > PLACING_SECONDS:
                break
    rate = placed / (time.perf_counter() - began)
    return Figure(name=f"pure placement, {NODES} nodes", value=rate, unit="/s", bar=4000, at_least=True)


def passes(ground: Ground) -> list[Figure]:
    """Passes of services at rest, in this process, while no control plane runs. Ends the ground's server."""
    ground.server.kill()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    times, steps = asyncio.run(_passes(ground))
    own = ground.record.statements(around=False) / max(len(times), 1)
    every = ground.record.statements() / max(len(times), 1)
    note = f"{len(times)} passes; {steps} of the first {WARM} planned steps" if steps else f"{len(times)} passes"
    middle, high = (None if (found := percentile(times, part)) is None else found * 1000 for part in (0.5, 0.99))
    return [
        Figure(name="a pass without work, p50", value=middle, unit="ms", bar=2, note=note),
        Figure(name="a pass without work, p99", value=high, unit="ms"),
        Figure(name="a pass without work: statements", value=every, unit="", bar=3, note="all"),
        Figure(name="a pass without work: statements without those around", value=own, unit=""),
    ]


async def _passes(ground: Ground) -> tuple[list[float], int]:
    """The times in seconds, and how many of the first passes were not without work. Statements are counted anew."""
    installation = installation_of(
        Settings(state_dir=ground.server.state_dir, port=ground.server.port, network="ports", network_pool=NETWORK_POOL)
    )
    policy, times, steps = Policy(), [], 0
    db, other = await Database.open(ground.server.environment["DATABASE_URL"]), await asyncpg.connect(ground.record.dsn)
    try:
        await other.execute("TRUNCATE wakes")
        await other.execute("UPDATE services SET look_at = NULL")
        rows = await other.fetch("SELECT id FROM services WHERE want = 'RUNNING' ORDER BY random() LIMIT $1", PASSES)
        for number, row in enumerate(rows):
            await other.execute("UPDATE services SET look_at = clock_timestamp() WHERE id = $1", row["id"])
            if number < WARM:
                async with db.transaction() as conn:
                    taken = await schedule.take(conn)
                    assert isinstance(taken, schedule.Due)
                    _, plan = await decide(conn, taken.read(), installation, policy, taken.at)
                    steps += bool(plan.steps)
                await one_pass(db, installation, policy)
                await other.execute("SELECT pg_stat_statements_reset()")
                continue
            began = time.perf_counter()
            await one_pass(db, installation, policy)
            times.append(time.perf_counter() - began)
    finally:
        await db.close()
        await other.close()
    return times, steps
