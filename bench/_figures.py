"""Figures beside their bars: the table, the file, and how each grows from one size to the next."""

from __future__ import annotations

import itertools
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.harness.server import ROOT

AT_MEDIUM, AT_LARGE = "at 30,000", "at 100,000"
FOLDER = ROOT / "docs" / "benchmarks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured. `value` None: it did not come about in time, as `note` says.

    `bar`: at most, or with `at_least` at least so much, at the size that `bar_for` names.
    """

    name: str
    value: float | None
    unit: str
    bar: float | None = None
    at_least: bool = False
    bar_for: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it keeps to its bar; None without one."""
        if self.bar is None:
            return None
        if self.value is None:
            return False
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def percentile(values: Sequence[float], part: float) -> float | None:
    """The value that `part` of them do not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def spread(
    name: str, seconds: Sequence[float], bar: float | None = None, bar_for: str = "", missing: str = ""
) -> list[Figure]:
    """p50 and p99 of times, in milliseconds; the bar is the p99's. `missing`: what has no time, in words."""
    note = f"{len(seconds)} samples" + (f"; {missing}" if missing else "")
    middle, high = (
        None if found is None else found * 1000 for found in (percentile(seconds, 0.5), percentile(seconds, 0.99))
    )
    if missing:
        high = None
    return [
        Figure(name=f"{name}, p50", value=middle, unit="ms", note=note),
        Figure(name=f"{name}, p99", value=high, unit="ms", bar=bar, bar_for=bar_for, note=note),
    ]


def table(figures: Sequence[Figure]) -> str:
    """Lines for people."""
    return "\n".join(_line(each) for each in figures)


def _line(figure: Figure) -> str:
    value = "not in time" if figure.value is None else f"{figure.value:,.4g}"
    bar = ""
    if figure.bar is not None:
        sign, verdict = ">=" if figure.at_least else "<=", "met" if figure.met else "MISSED"
        bar = f"bar {sign} {figure.bar:g}{f' ({figure.bar_for})' if figure.bar_for else ''}: {verdict}"
    return f"{figure.name:58} {value:>12} {figure.unit:8} {bar:44} {figure.note}".rstrip()


def machine() -> dict[str, Any]:
    """What it was measured on, and how busy that was before."""
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "cpu": cpus[0] if cpus else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": int(memory.split()[1]) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": [round(each, 1) for each in os.getloadavg()],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
    }


def write(
    name: str, size: Mapping[str, int], about: Mapping[str, Any], figures: Sequence[Figure], dearest: Mapping[str, Any]
) -> Path:
    """Keep it in docs/benchmarks; where."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"scale-{name}.json"
    content = {
        "size": dict(size),
        "machine": dict(about),
        "figures": [{**asdict(each), "met": each.met} for each in figures],
        "dearest_statements": dict(dearest),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def growth(names: Sequence[str]) -> str:
    """How each figure grew from one of the files to the next, as a ratio."""
    found = [json.loads((FOLDER / f"scale-{name}.json").read_text()) for name in names]
    sizes = [each["size"] for each in found]
    head = "  ".join(
        f"{name}: {size['nodes']} nodes, {size['containers']} containers, {size['services']} services"
        for name, size in zip(names, sizes, strict=True)
    )
    lines = [head]
    values = [{each["name"]: each for each in one["figures"]} for one in found]
    for name, figure in values[0].items():
        row = [one.get(name, {}).get("value") for one in values]
        cells = "".join(f"{'-' if each is None else format(each, ',.4g'):>12}" for each in row)
        ratios = [
            f"x{after / before:.2f}" if before and after is not None else "-"
            for before, after in itertools.pairwise(row)
        ]
        lines.append(f"{name:58}{cells} {figure['unit']:8} {'  '.join(ratios)}")
    return "\n".join(lines)
