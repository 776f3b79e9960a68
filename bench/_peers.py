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
    "start 30 on three hosts": Bar(ratio=1.26),
}
"""Of issues 5 and 6 (4.8 s where the raw engines need 3.8 s); what is not named has none."""


@dataclass(slots=True, kw_only=True)
class Case:
    """One case: the seconds of each contender, a figure a round; `cannot`: why a contender has none."""

    bar: Bar | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    cannot: dict[str, str] = field(default_factory=dict)

    def add(self, contender: str, seconds: float) -> None:
        """One more round."""
        self.seconds.setdefault(contender, []).append(seconds)

    def middle(self, contender: str) -> float | None:
        """The median; None where it never came about."""
        found = self.seconds.get(contender)
        return statistics.median(found) if found else None

    @property
    def brief(self) -> bool:
        """Whether it is a matter of milliseconds, for all of them; else seconds are shown."""
        return max((each for found in self.seconds.values() for each in found), default=1.0) < 0.1

    def times(self, contender: str) -> tuple[float, str] | None:
        """How many times the raw engine's median; where that has none, or is nothing, the peer's. None without both."""
        ours = self.middle(contender)
        for base in (RAW, PEER):
            if (middle := self.middle(base)) and ours is not None:
                return ours / middle, base
        return None

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
    found, middle, times = case.seconds.get(contender), case.middle(contender), case.times(contender)
    if not found or middle is None:
        return f"- {case.cannot.get(contender, '')}".rstrip()
    ratio = f", {_ratio(*times)}" if times is not None and times[1] != contender else ""
    shown, least, most = (
        f"{each * 1000:.3g}" if case.brief else f"{each:.2f}" for each in (middle, min(found), max(found))
    )
    return f"{shown}{' ms' if case.brief else ''} ({least}-{most}){ratio}"


def _ratio(times: float, base: str) -> str:
    return f"x{times:.2f}" if base == RAW else f"x{times:.2f} of {base}"


def write(
    file: str, cases: Mapping[str, Case], about: Mapping[str, Any], rounds: int, failed: Sequence[str] = ()
) -> Path:
    """Keep it in docs/benchmarks; where. `failed`: lives that somebody did not live to the end, in words."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{file}.json"
    content = {
        "machine": dict(about),
        "rounds": rounds,
        "cases": {
            name: {
                "seconds": {who: [round(each, 6) for each in found] for who, found in case.seconds.items()},
                "median": {who: round(case.middle(who) or 0.0, 6) for who in case.seconds},
                "bar": case.verdict,
                **({"cannot": case.cannot} if case.cannot else {}),
            }
            for name, case in cases.items()
        },
        **({"failed": list(failed)} if failed else {}),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


COLOURS = ("#9aa0a6", "#2496ed", "#8fc7f5", "#d9480f", "#f4a77d", "#f9d5c2")
WIDTH, LABELS, ROW, GAP = 900, 250, 14, 12
NAMES, NAME_WIDTH = 5, 175
"""Of contenders in a line, above the bars."""


def picture(cases: Mapping[str, Case], contenders: Sequence[str], beside: Path) -> Path:
    """Bars as an SVG file next to the figures: as many times the raw engine's median, else Swarm's."""
    every = [found[0] for case in cases.values() for who in contenders if (found := case.times(who)) is not None]
    most = min(8.0, max(every, default=1.0)) or 1.0
    rows, y = list[str](), 40 + (len(contenders) - 1) // NAMES * (ROW + 2)
    for number, who in enumerate(contenders):
        x, top = 20 + number % NAMES * NAME_WIDTH, 12 + number // NAMES * (ROW + 2)
        rows.append(f'<rect x="{x}" y="{top}" width="10" height="10" fill="{_colour(number)}"/>')
        rows.append(f'<text x="{x + 14}" y="{top + 9}">{escape(who)}</text>')
    for name, case in cases.items():
        rows.append(f'<text x="{LABELS - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for number, who in enumerate(contenders):
            found = case.times(who)
            if found is None:
                continue
            times = found[0]
            width = (WIDTH - LABELS - 150) * min(times, most) / most
            middle = case.middle(who) or 0.0
            rows.append(f'<rect x="{LABELS}" y="{y}" width="{width:.1f}" height="{ROW - 3}" fill="{_colour(number)}"/>')
            shown = f"{middle * 1000:.3g} ms" if case.brief else f"{middle:.2f} s"
            said = f"{_ratio(*found)}, {shown}{' (cut)' if times > most else ''}"
            rows.append(f'<text x="{LABELS + width + 5:.1f}" y="{y + 10}">{said}</text>')
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
