"""Answers to "why": load what a decision would see, and tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.networks import NetworkMode
from domain.pause import Pause
from domain.service import Service, ServiceState, counts, service_state
from orchestrator import snapshot
from orchestrator.planning.explain import SlotStory, explain
from orchestrator.planning.service import plan_service
from orchestrator.planning.view import Installation, Policy
from orchestrator.store import actions, containers, pauses, schedule
from orchestrator.store.db import Connection, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A service and its slots; `waits_for`: what its next step waits for. `paused`: it, or everything, is."""

    service: Service
    state: ServiceState
    waits_for: str | None
    look_at: datetime | None
    network: NetworkMode
    slots: tuple[SlotStory, ...]
    paused: Pause | None = None


async def explain_service(
    conn: Connection, service: Service, installation: Installation, policy: Policy
) -> Explanation:
    """Nothing is changed, and nothing locked: what a pass would decide now."""
    view = await snapshot.widen(conn, await snapshot.load(conn, service, installation, await now(conn)))
    plan = plan_service(view, policy)
    since = await schedule.waits_since(conn, service.id)
    placements = await containers.placements(conn, [row.id for row in view.containers])
    paused = service.paused or await pauses.of_all(conn)
    failed = await actions.last_failure(conn, service.id)
    return Explanation(
        service=service,
        state=service_state(service, counts(view.containers)),
        waits_for=plan.waits_for,
        look_at=plan.requeue_at,
        network=installation.network,
        slots=explain(view, policy, placements, since, paused, failed),
        paused=paused,
    )
