"""A stack as the API shows it (spec 4.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.wire.scalars import date, uri
from domain.service import Service
from domain.stack import Stack, StackState


@dataclass(frozen=True, slots=True, kw_only=True)
class StackDetails:
    """A stack with what its representation is derived from. `services` are those that are not terminated."""

    stack: Stack
    state: StackState
    services: Sequence[Service]
    synchronized: bool


def stack_out(details: StackDetails) -> dict[str, Any]:
    """The whole representation."""
    stack = details.stack
    return {
        "uuid": str(stack.id),
        "resource_uri": uri("stack", stack.id),
        "name": stack.name,
        "nickname": stack.nickname or stack.name,
        "state": details.state.value,
        "synchronized": details.synchronized,
        "services": [uri("service", service.id) for service in details.services],
        "deployed_datetime": date(stack.deployed_at),
        "destroyed_datetime": date(stack.terminated_at if details.state is StackState.TERMINATED else None),
    }
