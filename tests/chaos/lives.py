"""What the lives of containers say about the promises. Pure: the watchers record, this judges.

All engines and the watchers share one clock, so lives on different hosts can be compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Life:
    """One run of one container. `key`: Tutela's id of it. `name`: its slot, such as web-1.

    `began`: as its engine says; `last`: a time at which it certainly ran, that is before the list was asked for that
    showed it running. `ended`: a time at which it certainly did not run any more; None: nobody saw that. All in seconds
    since the epoch.
    """

    host: str
    service: str
    name: str
    key: str
    engine_id: str
    began: float
    last: float
    ended: float | None = None


def twice(lives: Iterable[Life]) -> Iterator[str]:
    """Slots that certainly ran twice at one instant (I2a).

    Not one container, which has one process: started again between two looks it is seen running in its earlier life.
    """
    slots: dict[tuple[str, str], list[Life]] = defaultdict(list)
    for life in lives:
        slots[life.service, life.name].append(life)
    for several in slots.values():
        several.sort(key=lambda life: life.began)
        for number, later in enumerate(several):
            for earlier in several[:number]:
                one = (earlier.host, earlier.engine_id) == (later.host, later.engine_id)
                if earlier.last > later.began and not one:
                    yield (
                        f"I2a: {later.name} ran twice for {earlier.last - later.began:.2f} s at least: since"
                        f" {earlier.began:.2f} on {earlier.host} ({earlier.engine_id[:12]}) and since"
                        f" {later.began:.2f} on {later.host} ({later.engine_id[:12]})"
                    )


def too_many(lives: Iterable[Life], allowed: Mapping[str, int]) -> Iterator[str]:
    """Containers that began more lives than the first and those that a fault explains (I12). `allowed` by key."""
    found: dict[str, list[Life]] = defaultdict(list)
    for life in lives:
        if life.key in allowed:
            found[life.key].append(life)
    for key, several in found.items():
        if len(several) > allowed[key]:
            began = ", ".join(f"{life.began:.2f} ({life.engine_id[:12]})" for life in several)
            first = several[0]
            yield (
                f"I12: {first.name} on {first.host} had {len(several)} lives, {allowed[key]} are explained;"
                f" they began at {began}"
            )


def fewest(lives: Sequence[Life], service: str, begin: float, end: float) -> int:
    """The fewest containers of the service that may have run at one instant of that span (I7).

    What ended may have run until somebody saw that, so that a count that is too low is certain.
    """
    mine = [life for life in lives if life.service == service]
    ends = [life.ended for life in mine if life.ended is not None]
    edges = [at for at in {begin, *ends} if begin <= at < end]
    return min(
        (sum(life.began <= at and (life.ended is None or at < life.ended) for life in mine) for at in edges), default=0
    )
