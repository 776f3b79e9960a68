"""What happened, in order: for people to read, and as a hash to compare two runs of one seed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import structlog

_UUID = re.compile(r"\b([0-9a-f]{4})[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class Violation(AssertionError):
    """A promise was broken."""


class History:
    """Lines of (virtual seconds, who, what)."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._lines: list[tuple[float, str, str]] = []
        self.violations: list[str] = []

    def add(self, who: str, what: str) -> None:
        """One more line."""
        self._lines.append((self._seconds(), who, what))

    def violate(self, promise: str, what: str) -> None:
        """A promise was broken; goes on, so that the history shows what followed."""
        text = f"{promise}: {what}"
        if text not in self.violations:
            self.violations.append(text)
        self.add("VIOLATION", text)

    def end(self) -> None:
        """No line comes any more: it lets go of the world whose time it told."""
        self._seconds = float

    def digest(self) -> str:
        """The same for two runs that were the same to the last line."""
        whole = hashlib.sha256()
        for line in self._lines:
            whole.update(repr(line).encode())
        return whole.hexdigest()

    def lines(self, last: int | None = None) -> Iterator[str]:
        """For people; ids are cut to what tells them apart."""
        for seconds, who, what in self._lines[-last:] if last else self._lines:
            yield f"{seconds:9.3f}  {who:14} {_UUID.sub(lambda match: match[1], what)}"

    def __len__(self) -> int:
        return len(self._lines)


_listening: list[tuple[History, str, Callable[[], str]]] = []


def _capture(_logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """A processor: the product's log lines become lines of the history, and are dropped."""
    if _listening:
        history, directory, who = _listening[-1]
        error = event.pop("exc_info", None)
        fields = " ".join(f"{key}={value}" for key, value in event.items() if key != "event" and value is not None)
        text = f"{event.get('event', '')} {fields}".strip().replace(directory, "")
        if error:
            import sys
            import traceback

            kind, value, trace = sys.exc_info()
            where = traceback.extract_tb(trace)[-1] if trace else None
            place = f" in {where.name} ({where.filename.rpartition('/')[2]}:{where.lineno})" if where else ""
            history.violate("unforeseen", f"{text}: {kind.__name__ if kind else ''}: {value}{place}")
        elif method != "debug":
            history.add(who(), text)
    raise structlog.DropEvent


def listen(history: History, directory: str, who: Callable[[], str]) -> None:
    """From now on the product's log lines go to this history; `who` names the process that logs.

    `directory` is where the seed's files are: it is another one each time, so that it is left out.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[_capture],
            wrapper_class=structlog.make_filtering_bound_logger(20),
            cache_logger_on_first_use=True,
        )
    _listening[:] = [(history, directory, who)]
