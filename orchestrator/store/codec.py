"""Domain values to and from jsonb. Unknown keys are dropped on read: add readers a release before writers."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

from domain.action import Request
from domain.assignment import EngineInfo, Position, Strangers
from domain.container import Attachment, ContainerSpec, Observed, Order
from domain.image import ResolvedImage
from domain.node import StartFailure
from domain.placement import Verdict
from domain.service import Operation, Queued
from domain.spec import ServiceSpec
from domain.swarm import SwarmSeen

T = TypeVar("T")

SPEC: TypeAdapter[ServiceSpec] = TypeAdapter(ServiceSpec)
OPERATION: TypeAdapter[Operation] = TypeAdapter(Operation)
QUEUED: TypeAdapter[tuple[Queued, ...]] = TypeAdapter(tuple[Queued, ...])
ORDER: TypeAdapter[Order] = TypeAdapter(Order)
IMAGE: TypeAdapter[ResolvedImage] = TypeAdapter(ResolvedImage)
CONTAINER_SPEC: TypeAdapter[ContainerSpec] = TypeAdapter(ContainerSpec)
NETWORKS: TypeAdapter[tuple[Attachment, ...]] = TypeAdapter(tuple[Attachment, ...])
OBSERVED: TypeAdapter[Observed] = TypeAdapter(Observed)
ENGINE: TypeAdapter[EngineInfo] = TypeAdapter(EngineInfo)
REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
VERDICTS: TypeAdapter[tuple[Verdict, ...]] = TypeAdapter(tuple[Verdict, ...])
SWARM_SEEN: TypeAdapter[SwarmSeen] = TypeAdapter(SwarmSeen)
POSITION: TypeAdapter[Position] = TypeAdapter(Position)
STRANGERS: TypeAdapter[Strangers] = TypeAdapter(Strangers)
FAILURES: TypeAdapter[tuple[StartFailure, ...]] = TypeAdapter(tuple[StartFailure, ...])


def dump(adapter: TypeAdapter[T], value: T | None) -> Any:
    """The value as JSON-able data; None stays None."""
    return None if value is None else adapter.dump_python(value, mode="json")


def load(adapter: TypeAdapter[T], data: Any) -> T | None:
    """The value in `data`; None stays None."""
    return None if data is None else adapter.validate_python(data)
