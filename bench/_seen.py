"""What is seen from outside, in the same way of everybody: by containers that ask for names, by who reads logs, and by
the engines' own records.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._contenders import LABEL
from tests.harness.engine import PrivateEngine, run
from tests.harness.wait import let_pass

RESOLVER = "127.0.0.11"
"""Where an engine resolves names for its containers."""

PAUSE = 0.05
"""Seconds before each line of a log."""


def addresses(pid: int, name: str) -> int:
    """How many addresses a container gets for the name; `pid` is its process.

    In its network without a command in it: to start one takes the engine longer than what is measured.
    """
    asked = ("busybox", "nslookup", f"{name}.", RESOLVER)
    said = run("nsenter", f"--net=/proc/{pid}/ns/net", *asked, check=False).partition("Name:")[2]
    return len({line.split()[1] for line in said.splitlines() if line.startswith("Address")})


def latency(pid: int, follow: Callable[[], AbstractContextManager[Iterator[str]]], count: int) -> float:
    """The median of the seconds from when a line is in the pipe that the process has for its output until the reader
    has it, over `count` lines. Two lines before them show that all is under way. Between two everybody comes to rest:
    of lines without a pause each finds all processes awake, and takes a third of the time.
    """
    with Path(f"/proc/{pid}/fd/1").open("wb", buffering=0) as output:

        def written(text: str) -> float:
            began = time.perf_counter()
            output.write(f"{text}\n".encode())
            return began

        written("the first")
        with follow() as pieces:

            def read(text: str) -> float:
                next(piece for piece in pieces if text in piece)
                return time.perf_counter()

            read("the first")
            written("the second")
            read("the second")
            taken = []
            for number in range(count):
                let_pass(PAUSE)
                began = written(f"line {number} of {count}")
                taken.append(read(f"line {number} of {count}") - began)
            return statistics.median(taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A container of the group began to run, or ended; `at` by the machine's clock, in seconds."""

    at: float
    began: bool
    group: str


def turns(engines: Sequence[PrivateEngine], since: float) -> list[Turn]:
    """What began and ended since then, in order, by the engines' own records (each keeps 256 events)."""
    found = []
    for engine in engines:
        # The types know whole seconds only.
        client: Any = engine.client()
        span = {"since": f"{since:.6f}", "until": f"{time.time():.6f}"}
        which = {"type": "container", "event": ["start", "die"], "label": LABEL}
        with contextlib.closing(client.events(**span, filters=which, decode=True)) as events:
            found += [
                Turn(
                    at=each["timeNano"] / 1e9,
                    began=each["Action"] == "start",
                    group=each["Actor"]["Attributes"][LABEL],
                )
                for each in events
            ]
    return sorted(found, key=lambda turn: turn.at)


def running(engine: PrivateEngine, group: str | None = None) -> int:
    """How many containers run there, of a group or of all."""
    label = LABEL if group is None else f"{LABEL}={group}"
    return len(engine.client().containers(filters={"label": label, "status": "running"}))


def without(found: Sequence[Turn], group: str, count: int) -> float:
    """The seconds in which nothing of the group ran, of which `count` ran before."""
    total, since = 0.0, None
    for turn in found:
        if turn.group != group:
            continue
        count += 1 if turn.began else -1
        if not count:
            since = turn.at
        elif since is not None:
            total, since = total + turn.at - since, None
    return total
