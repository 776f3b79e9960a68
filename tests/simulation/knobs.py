"""What differs from seed to seed: sizes, kinds of faults, how bad they are. Each seed has a few kinds of faults."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulation.net import Weather
from tests.simulation.runtime import Cuts
from tests.simulation.store import Trouble

LONG = 0.25
"""The share of seeds without a silence that last twice as long. Of bugs on purpose a second of short seeds finds as
many as one of long seeds, each in a world of its own; but some need what a longer life has left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """One seed's. `calm`: no faults, so that the strictest promises are judged. `silence`: its links are cut for so
    long that leases end and nodes are lost. `hush`: for a while none of its hosts is heard. Times in seconds.
    """

    hosts: int
    planes: int
    lanes: int
    services: int
    seconds: float
    calm: bool
    silence: bool
    kinds: tuple[str, ...]
    fault_every: float
    user_every: float
    live_restore: bool
    lost_events: float
    lost_notices: float
    weather: Weather
    trouble: Trouble
    cuts: Cuts
    farewell: bool
    anew: bool
    hush: bool

    @property
    def tears(self) -> bool:
        """Whether disks may lose what agents wrote."""
        return "ledger_torn" in self.kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaning:
    """What a world leans to, where it is to look for something that few worlds have: other knobs, what every service
    has, and how often its users do what. Without any, the world of its seed."""

    knobs: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    doing: Mapping[str, float] = field(default_factory=dict)


def turned(chance: random.Random, kinds: tuple[str, ...]) -> Knobs:
    """The knobs of a seed. `kinds`: the faults that there are."""
    calm = chance.random() < 0.15
    silence = not calm and chance.random() < 0.15
    chosen = () if calm else tuple(chance.sample(kinds, chance.randint(2, 6)))

    def sometimes(share: float, low: float, high: float) -> float:
        return chance.uniform(low, high) if not calm and chance.random() < share else 0.0

    knobs = Knobs(
        hosts=chance.choice((2, 2, 3) if silence else (1, 1, 2, 2, 2, 3, 3, 4, 6)),
        planes=chance.choice((1, 1, 1, 2)),
        lanes=chance.choice((1, 1, 2)),
        services=chance.choice((2, 3) if silence else (1, 1, 2, 2, 3)),
        seconds=chance.uniform(24.0, 36.0) if silence else chance.uniform(3.0, 10.0 if calm else 8.0),
        calm=calm,
        silence=silence,
        kinds=tuple(dict.fromkeys(("link_cut", "agent_killed", *chosen[:2]))) if silence else chosen,
        fault_every=chance.choice((2.0, 4.0) if silence else (0.7, 1.5, 3.0)),
        user_every=chance.choice((3.0, 6.0) if silence else (2.0, 4.0) if calm else (0.5, 1.5, 3.0)),
        live_restore=chance.random() < 0.4,
        lost_events=sometimes(0.3, 0.05, 0.5),
        lost_notices=sometimes(0.3, 0.05, 0.5),
        weather=Weather(
            slowest=chance.choice((0.005, 0.02, 0.3)),
            cut_before=sometimes(0.3, 0.005, 0.05),
            cut_after=sometimes(0.4, 0.005, 0.05),
            twice=sometimes(0.4, 0.05, 0.3),
        ),
        trouble=Trouble(pause=sometimes(0.5, 0.01, 0.2), unknown=sometimes(0.3, 0.005, 0.05)),
        cuts=Cuts(before=sometimes(0.3, 0.01, 0.1), after=sometimes(0.4, 0.02, 0.2), slow=sometimes(0.3, 0.02, 0.2)),
        farewell=chance.random() < 0.4,
        anew=chance.random() < 0.5,
        hush=not calm and chance.random() < 0.1,
    )
    if not silence and chance.random() < LONG:
        knobs = replace(knobs, seconds=2 * knobs.seconds)
    return knobs
