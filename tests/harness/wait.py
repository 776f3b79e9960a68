"""The one place in the tests that waits for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], *, timeout: float, what: str, every: float = 0.02) -> T:
    """Call `look` until it gives something else than None or False; returns that. Raises AssertionError in time."""
    deadline, last = time.monotonic() + timeout, None
    while True:
        value = look()
        if value is not None and value is not False:
            return value
        last = value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s for {what}; last seen: {last!r}")
        time.sleep(every)


def let_pass(seconds: float) -> None:
    """Time itself is what is wanted: peace between two kills, or how long something is away."""
    time.sleep(seconds)
