"""Figures of several contenders side by side: table, file, picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench._figures import FOLDER

OURS, RAW, PEER = "Tutela", "raw engine", "Docker Swarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What Tutela may take: `ratio` times what the raw engine takes, or `more` seconds above it; and not longer than
    the peer where `as_peer`.
    """

    ratio: float | None = None
    more: float | None = None
    as_peer: bool = False


BARS = {
    "start 1": Bar(more=0.15),
    "start 50": Bar(ratio=1.15, as_peer=True),
    "scale 10 to 50": Bar(ratio=1.15),
    "redeploy 10, one at a time": Bar(ratio=1.3),
    "stop and remove 50": Bar(ratio=1.3),
    "crash to running": Bar(ratio=1.3),
    "crash to running, registry black-holed": Bar(ratio=1.3),
}
"""Of issue 5; what is not named has none."""


@dataclass(slots=True, kw_only=True)
class Case:
    """One case: the seconds of each contender, a figure a round."""

    bar: Bar | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, contender: str, seconds: float) -> None:
        """One more round."""
        self.seconds.setdefault(contender, []).append(seconds)

    def middle(self, contender: str) -> float | None:
        """The median; None where it never came about."""
        found = self.seconds.get(contender)
        return statistics.median(found) if found else None

    @property
    def verdict(self) -> str:
        """Whether Tutela keeps to the bar, in words."""
        raw, ours, peer = (self.middle(each) for each in (RAW, OURS, PEER))
        if self.bar is None or raw is None:
            return ""
        if ours is None:
            return "MISSED: it did not come about"
        said, met = [], True
        if self.bar.ratio is not None:
            said.append(f"<= x{self.bar.ratio:g}")
            met &= ours <= self.bar.ratio * raw
        if self.bar.more is not None:
            said.append(f"<= +{self.bar.more:g} s")
            met &= ours <= raw + self.bar.more
        if self.bar.as_peer and peer is not None:
            said.append("<= Swarm")
            met &= ours <= peer
        return f"{', '.join(said)}: {'met' if met else 'MISSED'}"


def table(cases: Mapping[str, Case], contenders: Sequence[str], rounds: int) -> str:
    """Markdown: median (least to most), and how many times the raw engine's."""
    lines = [
        f"| seconds, median of {rounds} (least-most), x raw | {' | '.join(contenders)} | bar |",
        f"|{'---|' * (len(contenders) + 2)}",
    ]
    for name, case in cases.items():
        cells = [_cell(case, each) for each in contenders]
        lines.append(f"| {name} | {' | '.join(cells)} | {case.verdict} |")
    return "\n".join(lines)


def _cell(case: Case, contender: str) -> str:
    found, middle, raw = case.seconds.get(contender), case.middle(contender), case.middle(RAW)
    if not found or middle is None:
        return "-"
    ratio = f", x{middle / raw:.2f}" if raw and contender != RAW else ""
    return f"{middle:.2f} ({min(found):.2f}-{max(found):.2f}){ratio}"


def write(cases: Mapping[str, Case], about: Mapping[str, Any], rounds: int) -> Path:
    """Keep it in docs/benchmarks; where."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "peers.json"
    content = {
        "machine": dict(about),
        "rounds": rounds,
        "cases": {
            name: {
                "seconds": {who: [round(each, 4) for each in found] for who, found in case.seconds.items()},
                "median": {who: round(case.middle(who) or 0.0, 4) for who in case.seconds},
                "bar": case.verdict,
            }
            for name, case in cases.items()
        },
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


COLOURS = ("#9aa0a6", "#2496ed", "#8fc7f5", "#d9480f", "#f4a77d")
WIDTH, LABELS, ROW, GAP = 900, 250, 14, 12


def picture(cases: Mapping[str, Case], contenders: Sequence[str], beside: Path) -> Path:
    """Bars as an SVG file next to the figures: as many times the raw engine's median."""
    shown = {name: case for name, case in cases.items() if case.middle(RAW)}
    most = min(8.0, max((_times(case, who) or 0 for case in shown.values() for who in contenders), default=1.0))
    rows, y = list[str](), 40
    for number, who in enumerate(contenders):
        x = 20 + number * 175
        rows.append(f'<rect x="{x}" y="12" width="10" height="10" fill="{_colour(number)}"/>')
        rows.append(f'<text x="{x + 14}" y="21">{escape(who)}</text>')
    for name, case in shown.items():
        rows.append(f'<text x="{LABELS - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for number, who in enumerate(contenders):
            times = _times(case, who)
            if times is None:
                continue
            width = (WIDTH - LABELS - 150) * min(times, most) / most
            middle = case.middle(who) or 0.0
            rows.append(f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{ROW - 3}" fill="{_colour(number)}"/>')
            more = " (cut)" if times > most else ""
            rows.append(f'<text x="{LABELS + width + 5:.1f}" y="{y + 10}">x{times:.2f}, {middle:.2f} s{more}</text>')
            y += ROW
        y += GAP
    path = beside.with_suffix(".svg")
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(rows)}</svg>\n'
    )
    return path


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _times(case: Case, who: str) -> float | None:
    middle, raw = case.middle(who), case.middle(RAW)
    return middle / raw if middle is not None and raw else None
