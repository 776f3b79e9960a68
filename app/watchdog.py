"""Signs of life to a supervisor (`sd_notify`): a process that hangs is ended by it and started again.

An agent that hangs is worse than one that ended: its engine waits for who does not read its events (E26, F8).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping

READY, ALIVE = b"READY=1", b"WATCHDOG=1"
SHARE = 3
"""So many signs in the time after which one is missed."""


async def signs_of_life(environment: Mapping[str, str] = os.environ) -> None:
    """Tell the supervisor that this process has begun, and until cancelled that its loop turns.

    Returns at once when nobody asks for it, or not of this process.
    """
    address, wanted = environment.get("NOTIFY_SOCKET", ""), environment.get("WATCHDOG_USEC", "")
    if not address:
        return
    where = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as told:
        _tell(told, where, READY)
        if not wanted.isdigit() or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return
        while True:
            _tell(told, where, ALIVE)
            await asyncio.sleep(int(wanted) / 1_000_000 / SHARE)


def _tell(told: socket.socket, where: str, what: bytes) -> None:
    with contextlib.suppress(OSError):  # it is being restarted, or has not read the last one yet
        told.sendto(what, where)
