"""What is said on a stream: the WebSocket that an agent dials back for a reader of logs or for a command.

The control plane says first what it wants (`StreamRequest`). Lines and the process's output then go up, keystrokes
down: text frames are JSON, binary frames are the bytes of a terminal. Each side sends at most WINDOW pieces that the
other has not taken yet, so that who does not read stops the writer and fills no memory (RELIABILITY F51).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from agents.frames import Broken
from agents.streams import LogLine

WINDOW = 4
"""Pieces under way in one direction."""

PIECE = 64 * 1024
"""Bytes of a piece, about: one line may be as long."""

MOST_STREAM = 1024 * 1024
"""Bytes of one frame: a piece in which every character is escaped."""


class StreamKind(StrEnum):
    """What a stream is for."""

    LOGS = "logs"
    FOLLOW = "follow"
    EXEC = "exec"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAsked:
    """The control plane at `url` waits for a stream; the ticket serves once, and this node only."""

    ticket: str = field(repr=False)
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """Said by the control plane once the agent is there. FOLLOW and EXEC are of one container."""

    kind: StreamKind
    containers: tuple[UUID, ...]
    tail: int = 0
    after: str | None = None
    command: tuple[str, ...] = ()


ASKED: TypeAdapter[StreamAsked] = TypeAdapter(StreamAsked)
REQUEST: TypeAdapter[StreamRequest] = TypeAdapter(StreamRequest)

BEGUN = json.dumps({"begun": True})
"""The process runs."""

END = json.dumps({"end": True})
"""There is no more."""

MORE = json.dumps({"more": 1})
"""A piece was taken."""


def lines_frame(lines: Sequence[LogLine]) -> str:
    """A piece of log."""
    told = [[str(each.container_id), each.stream, each.timestamp, each.text] for each in lines]
    text = json.dumps({"lines": told}, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode()


def read_lines(frame: dict[str, Any], wanted: Collection[UUID]) -> list[LogLine]:
    """The lines in a piece. Raises Broken, also for lines of containers that were not asked for (S26)."""
    out = []
    try:
        for container, stream, timestamp, text in frame["lines"]:
            ours = UUID(container)
            if ours not in wanted or not all(isinstance(each, str) for each in (stream, timestamp, text)):
                raise ValueError("not what was asked for")
            out.append(LogLine(container_id=ours, stream=stream, timestamp=timestamp, text=text))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Broken(f"lines: {error}") from error
    return out


def pieces(lines: Iterable[LogLine]) -> Iterator[list[LogLine]]:
    """The lines in pieces of about PIECE bytes."""
    piece: list[LogLine] = []
    size = 0
    for each in lines:
        if piece and size + len(each.text) > PIECE:
            yield piece
            piece, size = [], 0
        piece.append(each)
        size += len(each.text) + 80
    if piece:
        yield piece


def parts(data: bytes) -> Iterator[bytes]:
    """Bytes of a terminal in pieces."""
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]
