"""A Docker host as the record knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.assignment import EngineInfo
from domain.spec import Transport


class NodeState(StrEnum):
    """The wire's node states that this installation uses (spec 4.5)."""

    DEPLOYING = "Deploying"
    DEPLOYED = "Deployed"
    UNREACHABLE = "Unreachable"
    TERMINATED = "Terminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A row of the record. `engine` is what its agent last said of the engine; `nickname` None: the name."""

    id: UUID
    name: str
    state: NodeState
    tags: tuple[str, ...]
    engine: EngineInfo | None
    last_seen: datetime | None
    created_at: datetime
    nickname: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node as placement sees it.

    `here` counts this service's own live containers on it; `taken` holds those of the service's fixed
    outer ports that another container has there. `gateway` is the address under which its containers reach it.
    """

    node_id: UUID
    name: str
    state: NodeState
    tags: frozenset[str] = frozenset()
    here: int = 0
    taken: frozenset[tuple[Transport, int]] = frozenset()
    gateway: str = ""
