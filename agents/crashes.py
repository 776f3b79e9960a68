"""What the agent does about a container that ended: one place for the planner and for the report.

Pure, as the planner is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agents.fencing import gave_way
from agents.view import ContainerMemory, EngineState, Interruption, ObservedContainer, Refusal
from domain.assignment import ContainerAssignment
from domain.container import Want
from domain.restarts import Leave, Restart, decide
from domain.spec import CrashPolicy

ENGINES_DOING = frozenset({137, 143, 255})
"""Exit codes with which an engine ends what it stops at its start, or finds dead after a power loss (E2, E16)."""

SHUTDOWN = timedelta(seconds=20)
"""How long an engine that ends answers while it stops its containers: 15 s by default, and what it takes to notice."""

CLEANUP = timedelta(seconds=15)
"""How long an engine that starts takes to stop what it finds running, before its networks are made (E2)."""


def refused(
    assignment: ContainerAssignment, memory: ContainerMemory, refusal: Refusal, now: datetime
) -> Restart | Leave:
    """Whether and when to try again what the engine refused."""
    return decide(
        assignment.autorestart,
        exit_code=None,
        ended_at=refusal.at,
        history=memory.history,
        now=now,
        autoreplace=assignment.autoreplace,
    )


def ended(
    assignment: ContainerAssignment, kept: ObservedContainer, memory: ContainerMemory, now: datetime
) -> Restart | Leave:
    """Whether and when to start again a container that ended, or could not start."""
    if memory.refused is not None:
        return refused(assignment, memory, memory.refused, now)
    return decide(
        assignment.autorestart,
        exit_code=kept.exit_code,
        ended_at=kept.finished_at,
        history=memory.history,
        now=now,
        autoreplace=assignment.autoreplace,
    )


def will_start(assignment: ContainerAssignment, kept: ObservedContainer | None, memory: ContainerMemory) -> bool:
    """Whether the agent is going to start a container that does not run, now or after a pause, by itself."""
    if assignment.want is not Want.RUN:
        return False
    if assignment.start_gen > memory.start_gen:
        return True
    at = datetime.max.replace(tzinfo=UTC)
    if kept is None and over(assignment, memory, at):
        return False
    if kept is None:
        return memory.refused is None or isinstance(refused(assignment, memory, memory.refused, at), Restart)
    if kept.state is EngineState.CREATED and memory.refused is None:
        return True
    again = isinstance(ended(assignment, kept, memory, at), Restart)
    return again or interrupted(kept, memory) or gave_way(kept, memory)


def over(assignment: ContainerAssignment, memory: ContainerMemory, now: datetime) -> bool:
    """Whether a container that is not there any more had ended for good, so that only an order brings another."""
    if memory.result is None:
        return False
    again = decide(
        assignment.autorestart,
        exit_code=memory.result,
        ended_at=None,
        history=memory.history,
        now=now,
        autoreplace=assignment.autoreplace,
    )
    return isinstance(again, Leave)


def brought_back(memory: ContainerMemory, now: datetime) -> datetime:
    """When a run that its engine ended begins again: at once, and with growing pauses where that is refused."""
    if memory.refused is None:
        return now
    again = decide(CrashPolicy.ALWAYS, exit_code=None, ended_at=memory.refused.at, history=memory.history, now=now)
    return again.at if isinstance(again, Restart) else now


def _near(away: Interruption, at: datetime | None) -> bool:
    """Whether that was about when the engine ended and began: as far as both are known."""
    last = away.lost_at or away.engine_since
    first = away.engine_since or away.lost_at
    if at is None or last is None or first is None:
        return False
    return (
        last - (SHUTDOWN if away.lost_at else CLEANUP) <= at <= first + (CLEANUP if away.engine_since else timedelta())
    )


def interrupted(kept: ObservedContainer, memory: ContainerMemory) -> bool:
    """Whether the run was on when the engine went away, or until shortly before, and ended as the engine ends runs.

    Such an end is not the container's own, so it is started once more even without autorestart: an engine's
    restart brings back exactly what was wanted running (I4).
    """
    away = memory.interrupted
    if away is None or away.run != kept.started_at:
        return False
    near = _near(away, kept.finished_at)
    # A process that obeys SIGTERM may end with any code, so the time tells. One that ended by itself just before an
    # engine that answered to its end is started once more: nothing tells it from one that obeyed, and is rarer.
    return near or (kept.exit_code in ENGINES_DOING and not away.over)
