"""What a pass may do: one step, one effect, each with its cause. `render` makes a plan readable and comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from uuid import UUID

from domain.container import Attachment, Container, Want
from domain.image import Pull, ResolvedImage
from domain.placement import Verdict
from domain.spec import CrashPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestImage:
    """Ask a node what the image reference means now."""

    node_id: UUID
    request_id: UUID
    reference: str
    pull: Pull
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UseImage:
    """From now on containers are made from this image."""

    image: ResolvedImage
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer:
    """Fill an empty slot. `successor_of`: the container of the slot whose order and history it takes over.

    `follows`: it is still there, on the same node, and ends before this one starts. `verdicts`: why this node and no
    other.
    """

    slot: int
    node_id: UUID
    cause: str
    successor_of: UUID | None = None
    follows: bool = False
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    """Order an ended container to start once more."""

    container_id: UUID
    name: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopContainer:
    """Want it stopped; it stays."""

    container_id: UUID
    name: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireContainer:
    """Want it gone. `keep_volumes`: its slot is filled again, and the successor gets them.

    `by_policy`: autoreplace or autodestroy did it, which is recorded as an action; with `refill` the slot is
    filled again by itself.
    """

    container_id: UUID
    name: str
    cause: str
    keep_volumes: bool = False
    refill: bool = False
    by_policy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveSlot:
    """Its slot gets another. `want` RUN: it runs on until its successor does; GONE: its node is lost, or its successor
    is made beside it."""

    container_id: UUID
    name: str
    want: Want
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSlot:
    """It was to leave and needs not: the slot is its own again."""

    container_id: UUID
    name: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowNodes:
    """A service for every node has as many containers as there are nodes for it."""

    target: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOnNodes:
    """Start a service for every node by itself: there is a node for it now, and its image is not known."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeVolumes:
    """Remove the volumes of a slot that has no container: by a row that is wanted gone from the start."""

    slot: int
    node_id: UUID
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetContainer:
    """Its node confirmed that it is gone: free its slot and its ports."""

    container_id: UUID
    name: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustContainer:
    """Change what can be changed in place."""

    container_id: UUID
    name: str
    networks: tuple[Attachment, ...]
    autorestart: CrashPolicy
    autoreplace: CrashPolicy
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishOperation:
    """End the operation under way and all its actions. `message` says why it failed."""

    success: bool
    message: str | None
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishOrder:
    """End the order to one container. `message` says why it failed."""

    container_id: UUID
    name: str
    success: bool
    message: str | None
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginQueued:
    """Begin the first call that waited for the operation that has ended."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseService:
    """The last container of a terminated service is gone."""

    cause: str


Step = (
    RequestImage
    | UseImage
    | CreateContainer
    | StartContainer
    | StopContainer
    | RetireContainer
    | LeaveSlot
    | KeepSlot
    | FollowNodes
    | StartOnNodes
    | TakeVolumes
    | ForgetContainer
    | AdjustContainer
    | FinishOperation
    | FinishOrder
    | BeginQueued
    | CloseService
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of a decision.

    `waits_for` says in a sentence what must happen before the service goes on; None when it is at rest.
    `requeue_at` is when to look again even if nothing happens.
    """

    steps: tuple[Step, ...] = ()
    waits_for: str | None = None
    requeue_at: datetime | None = None


def render(plan: Plan) -> str:
    """The plan as text, a line a step; `at rest` for nothing to do and nothing to wait for."""
    lines = [line(step) for step in plan.steps]
    if plan.waits_for:
        lines.append(f"wait: {plan.waits_for}")
    return "\n".join(lines) or "at rest"


def line(step: Step) -> str:
    """The step as a line of text."""
    match step:
        case RequestImage():
            return f"request image {step.reference} ({step.pull.value}): {step.cause}"
        case UseImage():
            return f"use image {step.image.image_id}: {step.cause}"
        case CreateContainer():
            heir = (" (beside its predecessor)" if step.follows else " (successor)") if step.successor_of else ""
            return f"create slot {step.slot}{heir}: {step.cause}"
        case StartContainer():
            return f"start {step.name}: {step.cause}"
        case StopContainer():
            return f"stop {step.name}: {step.cause}"
        case RetireContainer():
            how = (" to refill" if step.refill else "") + (" by policy" if step.by_policy else "")
            return f"retire {step.name}{how}: {step.cause}"
        case LeaveSlot():
            how = "running on for a while" if step.want is Want.RUN else "given up"
            return f"leave slot of {step.name}, {how}: {step.cause}"
        case KeepSlot():
            return f"keep {step.name}: {step.cause}"
        case FollowNodes():
            return f"target {step.target}: {step.cause}"
        case StartOnNodes():
            return f"start on its nodes: {step.cause}"
        case TakeVolumes():
            return f"take volumes of slot {step.slot}: {step.cause}"
        case ForgetContainer():
            return f"forget {step.name}: {step.cause}"
        case AdjustContainer():
            return f"adjust {step.name}: {step.cause}"
        case FinishOperation():
            return f"finish {'well' if step.success else f'failed ({step.message})'}: {step.cause}"
        case FinishOrder():
            return f"finish order of {step.name} {'well' if step.success else f'failed ({step.message})'}: {step.cause}"
        case BeginQueued():
            return f"begin queued call: {step.cause}"
        case CloseService():
            return f"close service: {step.cause}"
        case _:
            assert_never(step)


def waiting(rows: Sequence[Container], what: str) -> str:
    """`web-1, web-2 have to stop`: what an operation waits for."""
    names = ", ".join(row.name for row in rows[:5]) + (" and more" if len(rows) > 5 else "")
    return f"{names} {'has' if len(rows) == 1 else 'have'} {what}"
