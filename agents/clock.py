"""An agent's two clocks. Looked up here at each use, so that a simulation can put virtual time in their place."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The host's wall clock, in UTC: for what is compared with the engine's times. It may jump."""
    return datetime.now(UTC)


def seconds() -> float:
    """A clock that only goes forward, and goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
