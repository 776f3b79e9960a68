"""What the API needs of whoever runs the containers; and logs over REST (spec 2.17)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol
from uuid import UUID

MOST_BYTES = 1024 * 1024


class LogLine(Protocol):
    """One line of a container's output; `timestamp` in RFC 3339 with nanoseconds."""

    @property
    def container_id(self) -> UUID: ...
    @property
    def stream(self) -> str: ...
    @property
    def timestamp(self) -> str: ...
    @property
    def text(self) -> str: ...


class LogSource(Protocol):
    """Whoever can read the output of containers."""

    async def logs(self, container_ids: Sequence[UUID], tail: int) -> Sequence[LogLine]:
        """The last `tail` lines of the containers, by time, and before them the last line of each container that has
        none among these, by which it can be followed. Raises Conflict while they cannot be read.

        Where some hosts are away, their lines are left out and a line of no container says so.
        """
        ...


class Console(Protocol):
    """A process with a terminal in a container. Its methods raise Conflict when the way to it is cut."""

    async def read(self) -> bytes:
        """What it wrote; nothing when it has ended."""
        ...

    async def write(self, data: bytes) -> None:
        """Keystrokes for it; waits while it does not read them."""
        ...

    async def close(self) -> None:
        """Let go; a process that still runs is hung up on."""
        ...


class Streams(LogSource, Protocol):
    """Long conversations with containers. Ids, lines and bytes only: it can be spoken over a wire."""

    def follow(self, container_id: UUID, after: str | None) -> AsyncGenerator[Sequence[LogLine], None]:
        """Lines after the timestamp (all when None), then new ones as they come, in pieces; over restarts.

        Ends when the container is gone for good. A consumer that takes its time keeps only itself waiting.
        """
        ...

    async def exec(self, container_id: UUID, command: Sequence[str]) -> Console:
        """Run a command with a terminal in a running container. Raises NotAllowed, Conflict."""
        ...


def joined(lines: Sequence[LogLine], names: Mapping[UUID, str] | None, tail: int) -> str:
    """The lines by time, each with its container's name where it has one; the end counts when it is long."""
    ordered = sorted(lines, key=lambda line: line.timestamp)[-tail:]
    out = []
    for line in ordered:
        name = f"[{names[line.container_id]}] " if names is not None and line.container_id in names else ""
        out.append(f"{name}{line.timestamp} {line.text.rstrip(chr(10))}\n")
    text = "".join(out)
    if len(text) <= MOST_BYTES:
        return text
    return text[-MOST_BYTES:].split("\n", 1)[-1]
