"""A Docker host as the record knows it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from domain.assignment import EngineInfo, Position, Strangers
from domain.container import Observed, Seen
from domain.engine_notes import EngineNote, engine_notes
from domain.pause import Pause
from domain.quarantine import Quarantine, quarantine
from domain.spec import Transport


class NodeState(StrEnum):
    """The wire's node states that this installation uses (spec 4.5)."""

    DEPLOYING = "Deploying"
    DEPLOYED = "Deployed"
    UNREACHABLE = "Unreachable"
    TERMINATED = "Terminated"


MASS_LEAST = 3
"""Of fewer hosts the one that is left takes over what it can."""

GONE_HOURS = 24


def mass_silence(silent: int, of: int, gone: int = 0) -> bool:
    """Whether so many of the hosts are silent at once that it says more about the way to them than about them: all, or
    of MASS_LEAST and more the greater part, as Kubernetes' node controller tells disruptions from losses. `gone`: those
    of the silent ones that have been so for GONE_HOURS; they are dead, and nobody took them out.
    """
    return 1 < of == silent or (silent - gone >= MASS_LEAST and silent - gone > of - silent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A row of the record. `engine` is what its agent last said of the engine; `nickname` None: the name.

    `cordoned`: it takes no new containers. `drain_action`: a drain is under way. `live` counts its containers.
    `address`: what its agent found to be its own. `overlay`: its containers are on overlay networks; `network_note`
    says why not, where they should be. `accepted` is the engine that counts as its own, `ahead` what its agent was
    told by a newer record, `strangers` what it asks about (domain.quarantine).
    """

    id: UUID
    name: str
    state: NodeState
    tags: tuple[str, ...]
    engine: EngineInfo | None
    last_seen: datetime | None
    created_at: datetime
    nickname: str | None = None
    cordoned: bool = False
    drain_action: UUID | None = None
    public_ip: str = ""
    address: str = ""
    overlay: bool = False
    network_note: str = ""
    live: int = 0
    reserved_memory: int = 0
    reserved_cpu: int = 0
    failures: tuple[StartFailure, ...] = ()
    terminated_at: datetime | None = None
    paused: Pause | None = None
    accepted: str = ""
    ahead: Position | None = None
    strangers: Strangers | None = None

    @property
    def quarantine(self) -> Quarantine | None:
        """Why it is left alone until an operator says what is right; None when it is not."""
        return quarantine(
            self.name, accepted=self.accepted, engine=self.engine, ahead=self.ahead, strangers=self.strangers
        )

    @property
    def reach(self) -> str:
        """Where others reach it: what operators say, else what its agent found; empty when nobody knows."""
        return self.public_ip or self.address


def notes_on(engine: EngineInfo | None) -> tuple[EngineNote, ...] | None:
    """The notes on an engine as its agent last found it."""
    return engine_notes(engine.version, engine.setup) if engine else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailure:
    """A container of the service could not be started on the node."""

    service_id: UUID
    at: datetime
    message: str


FAILURE_WINDOW = timedelta(minutes=5)
FAILURES = 5
"""So many failed starts of at least two services within the window, and other nodes are preferred for as long."""


def failing(failures: Sequence[StartFailure], now: datetime) -> str:
    """Why the node is not to be trusted with more containers for now; empty when it is.

    One service that cannot start says nothing about its node. A start that goes well clears the list.
    """
    recent = [each for each in failures if now - each.at < FAILURE_WINDOW]
    if len(recent) < FAILURES or len({each.service_id for each in recent}) < 2:
        return ""
    minutes = int(FAILURE_WINDOW.total_seconds() // 60)
    return f"{len(recent)} starts failed there within {minutes} minutes, last {recent[-1].message}"


def starts(
    changes: Iterable[tuple[UUID, Observed | None, Observed]], now: datetime
) -> tuple[tuple[StartFailure, ...], bool]:
    """The starts that a report tells have failed, and whether one went well: of each change the service, what was seen
    before, and what is seen now."""
    failed = []
    started = False
    for service_id, was, seen in changes:
        before = was.state if was else None
        started |= seen.state is Seen.RUNNING and before is not Seen.RUNNING
        if seen.state is Seen.FAILED and before is not Seen.FAILED:
            failed.append(StartFailure(service_id=service_id, at=now, message=(seen.message or "")[:200]))
    return tuple(failed), started


DISK_LEAST_MB = 256
DISK_LEAST_SHARE = 0.02


def disk_full(engine: EngineInfo | None) -> bool:
    """Whether the engine's disk has too little room left for another container."""
    if engine is None or not engine.disk:
        return False
    return engine.disk_free < max(DISK_LEAST_MB, engine.disk * DISK_LEAST_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node as placement sees it.

    `here` counts this service's own live containers on it, `load` all live ones; `taken` holds those of the
    service's fixed outer ports that another container has there. `gateway` is the address under which its
    containers reach it. Memory in MB, `reserved_cpu` in shares. `failing`: why its starts are not trusted.
    """

    node_id: UUID
    name: str
    state: NodeState
    tags: frozenset[str] = frozenset()
    here: int = 0
    load: int = 0
    taken: frozenset[tuple[Transport, int]] = frozenset()
    gateway: str = ""
    last_seen: datetime | None = None
    cordoned: bool = False
    draining: bool = False
    memory: int = 0
    reserved_memory: int = 0
    cpus: int = 0
    reserved_cpu: int = 0
    disk_full: bool = False
    failing: str = ""
    reach: str = ""
    overlay: bool = False
    network_note: str = ""
    paused: Pause | None = None
    quarantine: Quarantine | None = None

    @property
    def closed(self) -> Quarantine | None:
        """Why it takes no containers, when that is for a quarantine."""
        return self.quarantine if self.quarantine is not None and self.quarantine.closed else None

    @property
    def open(self) -> bool:
        """Whether it hears what is wanted of it now."""
        return self.state is NodeState.DEPLOYED and self.paused is None and self.closed is None
