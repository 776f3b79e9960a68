"""What a kind of fault is. The table of them is in `tests.chaos.faults`, a newcomer adds one entry there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.stage import Stage


class Broken(AssertionError):
    """Something was not as promised; the text says what."""


def _nothing() -> None:
    return None


def _yes() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wound:
    """A fault that was put in.

    `where` for the timeline. `meanwhile` is done while it stays, and raises Broken. `heal` takes it away. `well`:
    whether what it hit is as it should be again; that the whole stage is (`Stage.trouble`) is asked besides. `after`
    judges and tidies up once all is well, and raises Broken.
    """

    where: str
    heal: Callable[[], None] = _nothing
    well: Callable[[], bool] = _yes
    meanwhile: Callable[[], None] = _nothing
    after: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A kind of fault.

    `number`: its row in RELIABILITY section 2. `stays`: the shortest and longest seconds from the injection to `heal`.
    `bound`: seconds from `heal` until all is well, column T there, on the box that the bars are for. `inject` puts it
    in. `api_away`: until all is well, the API may answer 503 or not at all. `starts`: to heal it a process of Tutela's
    is started, which a busy machine delays more than it does an engine. `needs`: what a stage must have for it.
    """

    name: str
    number: str
    bound: float
    inject: Callable[[Stage, random.Random], Wound]
    stays: tuple[float, float] = (0.0, 0.0)
    api_away: bool = False
    starts: bool = False
    needs: Callable[[Stage], bool] = lambda stage: True
