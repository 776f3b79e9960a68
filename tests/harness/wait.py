"""The one place in the tests that waits for time to pass."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_BESIDE = "PYTEST_XDIST_WORKER" in os.environ
BESIDE = 3.0 if _BESIDE else 1.0
"""How much longer things take beside another worker of the tests."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.15
PAUSE = 5.0 if _BESIDE else 0.0
"""The seconds that a busy machine now and then takes for anything at all."""


def bar(seconds: float, slower: float = BESIDE) -> float:
    """The most that something may take: the bar itself when a test runs alone.

    Beside another worker, whose load comes and goes, it only catches what is far off.
    """
    return seconds * slower + PAUSE


def wait_for(look: Callable[[], T | None], *, timeout: float, what: str, every: float | None = None) -> T:
    """Call `look` until it gives something else than None or False; returns that. Raises AssertionError in time.

    Without `every` the pauses grow with the wait: who looks fifty times a second slows what is looked at.
    """
    deadline, last, pause = time.monotonic() + timeout, None, every or FIRST_PAUSE
    while True:
        value = look()
        if value is not None and value is not False:
            return value
        last = value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}; last seen: {last!r}")
        time.sleep(pause)
        if every is None:
            pause = min(pause * 1.25, LONGEST_PAUSE)


def let_pass(seconds: float) -> None:
    """Time itself is what is wanted: peace between two kills, or how long something is away."""
    time.sleep(seconds)
