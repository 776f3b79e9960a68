"""Numbers that a test process has for itself, among all that run on the machine side by side."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator

_FIRST_PORT, _PORTS, _BLOCKS = 20_000, 200, 60


def claim(kind: str, count: int) -> int:
    """A number below `count` that no other test process has of this kind.

    A claim is a locked file, so it ends with the process.
    """
    for number in range(count):
        file = os.open(f"{tempfile.gettempdir()}/tutela-test-{kind}-{number}", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            continue
        return number
    raise RuntimeError(f"nothing is left to claim of {kind}")


@functools.cache
def _own_ports() -> Iterator[int]:
    first = _FIRST_PORT + _PORTS * claim("ports", _BLOCKS)
    return itertools.cycle(range(first, first + _PORTS))


def free_port() -> int:
    """A port of loopback that nobody listens on, and that nobody else takes before it is used or between two lives.

    Not one that the kernel names: it names it to the next who asks too, and one in 14,000 was both ports of one server.
    They are below those that it gives out by itself.
    """
    for number in itertools.islice(_own_ports(), _PORTS):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", number))
            return number
    raise RuntimeError("none of this process's ports is free")
