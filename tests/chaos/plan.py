"""What is killed when: from a seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CALM = (0.5, 3.0)
"""Seconds between a recovery and the next kill."""

AWAY = (0.1, 2.0)
"""Seconds until somebody starts again what was killed: a supervisor is not instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Kill `part` after `calm` seconds of peace; it is started again `away` seconds later."""

    part: str
    calm: float
    away: float


def kills(seed: int, parts: Sequence[str]) -> Iterator[Kill]:
    """Without end: all parts once, in an order by chance, and again."""
    chance = random.Random(seed)
    while True:
        for part in chance.sample(list(parts), len(parts)):
            yield Kill(part=part, calm=chance.uniform(*CALM), away=chance.uniform(*AWAY))
