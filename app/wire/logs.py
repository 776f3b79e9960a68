"""Logs over REST (spec 2.17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

MOST_BYTES = 1024 * 1024


class LogLine(Protocol):
    """One line of a container's output; `timestamp` in RFC 3339 with nanoseconds."""

    @property
    def container_id(self) -> UUID: ...
    @property
    def timestamp(self) -> str: ...
    @property
    def text(self) -> str: ...


class LogSource(Protocol):
    """Whoever can read the output of containers."""

    async def logs(self, container_ids: Sequence[UUID], tail: int) -> Sequence[LogLine]:
        """The last `tail` lines of each container."""
        ...


def joined(lines: Sequence[LogLine], names: Mapping[UUID, str] | None, tail: int) -> str:
    """The lines by time, each with its container's name where names are given; the end counts when it is long."""
    ordered = sorted(lines, key=lambda line: line.timestamp)[-tail:]
    out = []
    for line in ordered:
        name = f"[{names.get(line.container_id, '')}] " if names is not None else ""
        out.append(f"{name}{line.timestamp} {line.text.rstrip(chr(10))}\n")
    text = "".join(out)
    if len(text) <= MOST_BYTES:
        return text
    return text[-MOST_BYTES:].split("\n", 1)[-1]
