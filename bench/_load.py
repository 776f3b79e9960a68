"""Requests over kept connections, as fast as they are answered: `python -m bench._load`, told what to do on stdin.

A process of its own on raw sockets, so that it costs little and does not share an interpreter with anybody. A plan and
its outcome are one JSON a line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import uvloop

from bench._figures import percentile
from tests.harness.server import ROOT

NUMBER = "@NUMBER@"
"""In a request: another number each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send to a port of this machine: `requests` are (method, path, body), in turn; for so many seconds."""

    port: int
    requests: Sequence[tuple[str, str, str]]
    headers: Mapping[str, str] = field(default_factory=dict)
    connections: int
    seconds: float
    first: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Requests answered, a second; their times in seconds; how many were answered with which code."""

    count: int
    rate: float
    p50: float
    p99: float
    codes: Mapping[str, int]
    last: int


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next."""

    def __init__(self, drive: _Drive) -> None:
        self._drive = drive
        self._held, self._missing, self._began = b"", -1, 0.0
        self.over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvloop's is another
        self._transport = transport
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._held += data
            end = self._held.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._held[:end].lower()
            self._drive.code(head[9:12].decode())
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            self._missing = length - (len(self._held) - end - 4)
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self._drive.answered(self._began)
            self._ask()

    def _ask(self) -> None:
        self._held, self._missing = b"", -1
        request = self._drive.next()
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)


class _Drive:
    """What all connections share."""

    def __init__(self, plan: Plan) -> None:
        headers = "".join(f"{name}: {value}\r\n" for name, value in plan.headers.items())
        self._requests = [
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"
            + (f"Content-Type: application/json\r\nContent-Length: {len(_filled(body, 0))}\r\n" if body else "")
            + f"\r\n{body}"
            for method, path, body in plan.requests
        ]
        self._number, self._until = plan.first, time.perf_counter() + plan.seconds
        self.times, self.codes = list[float](), dict[str, int]()

    def next(self) -> bytes | None:
        """The next request; None when the time is over."""
        if time.perf_counter() > self._until:
            return None
        self._number += 1
        return _filled(self._requests[self._number % len(self._requests)], self._number).encode()

    def code(self, code: str) -> None:
        """An answer has begun."""
        self.codes[code] = self.codes.get(code, 0) + 1

    def answered(self, began: float) -> None:
        """An answer is there."""
        self.times.append(time.perf_counter() - began)

    @property
    def last(self) -> int:
        """The last number that was given."""
        return self._number


def _filled(text: str, number: int) -> str:
    return text.replace(NUMBER, f"{number:08}") if NUMBER in text else text


async def drive(plan: Plan) -> Outcome:
    """Carry out the plan."""
    loop, driven, began = asyncio.get_running_loop(), _Drive(plan), time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(driven), "127.0.0.1", plan.port)
        for _ in range(plan.connections)
    ]
    await asyncio.gather(*(connection.over for _, connection in made))
    took = time.perf_counter() - began
    return Outcome(
        count=len(driven.times),
        rate=len(driven.times) / took,
        p50=percentile(driven.times, 0.5) or 0.0,
        p99=percentile(driven.times, 0.99) or 0.0,
        codes=driven.codes,
        last=driven.last,
    )


class Load:
    """The process, as its user sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench._load"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, plan: Plan) -> Outcome:
        """Carry out a plan; returns when it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(plan)) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Outcome(**found)


def main() -> None:
    """Plans in, outcomes out."""
    for line in sys.stdin:
        said: dict[str, Any] = json.loads(line)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(asdict(runner.run(drive(Plan(**said))))), flush=True)


if __name__ == "__main__":
    main()
