"""The engine's log format: stdout and stderr in 8-byte frames, or bare text for a terminal (ECOSYSTEM rule 10)."""

from __future__ import annotations

import struct

from agents.runtime.base import RawLine

_STREAMS = {1: "stdout", 2: "stderr"}


def lines(body: bytes, *, tty: bool) -> list[RawLine]:
    """The lines of a log answer that was asked for with timestamps."""
    if tty:
        return [_line("stdout", text) for text in body.split(b"\n") if text]
    out: list[RawLine] = []
    rest: dict[str, bytes] = {}
    at = 0
    while at + 8 <= len(body):
        kind, length = struct.unpack_from(">BxxxL", body, at)
        stream = _STREAMS.get(kind, "stdout")
        *whole, rest[stream] = (rest.get(stream, b"") + body[at + 8 : at + 8 + length]).split(b"\n")
        out += [_line(stream, text) for text in whole]
        at += 8 + length
    return out + [_line(stream, text) for stream, text in rest.items() if text]


def _line(stream: str, raw: bytes) -> RawLine:
    timestamp, _, text = raw.decode("utf-8", "replace").partition(" ")
    return RawLine(stream=stream, timestamp=timestamp, text=text.rstrip("\r"))
