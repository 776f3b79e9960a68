"""How what the agent remembers of a container changes: by an observation, by a step about to be done, by a result.

Pure: the time is an argument. `plan_node` reads the memory, the ledger keeps it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from agents.crashes import will_start
from agents.steps import (
    CreateContainer,
    PullImage,
    RemoveVolumes,
    StartContainer,
    Step,
    StepResult,
    StopContainer,
)
from agents.view import ContainerMemory, EngineState, Interruption, ObservedContainer, Refusal, Retry, StartIntent
from domain.assignment import ContainerAssignment
from domain.container import Want
from domain.restarts import RestartHistory, started

FIRST_RETRY = timedelta(seconds=0.5)
LONGEST_RETRY = timedelta(seconds=30)
UP = frozenset({EngineState.RUNNING, EngineState.PAUSED, EngineState.RESTARTING})


def observed(
    memory: ContainerMemory, assignment: ContainerAssignment, seen: ObservedContainer | None
) -> ContainerMemory:
    """The memory after a look at the engine: which orders turned out to be carried out, which run is on, and what the
    last one came to."""
    memory = _looked(memory, assignment, seen)
    if seen is None:
        return memory
    final = seen.state is EngineState.EXITED and assignment.want is Want.RUN
    final = final and memory.refused is None and not will_start(assignment, seen, memory)
    return replace(memory, result=seen.exit_code if final else None)


def _looked(
    memory: ContainerMemory, assignment: ContainerAssignment, seen: ObservedContainer | None
) -> ContainerMemory:
    """A container that runs has obeyed its newest order, unless that run was ordered to end before the order
    came (a start right after a stop): then the order still stands.
    """
    memory = replace(memory, start_gen=max(memory.start_gen, assignment.seen_start_gen))
    if seen is None:
        return replace(memory, run=None, over=None)
    away = memory.interrupted
    if away is not None and away.run is None and seen.started_at is not None:
        # It was on when the engine went, or came later: then nothing was interrupted.
        since = away.engine_since or away.lost_at
        was_on = since is None or seen.started_at < since
        memory = replace(memory, interrupted=replace(away, run=seen.started_at) if was_on else None)
    intent = memory.intent
    if intent is not None and seen.started_at is not None and seen.started_at != intent.after:
        # It was carried out, whatever its caller was told (E7): there is nothing to try again.
        memory = replace(memory, intent=None, retry=None, start_gen=max(memory.start_gen, intent.start_gen))
    if seen.state not in UP:
        # A run may have come and gone between two looks (seed 29312).
        return replace(memory, run=None, over=seen.started_at)
    if memory.run != seen.started_at:
        memory = replace(memory, run=seen.started_at, over=None)
    stopping = memory.stopped_run is not None and memory.stopped_run == seen.started_at
    if assignment.want is Want.RUN and not stopping:
        memory = replace(memory, start_gen=max(memory.start_gen, assignment.start_gen), refused=None, intent=None)
    return memory


def engine_lost(memory: ContainerMemory, since: datetime | None, lost_at: datetime | None) -> ContainerMemory:
    """The engine was restarted since the last look: a run that was on then may have been ended by it (E2), and one
    whose end was seen too, since an engine that is told to end answers until its last container has ended (E34). The
    run of a start under way is not known yet: the next look tells it."""
    run = memory.run or (memory.over if memory.intent is None else None)
    if run is None and memory.intent is None:
        return memory
    over = memory.run is None and memory.intent is None
    found = Interruption(run=run, engine_since=since, lost_at=lost_at, over=over)
    return replace(memory, interrupted=found)


def reassigned(memory: ContainerMemory) -> ContainerMemory:
    """Something else is wanted than before: no back-off of the old wish holds up the new one."""
    return replace(memory, retry=None)


def about_to(memory: ContainerMemory, step: Step, now: datetime) -> ContainerMemory:
    """The memory that must be on disk before the step is done (design 3.5: written before the start call)."""
    match step:
        case StartContainer(automatic=True):
            history = started(memory.history, step.ended_at, now)
            return replace(memory, history=history, intent=_intent(step), refused=None, result=None)
        case StartContainer():
            return replace(memory, history=RestartHistory(), intent=_intent(step), refused=None, result=None)
        case StopContainer():
            if step.fence and step.run is None:
                return memory  # one that is stopped again beside a line, to be sure: what gave way did so before
            fenced_run, fenced_at = (step.run, now) if step.fence else (None, None)
            return replace(memory, stopped_run=step.run, fenced_run=fenced_run, fenced_at=fenced_at)
        case _:
            return memory


def _intent(step: StartContainer) -> StartIntent:
    return StartIntent(start_gen=step.start_gen, after=step.after)


def after(memory: ContainerMemory, result: StepResult, order: int) -> ContainerMemory:
    """The memory after a step was tried. `order` is the start order that the line was about.

    A refused step counts as the order carried out and failed; an engine in trouble counts as nothing.
    """
    if result.ok:
        memory = replace(memory, retry=None)
        match result.step:
            case StartContainer():
                return replace(memory, refused=None)
            case CreateContainer():
                return replace(memory, image_missing=False, refused=None)
            case RemoveVolumes():
                return replace(memory, volumes_dropped=True)
            case _:
                return memory
    message = result.message or "the engine did not say why"
    if result.code is None:
        return replace(memory, retry=again(memory.retry, result, message))
    if isinstance(result.step, CreateContainer) and result.code == "image_missing" and not memory.image_missing:
        return replace(memory, image_missing=True, intent=None)
    if isinstance(result.step, CreateContainer | StartContainer | PullImage):
        refusal = Refusal(message=message, at=result.at, code=result.code)
        return replace(
            memory,
            refused=refusal,
            intent=None,
            retry=None,
            image_missing=False,
            start_gen=max(memory.start_gen, order),
        )
    return replace(memory, retry=again(memory.retry, result, message))


def again(before: Retry | None, result: StepResult, message: str) -> Retry:
    """When what failed is tried again: each time after twice the pause before."""
    count = before.count + 1 if before else 1
    pause = min(FIRST_RETRY * 2 ** min(count - 1, 16), LONGEST_RETRY)
    if result.retry_in is not None:
        pause = timedelta(seconds=result.retry_in) * 2 ** min(count - 1, 3)
    return Retry(count=count, at=result.at + pause, message=message)
