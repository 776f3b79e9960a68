"""What strikes when: from a seed, so that a run can be had again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CALM = (0.2, 1.5)
"""Seconds between a recovery and the next fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """The fault of that name after `calm` seconds of peace. `stay` (0 to 1): where between its shortest and its
    longest time it stays; `seed`: of what it leaves to chance itself, such as which host."""

    number: int
    name: str
    calm: float
    stay: float
    seed: str


def strikes(seed: int, names: Sequence[str]) -> Iterator[Strike]:
    """Without end: every fault once, in an order by chance, and again."""
    chance, number = random.Random(seed), 0
    while True:
        for name in chance.sample(list(names), len(names)):
            number += 1
            yield Strike(
                number=number,
                name=name,
                calm=chance.uniform(*CALM),
                stay=chance.random(),
                seed=f"{seed}/{number}/{name}",
            )
