"""Domain values to and from jsonb. Unknown keys are dropped on read: add readers a release before writers."""

from __future__ import annotations

import functools
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


LONGEST_REMEMBERED, MOST_REMEMBERED = 4096, 8192
"""Characters, and texts: some 30 MB of what services usually have."""


def load(adapter: TypeAdapter[T], data: Any) -> T | None:
    """The value in `data`, which is JSON-able, or is JSON text where a statement gives it so; None stays None.

    The value of a text is remembered: values never change, and each pass, report, list and answer to an agent reads the
    same definitions again, which costs some twenty times as much (a container's: 31 and 1.3 us).
    """
    if isinstance(data, str):
        known: T = _remembered(adapter, data) if len(data) <= LONGEST_REMEMBERED else adapter.validate_json(data)
        return known
    return None if data is None else adapter.validate_python(data)


@functools.lru_cache(maxsize=MOST_REMEMBERED)
def _remembered(adapter: TypeAdapter[Any], text: str) -> Any:
    return adapter.validate_json(text)
