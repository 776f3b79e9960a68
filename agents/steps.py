"""What a pass may do: one step, one effect, each with its cause. `render` makes a plan readable and comparable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from uuid import UUID

from agents.brake import Held
from domain.assignment import ContainerAssignment, ImageRequest
from domain.container import Attachment, NetworkSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureNetwork:
    """Make the network unless it is there."""

    container_id: UUID
    network: NetworkSpec
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNetwork:
    """Remove a network of ours that nothing needs."""

    network_id: str
    name: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveImage:
    """Find out what a reference means now."""

    request: ImageRequest
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PullImage:
    """Fetch the image that a create found missing, with the engine's own login: the ledger holds no credentials."""

    container_id: UUID
    reference: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateContainer:
    """Make the container, not running, on its first network."""

    assignment: ContainerAssignment
    cause: str

    @property
    def container_id(self) -> UUID:
        """The container's identity."""
        return self.assignment.container_id


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    """Start it. `engine_id` None: the one that this line has just created.

    `after` is the engine's start time before this step. `automatic`: a restart decision, not an order. `follows`: whose
    end is waited for first.
    """

    container_id: UUID
    engine_id: str | None
    start_gen: int
    automatic: bool
    after: datetime | None
    ended_at: datetime | None
    cause: str
    follows: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StopContainer:
    """Stop it, with `grace` seconds before it is killed. `run` is the start time of the run that ends.

    `fence`: for want of a lease only, so that it begins again with one.
    """

    container_id: UUID
    engine_id: str
    grace: int
    run: datetime | None
    cause: str
    fence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer:
    """Remove it with its anonymous volumes."""

    container_id: UUID
    engine_id: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveVolumes:
    """Remove named volumes of a container that is gone."""

    container_id: UUID
    names: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRestartPolicy:
    """Make the engine's own restart policy mirror the intent (E5)."""

    container_id: UUID
    engine_id: str
    policy: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectNetwork:
    """Attach the container to the network. `engine_id` None: the one that this line has just created."""

    container_id: UUID
    engine_id: str | None
    attachment: Attachment
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectNetwork:
    """Take the container off a network of ours."""

    container_id: UUID
    engine_id: str
    network_id: str
    name: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpause:
    """Let a paused container go on: nobody of Tutela's pauses one."""

    container_id: UUID
    engine_id: str
    cause: str


ContainerStep = (
    EnsureNetwork
    | PullImage
    | CreateContainer
    | StartContainer
    | StopContainer
    | RemoveContainer
    | RemoveVolumes
    | SetRestartPolicy
    | ConnectNetwork
    | DisconnectNetwork
    | Unpause
)
Step = ContainerStep | RemoveNetwork | ResolveImage


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """The steps of a pass, and when to look again even if nothing happens. Steps of one `key` are a line.

    `held`: what is not removed before an operator says so.
    """

    steps: tuple[Step, ...] = ()
    next_due: datetime | None = None
    held: Held | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The outcome of one try. Not ok with `code` set: the engine refused; without: try again later."""

    step: Step
    ok: bool
    at: datetime
    message: str | None = None
    code: str | None = None
    retry_in: float | None = None


def key(step: Step) -> str:
    """What the step works on; one key is worked on by one line at a time."""
    match step:
        case RemoveNetwork():
            return f"network {step.name}"
        case ResolveImage():
            return f"image {step.request.request_id}"
        case _:
            return str(step.container_id)


def container_of(step: Step) -> UUID | None:
    """The container that the step is about; None when it is about something else."""
    return None if isinstance(step, RemoveNetwork | ResolveImage) else step.container_id


def lines(plan: NodePlan) -> dict[str, tuple[Step, ...]]:
    """The plan's steps by key, each line in its order."""
    out: dict[str, list[Step]] = {}
    for step in plan.steps:
        out.setdefault(key(step), []).append(step)
    return {name: tuple(steps) for name, steps in out.items()}


def render(plan: NodePlan) -> str:
    """The plan as text, a line a step; `at rest` when there is nothing to do."""
    text = [f"{_what(step)}: {step.cause}" for step in plan.steps]
    if plan.next_due is not None:
        text.append(f"due {plan.next_due.isoformat()}")
    if plan.held is not None:
        text.append(f"ask about {plan.held.question.count} of {plan.held.question.owned}")
    return "\n".join(text) or "at rest"


def unrecorded(steps: Iterable[Step]) -> tuple[Step, ...]:
    """What of a line may be done although nothing can be written: the ends in one that begins nothing (F37).

    Nothing is removed then: that a container is gone is told, and must not be forgotten.
    """
    steps = tuple(steps)
    if any(isinstance(step, CreateContainer | StartContainer) for step in steps):
        return ()
    return tuple(step for step in steps if isinstance(step, SetRestartPolicy | Unpause | StopContainer))


def _what(step: Step) -> str:
    match step:
        case EnsureNetwork():
            return f"{_short(step.container_id)} ensure network {step.network.name}"
        case RemoveNetwork():
            return f"remove network {step.name}"
        case ResolveImage():
            return f"resolve {step.request.reference} ({step.request.pull.value})"
        case PullImage():
            return f"{_short(step.container_id)} pull {step.reference}"
        case CreateContainer():
            return f"{_short(step.container_id)} create {step.assignment.name}"
        case StartContainer():
            how = "automatic" if step.automatic else f"order {step.start_gen}"
            how += f", once {_short(step.follows)} has ended" if step.follows else ""
            return f"{_short(step.container_id)} start {step.engine_id or 'the new one'} ({how})"
        case StopContainer():
            return f"{_short(step.container_id)} stop {step.engine_id} within {step.grace} s"
        case RemoveContainer():
            return f"{_short(step.container_id)} remove {step.engine_id}"
        case RemoveVolumes():
            return f"{_short(step.container_id)} remove volumes {', '.join(step.names)}"
        case SetRestartPolicy():
            return f"{_short(step.container_id)} restart policy of {step.engine_id} {step.policy}"
        case ConnectNetwork():
            target = step.engine_id or "the new one"
            return f"{_short(step.container_id)} connect {target} to {step.attachment.network.name}"
        case DisconnectNetwork():
            return f"{_short(step.container_id)} disconnect {step.engine_id} from {step.name}"
        case Unpause():
            return f"{_short(step.container_id)} unpause {step.engine_id}"
        case _:
            assert_never(step)


def _short(container_id: UUID) -> str:
    return str(container_id)[-4:]
