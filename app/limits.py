"""How often somebody may do something: token buckets in this process's memory (RELIABILITY S10).

Each process counts for itself: behind several the limits add up. What is remembered is bounded; who was forgotten
begins with a full bucket.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Self

from app.settings import Settings

FAILED_LOGINS, FAILED_JOINS, TRIGGER_CALLS, CALLERS = 10, 10, 10, 60
"""A minute: wrong credentials by address and by user name, failed joins by address, calls by trigger and by address."""
REMEMBERED = 4096

Clock = Callable[[], float]


class Buckets:
    """One bucket for each key: full it holds what is allowed in a minute, and it fills up within a minute."""

    def __init__(self, per_minute: int, *, clock: Clock = time.monotonic, remembered: int = REMEMBERED) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._remembered = remembered
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._left)

    def waiting(self, key: Hashable) -> int | None:
        """The whole seconds until the next is allowed; None when it is now."""
        left = self._now(key)
        return None if left >= 1 else max(1, math.ceil((1 - left) * 60 / self._most))

    def take(self, key: Hashable) -> int | None:
        """Count one more; the seconds to wait when it is one too many, which then does not count."""
        wait, left = self.waiting(key), self._now(key)
        self._left[key] = (left if wait else left - 1, self._clock())
        self._left.move_to_end(key)
        while len(self._left) > self._remembered:
            self._left.popitem(last=False)
        return wait

    def give_back(self, key: Hashable) -> None:
        """Count one less: what was taken turned out to be none of what is counted."""
        self._left[key] = (min(self._most, self._now(key) + 1), self._clock())

    def _now(self, key: Hashable) -> float:
        left, at = self._left.get(key, (self._most, 0.0))
        return min(self._most, left + (self._clock() - at) * self._most / 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All that is counted in this process. `failed_users` is by the name that was given, be there such a user or not;
    `creates` and `execs` are by key."""

    failed: Buckets
    failed_users: Buckets
    triggers: Buckets
    callers: Buckets
    creates: Buckets
    execs: Buckets

    @classmethod
    def of(cls, settings: Settings, clock: Clock = time.monotonic) -> Self:
        """Those of the settings, with nothing counted yet."""
        return cls(
            failed=Buckets(FAILED_LOGINS, clock=clock),
            failed_users=Buckets(FAILED_LOGINS, clock=clock),
            triggers=Buckets(TRIGGER_CALLS, clock=clock),
            callers=Buckets(CALLERS, clock=clock),
            creates=Buckets(settings.limit_creates, clock=clock),
            execs=Buckets(settings.limit_execs, clock=clock),
        )


def neighbourhood(address: str) -> str:
    """What one subscriber has: an IPv4 address, or a /64 of IPv6. A text that is no address stays as it is."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
