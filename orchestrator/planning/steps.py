"""What a pass may do: one step, one effect, each with its cause. `render` makes a plan readable and comparable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from uuid import UUID

from domain.container import Attachment
from domain.image import Pull, ResolvedImage
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
    """Fill an empty slot."""

    slot: int
    node_id: UUID
    cause: str


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
    """Want it gone."""

    container_id: UUID
    name: str
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
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishOperation:
    """End the operation under way and all its actions. `message` says why it failed."""

    success: bool
    message: str | None
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
    | ForgetContainer
    | AdjustContainer
    | FinishOperation
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
    lines = [_line(step) for step in plan.steps]
    if plan.waits_for:
        lines.append(f"wait: {plan.waits_for}")
    return "\n".join(lines) or "at rest"


def _line(step: Step) -> str:
    match step:
        case RequestImage():
            return f"request image {step.reference} ({step.pull.value}): {step.cause}"
        case UseImage():
            return f"use image {step.image.image_id}: {step.cause}"
        case CreateContainer():
            return f"create slot {step.slot}: {step.cause}"
        case StartContainer():
            return f"start {step.name}: {step.cause}"
        case StopContainer():
            return f"stop {step.name}: {step.cause}"
        case RetireContainer():
            return f"retire {step.name}: {step.cause}"
        case ForgetContainer():
            return f"forget {step.name}: {step.cause}"
        case AdjustContainer():
            return f"adjust {step.name}: {step.cause}"
        case FinishOperation():
            return f"finish {'well' if step.success else f'failed ({step.message})'}: {step.cause}"
        case CloseService():
            return f"close service: {step.cause}"
        case _:
            assert_never(step)
