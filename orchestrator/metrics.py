"""Figures that a process keeps of itself, and their text form for Prometheus (text format 0.0.4, by hand: decision 14).

Families are declared once, below. Label values are few by construction: templates of routes, codes, outcomes; never
a path, a name of a user's or an id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _line(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}"


def gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], labels: Sequence[str] = ()) -> list[str]:
    """The lines of figures that were looked up just now, by the values of their labels."""
    head = [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    return head + [_line(name, zip(labels, key, strict=True), value) for key, value in sorted(values.items())]


class Counter:
    """A figure that only grows, for each combination of its labels' values."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self._text, self._labels = name, text, labels
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *values: str, n: float = 1.0) -> None:
        """Count `n` more; `values` are those of the labels, in their order."""
        self._values[values] = self._values.get(values, 0.0) + n

    def lines(self) -> list[str]:
        """Its text form."""
        head = [f"# HELP {self.name} {self._text}", f"# TYPE {self.name} counter"]
        return head + [
            _line(self.name, zip(self._labels, key, strict=True), value) for key, value in sorted(self._values.items())
        ]


class Histogram:
    """How long something took, in seconds, by buckets."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name, self._text, self._labels = name, text, labels
        self._values: dict[tuple[str, ...], tuple[list[int], float]] = {}

    def observe(self, seconds: float, *values: str) -> None:
        """It took so long once more."""
        counts, total = self._values.get(values) or ([0] * (len(SECONDS) + 1), 0.0)
        counts[bisect_left(SECONDS, seconds)] += 1
        self._values[values] = (counts, total + seconds)

    def lines(self) -> list[str]:
        """Its text form: the buckets are cumulative."""
        out = [f"# HELP {self.name} {self._text}", f"# TYPE {self.name} histogram"]
        for key, (counts, total) in sorted(self._values.items()):
            labels = list(zip(self._labels, key, strict=True))
            below = 0
            for bound, count in zip((*(f"{each:g}" for each in SECONDS), "+Inf"), counts, strict=True):
                below += count
                out.append(_line(f"{self.name}_bucket", [*labels, ("le", bound)], below))
            out += [_line(f"{self.name}_sum", labels, total), _line(f"{self.name}_count", labels, below)]
        return out


REQUESTS = Counter("tutela_http_requests_total", "Answers by route and code.", "method", "route", "code")
REQUEST_SECONDS = Histogram("tutela_http_request_seconds", "From a request to its answer.", "method", "route")
FAILED_LOGINS = Counter("tutela_failed_logins_total", "Requests with wrong credentials.")
AUDIT_MISSING = Counter("tutela_audit_rows_missing_total", "Refusals whose row could not be written.")
EVENTS = Counter("tutela_events_told_total", "Events read for those who listen in this process.")
PASSES = Counter("tutela_passes_total", "Passes of the reconciler in this process.", "outcome")
PASS_SECONDS = Histogram("tutela_pass_seconds", "How long a pass takes, its transaction included.")
BEATS = Counter("tutela_beats_total", "Beats of agents that were put on record.")
REPORTS = Counter("tutela_reports_total", "Reports of agents that were put on record.")
FAMILIES: tuple[Counter | Histogram, ...] = (
    REQUESTS, REQUEST_SECONDS, FAILED_LOGINS, AUDIT_MISSING, EVENTS, PASSES, PASS_SECONDS, BEATS, REPORTS,
)  # fmt: skip
