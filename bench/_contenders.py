"""Who is measured, on one engine or on several: the engines through their SDK, Docker Swarm, Tutela (`bench._raw`,
`_swarm`, `_ours`). The same words for all of them.

Each call does one thing to a group of containers and returns once that is so; the caller holds the watch. `image` is
there already, and its process ends when it is told to. Containers have the label `bench`: GROUP, or SINGLE for the one
that some lives have beside it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from tests.harness.engine import PrivateEngine

PATIENCE = 120
LOOK, SHARE = 0.02, 0.01
"""Seconds between two looks, or that share of what has passed where it is more: each costs a part of the two cores that
all share. What is measured is late by no more than that."""

LABEL, GROUP, SINGLE = "bench", "group", "single"
NAME = "named"
"""What a linked container calls the group by."""


def watch(so: Callable[[], Any], what: str) -> None:
    """Look until it is so."""
    began = time.monotonic()
    while not so():
        passed = time.monotonic() - began
        assert passed < PATIENCE, f"waited {PATIENCE} s for {what}"
        time.sleep(max(LOOK, passed * SHARE))


class Contender(Protocol):
    """`name` for the table. `prepare` and `clear` are not counted."""

    name: str

    def prepare(self) -> None:
        """Make what is there before anybody asks for containers."""

    def start(self, image: str, count: int) -> None:
        """Until `count` containers run that did not exist before."""

    def scale(self, count: int) -> None:
        """Until so many run, where fewer did."""

    def asked(self, count: int) -> AbstractContextManager[None]:
        """As `scale`, but the block goes on at once; at its end they run."""

    def redeploy(self) -> None:
        """Each container follows a new one, one at a time, the next after the one before runs."""

    def crash(self) -> None:
        """From the death of the only container's process until it, or its successor, runs."""

    def linked(self, image: str) -> None:
        """Start one container, and one of another service that is linked to it."""

    def neighbour(self) -> tuple[int, str]:
        """The process of the linked container, and the name by which it finds all of the group."""

    def pid(self) -> int:
        """The process of the only container."""

    def follow(self) -> AbstractContextManager[Iterator[str]]:
        """What the only container writes, the lines that are there first; a piece for each line that comes alone."""

    def end(self) -> None:
        """Stop all of them and remove them."""

    def clear(self) -> None:
        """Nothing of it is left."""


class OnHosts(Contender, Protocol):
    """One that is at home on several hosts."""

    def beside(self, image: str) -> None:
        """Until one container runs, of a service of its own, on whatever host."""

    def drain(self, engine: PrivateEngine) -> None:
        """Have the containers of a host run on the others; may return before that is so."""


@contextlib.contextmanager
def at_work(contender: Contender) -> Iterator[Contender]:
    """It is prepared, and leaves nothing."""
    contender.prepare()
    try:
        yield contender
    finally:
        contender.clear()
