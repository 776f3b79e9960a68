"""What is measured without agents: the pure placement, and a pass that finds nothing to do."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import structlog

from app.installation import installation_of
from app.settings import Settings
from bench._figures import Figure, percentile
from bench._ground import NETWORK_POOL, Ground
from domain.node import Candidate, NodeState
from domain.placement import occupy, place
from domain.spec import ServiceSpec
from orchestrator import snapshot
from orchestrator.planning.service import plan_service
from orchestrator.planning.view import Policy
from orchestrator.reconciler import reconcile_due
from orchestrator.store import services
from orchestrator.store.db import Database

NODES, OF_A_SERVICE = 1000, 100
PLACING_SECONDS = 3.0
PASSES = 200


def placing() -> Figure:
    """Placements a second on one core, as a pass does them: place, then occupy, 100 for each service."""
    nodes = tuple(
        Candidate(node_id=UUID(int=n), name=f"host-{n:05}", state=NodeState.DEPLOYED, load=n % 7, memory=65536, cpus=16)
        for n in range(NODES)
    )
    spec = ServiceSpec(image="busybox")
    began, placed = time.perf_counter(), 0
    while time.perf_counter() - began < PLACING_SECONDS:
        room = nodes
        for _ in range(OF_A_SERVICE):
            found = place(spec, room).node_id
            assert found is not None
            room = occupy(spec, room, found)
            placed += 1
            if time.perf_counter() - began > PLACING_SECONDS:
                break
    rate = placed / (time.perf_counter() - began)
    return Figure(name=f"pure placement, {NODES} nodes", value=rate, unit="/s", bar=4000, at_least=True)


def passes(ground: Ground) -> list[Figure]:
    """Passes of services at rest, in this process, while no control plane runs. Ends the ground's server."""
    ground.server.kill()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    dsn = ground.server.environment["DATABASE_URL"]
    times, steps, statements = asyncio.run(_passes(ground, dsn))
    note = f"{len(times)} passes; {steps} steps in them" if steps else f"{len(times)} passes"
    middle, high = (None if (found := percentile(times, part)) is None else found * 1000 for part in (0.5, 0.99))
    return [
        Figure(name="a pass without work, p50", value=middle, unit="ms", bar=2, note=note),
        Figure(name="a pass without work, p99", value=high, unit="ms"),
        Figure(name="a pass without work: statements", value=statements, unit="", bar=3, note="without BEGIN, COMMIT"),
    ]


async def _passes(ground: Ground, dsn: str) -> tuple[list[float], int, float]:
    """The times in seconds, how many steps were planned, and statements for each."""
    installation = installation_of(
        Settings(state_dir=ground.server.state_dir, port=ground.server.port, network="ports", network_pool=NETWORK_POOL)
    )
    policy, times, steps = Policy(), [], 0
    db = await Database.open(dsn)
    try:
        async with db.transaction() as conn:
            await conn.execute("UPDATE services SET look_at = NULL")
            rows = await conn.fetch("SELECT id FROM services WHERE want = 'RUNNING' ORDER BY random() LIMIT $1", PASSES)
        ids = [row["id"] for row in rows]
        for service_id in ids[:5]:
            async with db.transaction() as conn:
                await services.postpone(conn, service_id, 0)
                taken = await services.take_due(conn)
                assert taken is not None
                steps += len(plan_service(await snapshot.load(conn, taken.read(), installation), policy).steps)
            await reconcile_due(db, installation, policy)
        before = await _calls(db)
        for service_id in ids:
            async with db.transaction() as conn:
                await services.postpone(conn, service_id, 0)
            began = time.perf_counter()
            await reconcile_due(db, installation, policy)
            times.append(time.perf_counter() - began)
        # Each turn has one statement of its own: it makes the service due.
        calls = await _calls(db) - before
    finally:
        await db.close()
    return times, steps, calls / max(len(ids), 1) - 1


async def _calls(db: Database) -> int:
    async with db.read() as conn:
        # The sum is read in the product's own name, so that it counts itself: once between two of these.
        found: int = await conn.fetchval(
            "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE query !~* '^(BEGIN|COMMIT)'"
        )
    return found
