"""What one pass may know: the engine's side of our containers and networks, and what the agent remembers.

Values only; the planner reads them, `observe` and `ledger` make them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from domain.container import FIRST_MOMENT
from domain.restarts import RestartHistory

OTHER_CLOCK = timedelta(seconds=10)
"""An engine whose times are that far ahead has another clock than its agent."""


class EngineState(StrEnum):
    """The engine's word for a container's state."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A container's place on a network, as the engine has it."""

    network_id: str
    aliases: frozenset[str] = frozenset()
    links: frozenset[tuple[str, str]] = frozenset()
    ip: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedContainer:
    """An engine container with our labels. `container_id` is the label, `engine_id` the engine's own id.

    `asked_at`: when the engine was asked for this, by the agent's clock; what is told was so then or later.
    """

    container_id: UUID
    engine_id: str
    name: str
    digest: str
    state: EngineState
    restart_policy: str = "no"
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    restart_count: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    endpoints: tuple[Endpoint, ...] = ()
    asked_at: datetime | None = None
    own_names: frozenset[str] = frozenset()
    """Names that an engine may list as aliases by itself: short id, name, host name."""
    names_lost: frozenset[str] = frozenset()
    """Networks, by name, on which it is no longer known by its names (agents.swarm)."""


def settles_at(seen: ObservedContainer) -> datetime | None:
    """When to ask again after a run whose first moment was not over when the engine was asked; None: it was.

    An engine tells of an end late when its host is busy, and an inspection waits for an end that the engine is
    working on. So neither the time alone nor a list proves that a run went on, but a later inspection does. An engine
    whose clock is not the agent's (OTHER_CLOCK) is not waited for.
    """
    if seen.state is not EngineState.RUNNING or seen.started_at is None or seen.asked_at is None:
        return None
    due = seen.started_at + FIRST_MOMENT
    return due if seen.asked_at < due and seen.started_at <= seen.asked_at + OTHER_CLOCK else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedNetwork:
    """An engine network with our labels. Names are not unique (ECOSYSTEM rule 15), ids are."""

    network_id: str
    name: str
    overlay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    """A full list of what is ours on the engine.

    `unknown` are containers that are in the list but did not say more in time (E8), or that a step is working
    on: nothing is decided about them in this pass.
    """

    containers: tuple[ObservedContainer, ...] = ()
    networks: tuple[ObservedNetwork, ...] = ()
    unknown: frozenset[UUID] = frozenset()

    def by_identity(self) -> dict[UUID, list[ObservedContainer]]:
        """The containers by what their labels say they are."""
        found: dict[UUID, list[ObservedContainer]] = {}
        for each in self.containers:
            found.setdefault(each.container_id, []).append(each)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class StartIntent:
    """A start that was about to be ordered. It was carried out if the engine shows a later start than `after`."""

    start_gen: int
    after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The engine said no; only a restart decision or a newer order tries again."""

    message: str
    at: datetime
    code: str = "refused"


LONGEST_WAIT = timedelta(seconds=45)
"""Until the next try of anything, with room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The engine was in no state to answer: `count` times in a row, next try at `at`."""

    count: int
    at: datetime
    message: str

    def waits(self, now: datetime) -> bool:
        """Whether it is too early. Further away than tries are ever put off: the clock was set back (F41)."""
        return now < self.at <= now + LONGEST_WAIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """The engine was started anew at about `engine_since`; it was missed from `lost_at` on.

    `run` None: one that was being started. `over`: the end of the run was seen before that.
    """

    run: datetime | None
    engine_since: datetime | None = None
    lost_at: datetime | None = None
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerMemory:
    """What the engine cannot tell about a container.

    `start_gen` is the newest order carried out. `run` is the start time of the run that was on when last seen, `over`
    of one that was on before and had ended; `interrupted` the run that was on when the engine went away, or shortly
    before; `stopped_run` the run that was ordered to stop, `fenced_run` the one that was for want of a lease, and when.
    `result`: the exit code of a run that ended for good: whoever removes the container then has not asked for another.
    `image_missing`: a create found no image, so the next one pulls first. `volumes_dropped`: the volumes that
    were to go with it are gone.
    """

    start_gen: int = 0
    intent: StartIntent | None = None
    history: RestartHistory = field(default_factory=RestartHistory)
    run: datetime | None = None
    over: datetime | None = None
    interrupted: Interruption | None = None
    stopped_run: datetime | None = None
    fenced_run: datetime | None = None
    fenced_at: datetime | None = None
    refused: Refusal | None = None
    retry: Retry | None = None
    result: int | None = None
    image_missing: bool = False
    volumes_dropped: bool = False
