"""What came of a run, for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One fault: `took` seconds until all was well again, of `bound` times `factor` that it may take."""

    name: str
    number: str
    took: float
    bound: float
    factor: float

    @property
    def late(self) -> bool:
        """Whether it took longer than it may."""
        return self.took > self.bound * self.factor


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that so large a part of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The recoveries in order, what was not as promised, and figures by name."""

    seed: int
    recoveries: Sequence[Recovery]
    violations: Sequence[str]
    figures: Mapping[str, str]
    logs: str

    def lines(self) -> Iterator[str]:
        """A table, the figures, the verdict."""
        yield f"{'fault':34} {'row':8} {'times':>5} {'p50 s':>7} {'p99 s':>7} {'max s':>7} {'bound s':>8} {'of it':>6}"
        for name in sorted({each.name for each in self.recoveries}):
            mine = [each for each in self.recoveries if each.name == name]
            took = [each.took for each in mine]
            share = max(each.took / (each.bound * each.factor) for each in mine)
            yield (
                f"{name:34} {mine[0].number:8} {len(mine):5} {quantile(took, 0.5):7.2f} {quantile(took, 0.99):7.2f}"
                f" {max(took):7.2f} {mine[0].bound:8.1f} {share:6.0%}"
            )
        yield "(of it: the largest part of its bound, times the factor of the moment, that a recovery took)"
        for name, figure in self.figures.items():
            yield f"{name}: {figure}"
        yield from (f"VIOLATION {each}" for each in self.violations)
        kinds = len({each.name for each in self.recoveries})
        yield (
            f"seed {self.seed}: {len(self.recoveries)} faults of {kinds} kinds, {len(self.violations)} violations;"
            f" logs and timeline: {self.logs}"
        )
