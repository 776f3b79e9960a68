"""The engine's log format: stdout and stderr in 8-byte frames, or bare text for a terminal (ECOSYSTEM rule 10)."""

from __future__ import annotations

import re
import struct

from agents.runtime.base import RawLine

MOST_LINE = 64 * 1024
"""Bytes; what is longer is told as several lines."""
_STREAMS = {1: "stdout", 2: "stderr"}
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z ")


def lines(body: bytes, *, tty: bool) -> list[RawLine]:
    """The lines of a whole log answer that was asked for with timestamps."""
    reading = Lines(tty=tty)
    return reading.feed(body) + reading.end()


class Lines:
    """The lines of a log answer that comes in pieces, cut anywhere. The answer was asked for with timestamps."""

    def __init__(self, *, tty: bool) -> None:
        self._tty = tty
        self._rest = b""
        self._partial: dict[str, tuple[str, bytes]] = {}

    def feed(self, data: bytes) -> list[RawLine]:
        """The lines that are complete with this piece."""
        data, out, at = self._rest + data, [], 0
        if self._tty:
            whole, newline, self._rest = data.rpartition(b"\n")
            out = [_line("stdout", text) for text in whole.split(b"\n") if text] if newline else []
            if len(self._rest) > MOST_LINE:
                out.append(_line("stdout", self._rest))
                self._rest = b""
            return out
        while at + 8 <= len(data):
            kind, length = struct.unpack_from(">BxxxL", data, at)
            if at + 8 + length > len(data):
                break
            self._frame(_STREAMS.get(kind, "stdout"), data[at + 8 : at + 8 + length], out)
            at += 8 + length
        self._rest = data[at:]
        return out

    def end(self) -> list[RawLine]:
        """What was written without a newline at the end."""
        if self._tty:
            return [_line("stdout", self._rest)] if self._rest else []
        rest, self._partial = self._partial, {}
        return [_made(stream, *partial) for stream, partial in rest.items()]

    def _frame(self, stream: str, payload: bytes, out: list[RawLine]) -> None:
        """A frame is what the engine stored as one: a line, or 16 KiB of one. Each begins with a timestamp."""
        *whole, last = payload.split(b"\n")
        for text in whole:
            out.append(_made(stream, *self._joined(stream, text)))
        if last:
            stamp, text = self._joined(stream, last)
            if len(text) > MOST_LINE:
                out.append(_made(stream, stamp, text))
            else:
                self._partial[stream] = (stamp, text)

    def _joined(self, stream: str, text: bytes) -> tuple[str, bytes]:
        """The text after what its line has so far, with the timestamp of the line's beginning."""
        begun = self._partial.pop(stream, None)
        if begun is None:
            stamp, _, rest = text.partition(b" ")
            return stamp.decode("utf-8", "replace"), rest
        return begun[0], begun[1] + _STAMP.sub(b"", text, count=1) if _STAMP.match(text) else begun[1] + text


class Chunks:
    """The body of an HTTP answer in chunked encoding that comes in pieces, cut anywhere."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""
        self._left = 0
        self._newline = 0

    def feed(self, data: bytes) -> bytes:
        """The content in this piece; `ended` is set when it was the last. Raises ValueError."""
        data, out, at = self._rest + data, bytearray(), 0
        while at < len(data) and not self.ended:
            if self._left:
                taken = data[at : at + self._left]
                out += taken
                self._left -= len(taken)
                at += len(taken)
                self._newline = 0 if self._left else 2
            elif self._newline:
                skipped = min(self._newline, len(data) - at)
                self._newline -= skipped
                at += skipped
            else:
                end = data.find(b"\r\n", at)
                if end < 0:
                    break
                self._left = int(data[at:end].split(b";")[0], 16)
                self.ended = self._left == 0
                at = end + 2
        self._rest = data[at:]
        return bytes(out)


def _line(stream: str, raw: bytes) -> RawLine:
    timestamp, _, text = raw.partition(b" ")
    return _made(stream, timestamp.decode("utf-8", "replace"), text)


def _made(stream: str, timestamp: str, text: bytes) -> RawLine:
    return RawLine(stream=stream, timestamp=timestamp, text=text.decode("utf-8", "replace").rstrip("\r"))
