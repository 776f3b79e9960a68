"""Bugs on purpose: small patches that each break one rule of the product. The simulator must find each of them.

`seed` is one that is known to find it, None where none is known yet; `./tutela simulate --planted` needs none. A bug
that few worlds would show has a `leaning`: its seeds are worlds that lean to what it needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.simulation.knobs import Leaning
from tests.simulation.planted import of_agents, of_the_orchestrator
from tests.simulation.planted.leanings import LEANINGS


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug: `breaks` says which rule, `patch` sets names of the product to something else until it is undone."""

    breaks: str
    seed: int | None
    patches: tuple[tuple[object, str, object], ...]
    leaning: Leaning

    def __call__(self) -> AbstractContextManager[None]:
        return _planted(self.patches)


@contextlib.contextmanager
def _planted(patches: tuple[tuple[object, str, object], ...]) -> Iterator[None]:
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    for owner, name, value in patches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


PLANTED: dict[str, Planted] = {
    name: Planted(breaks, seed, patches, LEANINGS.get(name, Leaning()))
    for name, (breaks, seed, patches) in {**of_agents.BUGS, **of_the_orchestrator.BUGS}.items()
}
