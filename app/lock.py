"""The lock file of a state folder: whoever holds it is the server, and its text tells where that one listens. Commands
that must be alone with the database hold it too, and say what they do."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

LOCK_NAME = "tutela.lock"
INSTANCE = secrets.token_hex(8)
"""What this process says of itself where it answers, so that nobody else on its port is taken for it."""


@dataclass(frozen=True)
class Holder:
    """Who holds the lock: its process, since when (Unix time), and where it answers, as which `instance`. `doing`: what
    a command is at; nothing for a server."""

    pid: int
    started_at: float
    url: str
    doing: str = ""
    instance: str = ""


class LockTaken(RuntimeError):
    """Another process holds the lock of this state folder."""


def prepare_state_dir(path: Path) -> None:
    """Make the state folder, closed to others. Raises OSError.

    The database's account may keep its right to pass through (0710), which `app.postgres` gives it as root.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_mode & 0o067:
        path.chmod(0o700)


class ServerLock:
    """An flock which the kernel drops with the process, so a killed server never blocks the next."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / LOCK_NAME
        self._fd: int | None = None

    def take(self, url: str, *, doing: str = "") -> None:
        """Become the server of this state folder, or be alone with it for what is said. Raises LockTaken."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + 1.0
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A reader holds it for a moment to see whether anybody does.
                if time.monotonic() > deadline:
                    os.close(fd)
                    raise LockTaken(f"another server or command works on {self.path.parent}") from None
                time.sleep(0.02)
        text = json.dumps(asdict(Holder(os.getpid(), time.time(), url, doing, INSTANCE)))
        os.fchmod(fd, 0o600)
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Stop being the server. Does nothing when the lock is not held."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def holder(state_dir: Path) -> Holder | None:
    """Who holds the lock, or None. Raises PermissionError when the state belongs to somebody else."""
    try:
        fd = os.open(state_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # The text of a taken lock appears a moment after the lock itself.
        for _ in range(50):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found = json.loads(os.pread(fd, 4096, 0))
                more = {name: str(found.get(name, "")) for name in ("doing", "instance")}
                return Holder(int(found["pid"]), float(found["started_at"]), str(found["url"]), **more)
            time.sleep(0.01)
        return None
    finally:
        os.close(fd)
