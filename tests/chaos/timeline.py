"""What happened when: a file for reading afterwards, and the last of it for a violation."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

KEPT = 40


class Timeline:
    """Lines with the seconds since the run began and the time of day that logs have. Threads may share it."""

    def __init__(self, folder: Path, out: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file = (folder / "timeline.log").open("a", encoding="utf-8")
        self._out = out
        self._began = time.monotonic()
        self._last: deque[str] = deque(maxlen=KEPT)
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """For the file."""
        line = f"{time.monotonic() - self._began:7.1f} s  {time.time():.2f}  {text}"
        with self._lock:
            self._last.append(line)
            if not self._file.closed:
                self._file.write(f"{line}\n")
                self._file.flush()

    def say(self, text: str) -> None:
        """For the file and for who watches."""
        self.note(text)
        self._out(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def last(self) -> Sequence[str]:
        """The latest lines."""
        with self._lock:
            return list(self._last)

    def close(self) -> None:
        """Nothing more is kept."""
        with self._lock:
            self._file.close()
