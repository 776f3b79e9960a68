"""Managed volumes, as the record knows them: a group a mount path of a service, a volume a slot in it (spec 4.11)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class VolumeState(StrEnum):
    """The wire's states of volumes and of their groups."""

    CREATED = "Created"
    TERMINATED = "Terminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume on its node, with the containers that have it mounted."""

    id: UUID
    group_id: UUID
    node_id: UUID
    state: VolumeState
    containers: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeGroup:
    """The volumes of one mount path of a service. `name` reads `<service>_<path>`."""

    id: UUID
    name: str
    service_id: UUID
    state: VolumeState
    volumes: tuple[UUID, ...] = ()
