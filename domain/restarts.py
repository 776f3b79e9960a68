"""What becomes of a container that ended by itself: restart, replace, destroy or leave (spec 2.18).

The node restarts (RELIABILITY I4, I12); what comes after is the orchestrator's, once the node says that it will
not start the container again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from domain.spec import CrashPolicy

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=60)
CALM = timedelta(seconds=60)
"""A container that ran this long starts the count anew."""
RESTARTS_BEFORE_REPLACING = 3
REPLACEMENTS = 3
REPLACEMENT_WINDOW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartHistory:
    """Automatic starts of one container: how many in a row, and when the last one was."""

    count: int = 0
    last_start: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Start it, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Leave it as it is; `reason` for people."""

    reason: str


def decide(
    policy: CrashPolicy,
    *,
    exit_code: int | None,
    ended_at: datetime | None,
    history: RestartHistory,
    now: datetime,
    autoreplace: CrashPolicy = CrashPolicy.OFF,
) -> Restart | Leave:
    """Restart or leave a container that ended (`exit_code` None: it could not start).

    The first restart is at once; each further one waits twice as long as the one before, from 1 s to 60 s,
    and a container that ran 60 s begins again. Without end, unless autoreplace waits for its turn. A last start that is
    yet to come means that the clock was set back: it puts nothing off (RELIABILITY F41).
    """
    if not policy.matches(exit_code):
        return Leave(reason=f"autorestart is {policy.value}")
    count = calm_count(history, ended_at)
    if autoreplace.matches(exit_code) and count >= RESTARTS_BEFORE_REPLACING:
        return Leave(reason=f"it ended again after {count} restarts, and autoreplace is {autoreplace.value}")
    if count == 0 or history.last_start is None or history.last_start > now:
        return Restart(at=now)
    pause = min(FIRST_PAUSE * 2 ** min(count - 1, 16), LONGEST_PAUSE)
    return Restart(at=history.last_start + pause)


def calm_count(history: RestartHistory, ended_at: datetime | None) -> int:
    """The restarts in a row that still count after an end at `ended_at`."""
    if history.last_start is not None and ended_at is not None and ended_at - history.last_start >= CALM:
        return 0
    return history.count


def started(history: RestartHistory, ended_at: datetime | None, now: datetime) -> RestartHistory:
    """The history after one more automatic start."""
    return RestartHistory(count=calm_count(history, ended_at) + 1, last_start=now)


class Fate(Enum):
    """What becomes of a container that its node will not start again."""

    STAY = "stay"
    REPLACE = "replace"
    DESTROY = "destroy"


def after_end(
    *,
    autoreplace: CrashPolicy,
    autodestroy: CrashPolicy,
    exit_code: int | None,
    ended_at: datetime,
    replaced: tuple[datetime, ...],
) -> Fate:
    """Replace, destroy or leave a container that ended for good (`exit_code` None: it could not start).

    `replaced`: when earlier containers of the slot were replaced; three within five minutes are the most.
    """
    if autoreplace.matches(exit_code) and len(recent(replaced, ended_at)) < REPLACEMENTS:
        return Fate.REPLACE
    return Fate.DESTROY if autodestroy.matches(exit_code) else Fate.STAY


def recent(replaced: tuple[datetime, ...], at: datetime) -> tuple[datetime, ...]:
    """The replacements that still count at that time."""
    return tuple(each for each in replaced if at - each < REPLACEMENT_WINDOW)
