"""Tutela's API beside the bare handler: the table and the file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench._figures import FOLDER

BARE, OURS = "bare FastAPI + asyncpg", "Tutela"
BARS = {"get one": 0.7, "list of 100": 0.6}
"""At least so much of the bare handler's rate (issue 5); what is not named has no bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Requests a second, the 99th percentile in milliseconds, and the server's CPU time in microseconds a request."""

    rate: float
    p99: float
    cpu: float


@dataclass(slots=True, kw_only=True)
class Case:
    """What each contender did, a round after the other."""

    bar: float | None = None
    rounds: dict[str, list[Round]] = field(default_factory=lambda: {BARE: [], OURS: []})

    def middle(self, contender: str, what: str = "rate") -> float | None:
        """The median of its rounds; None of none."""
        found = [getattr(each, what) for each in self.rounds[contender]]
        return statistics.median(found) if found else None

    @property
    def ratio(self) -> float | None:
        """How many times the bare handler's rate ours is."""
        bare, ours = self.middle(BARE), self.middle(OURS)
        return ours / bare if bare and ours else None

    @property
    def verdict(self) -> str:
        """Whether the bar is kept, in words."""
        if self.bar is None:
            return ""
        return f">= x{self.bar:g}: {'met' if (self.ratio or 0.0) >= self.bar else 'MISSED'}"


def table(cases: Mapping[str, Case], rounds: int) -> str:
    """Markdown: the rates with their spread, p99, CPU, and the ratio beside its bar."""
    lines = [
        f"| requests/s, median of {rounds} (least-most); p99; server's CPU each | {BARE} | {OURS} | ratio | bar |",
        "|---|---|---|---|---|",
    ]
    for name, case in cases.items():
        ratio = "-" if case.ratio is None else f"x{case.ratio:.2f}"
        lines.append(f"| {name} | {_cell(case, BARE)} | {_cell(case, OURS)} | {ratio} | {case.verdict} |")
    return "\n".join(lines)


def _cell(case: Case, contender: str) -> str:
    found = [each.rate for each in case.rounds[contender]]
    if not found:
        return "-"
    rate, p99, cpu = (case.middle(contender, what) or 0.0 for what in ("rate", "p99", "cpu"))
    return f"{rate:,.0f} ({min(found):,.0f}-{max(found):,.0f}); {p99:.1f} ms; {cpu:,.0f} us"


def write(cases: Mapping[str, Case], about: Mapping[str, Any], how: Mapping[str, Any]) -> Path:
    """Keep it in docs/benchmarks; where."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "api.json"
    content = {
        "machine": dict(about),
        "how": dict(how),
        "cases": {
            name: {
                "rounds": {
                    who: [
                        {"rate": round(r.rate, 1), "p99_ms": round(r.p99, 3), "cpu_us": round(r.cpu, 1)} for r in done
                    ]
                    for who, done in case.rounds.items()
                },
                "ratio": None if case.ratio is None else round(case.ratio, 3),
                "bar": case.verdict,
            }
            for name, case in cases.items()
        },
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def order(contenders: Sequence[str], number: int) -> Sequence[str]:
    """Who goes first, in turn: what comes second finds the machine as the first has left it."""
    return contenders if number % 2 else list(reversed(contenders))
