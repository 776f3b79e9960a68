"""/metrics: what Prometheus scrapes. For admins; or for this machine, when the operator says so."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import database
from app.api.routing import Operation
from app.streams.watch import Watch
from orchestrator import metrics
from orchestrator.metrics import gauge
from orchestrator.store import health, queue
from orchestrator.store.errors import DatabaseAway

router = APIRouter(route_class=Operation)
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics", include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    """The process's own figures, and those of the installation as far as the database answers.

    Its cost does not grow with services or containers: nodes count their containers on their own rows.
    """
    pool = database(request).pool()
    watch: Watch = request.app.state.watch
    lines = [
        *gauge("tutela_info", "The version.", {(request.app.version,): 1}, ("version",)),
        *gauge("tutela_database_pool", "Connections of this process.",
               {("idle",): pool.idle, ("in use",): pool.size - pool.idle, ("most",): pool.most}, ("state",)),
        *gauge("tutela_streams_open", "WebSockets that are open here.", {(): watch.count()}),
        *[line for family in metrics.FAMILIES for line in family.lines()],
    ]  # fmt: skip
    try:
        lines += await _installation(request)
        up = 1
    except DatabaseAway:
        up = 0
    lines += gauge("tutela_database_up", "Whether the database answers.", {(): up})
    return Response("\n".join(lines) + "\n", media_type=TEXT)


async def _installation(request: Request) -> list[str]:
    async with database(request).read() as conn:
        waiting, agents = await queue.summary(conn), await health.agents(conn)
        planes = len(await health.control_planes(conn))
        paused = (await health.readiness(conn)).paused
    states: dict[tuple[str, ...], float] = {(state,): count for state, count in health.by_state(agents).items()}
    heard: dict[tuple[str, ...], float] = {(each.name,): each.age for each in agents if each.age is not None}
    return [
        *gauge("tutela_queue_due", "Services that wait for a pass.", {(): waiting.due}),
        *gauge("tutela_queue_age_seconds", "How long the oldest of them has.", {(): waiting.age}),
        *gauge("tutela_queue_blocked", "Services that wait for something else.", {(): waiting.blocked}),
        *gauge("tutela_paused", "What is paused.", {
            ("all",): float(paused), ("services",): waiting.paused, ("nodes",): sum(each.paused for each in agents),
        }, ("what",)),
        *gauge("tutela_quarantined", "Nodes that wait for an operator's word.",
               {(): sum(each.quarantine is not None for each in agents)}),
        *gauge("tutela_control_planes", "Control planes that are up.", {(): planes}),
        *gauge("tutela_agents", "Agents by state.", states, ("state",)),
        *gauge("tutela_agent_silent_seconds", "Since when each was not heard.", heard, ("node",)),
        *gauge("tutela_containers", "Live containers on each node.", {(each.name,): each.live for each in agents},
               ("node",)),
        *gauge("tutela_reserved_memory_megabytes", "Reserved on each node.",
               {(each.name,): each.reserved_memory for each in agents}, ("node",)),
        *gauge("tutela_reserved_cpu_shares", "Reserved on each node.",
               {(each.name,): each.reserved_cpu for each in agents}, ("node",)),
    ]  # fmt: skip
