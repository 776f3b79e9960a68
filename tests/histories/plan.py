"""What is killed when: from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What the nemesis does. POSTMASTER: kill -9, all of Postgres is gone. BACKEND: kill -9 of one connection's
    process, for which Postgres ends all others and recovers. HELD: SIGSTOP of one connection's process that works,
    which goes on later (and may commit then). FROZEN: SIGSTOP of all of Postgres."""

    POSTMASTER = "postmaster kill -9"
    BACKEND = "backend kill -9"
    HELD = "backend SIGSTOP"
    FROZEN = "Postgres SIGSTOP"
    API_KILL = "API kill -9"
    API_TERM = "API SIGTERM"
    BOTH = "postmaster and API kill -9"


CRASHES = frozenset({Fault.POSTMASTER, Fault.BACKEND, Fault.BOTH})
"""After these Postgres recovers from its log."""

BESIDE = (Fault.BACKEND, Fault.HELD, Fault.API_KILL, Fault.API_TERM, Fault.FROZEN)
SECONDS = {Fault.HELD: (0.5, 7.0), Fault.FROZEN: (0.3, 3.0)}
AWAY = (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """`fault` once that many operations have been answered; healed after `seconds`."""

    after: int
    fault: Fault
    seconds: float


def strikes(seed: int, operations: int, kills: int) -> Sequence[Strike]:
    """`kills` times the postmaster, now and then an API process with it, and one other fault between two of them."""
    chance = random.Random(seed)
    step, out = operations / (kills + 1), list[Strike]()
    beside: list[Fault] = []
    for number in range(1, kills + 1):
        fault = Fault.BOTH if chance.random() < 0.2 else Fault.POSTMASTER
        out.append(_strike(chance, int(step * (number + chance.uniform(-0.2, 0.2))), fault))
        beside = beside or chance.sample(BESIDE, len(BESIDE))
        out.append(_strike(chance, int(step * (number + chance.uniform(0.3, 0.7))), beside.pop()))
    return sorted(out, key=lambda strike: strike.after)


def _strike(chance: random.Random, after: int, fault: Fault) -> Strike:
    return Strike(after=after, fault=fault, seconds=chance.uniform(*SECONDS.get(fault, AWAY)))
