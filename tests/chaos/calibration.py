"""How much slower the machine is than the quiet box that the bounds are for (RELIABILITY 3): measured, never set."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field

import docker.errors

from tests.harness.hosts import RAW_RESTART, Host
from tests.harness.wait import BESIDE, wait_for

KEPT = 3
"""Measurements whose median counts: load comes and goes."""

ENGINE_BACK = 60.0


@dataclass(slots=True, kw_only=True)
class Calibration:
    """Two measurements, made again and again.

    `engine`: the seconds that an engine alone takes to restart a container, by those on the quiet box. `start`: the
    seconds that a Python process takes to start and load its libraries, by the CPU time that it got: 1 on a machine
    that has nothing else to do.
    """

    engine: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)

    def measure(self, host: Host) -> None:
        """Once more, on that host; as soon as its engine takes calls, after what was done to it."""
        seconds = wait_for(lambda: _restart(host), timeout=ENGINE_BACK, what=f"{host.name}'s engine", every=0.5)
        self.engine.append(seconds / RAW_RESTART)
        self.start.append(_start())

    def factor(self, *, starts: bool = False) -> float:
        """What bounds are multiplied by; never below 1. `starts`: where processes of Tutela's are started.

        Beside another worker's tests, whose load comes and goes between the measurement and what it is for, a bound
        only catches what is far off (`Hosts.slowness`).
        """
        found = max(1.0, _median(self.engine[-KEPT:]))
        return BESIDE * (max(found, _median(self.start[-KEPT:])) if starts else found)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def _restart(host: Host) -> float | None:
    """None: refused. dockerd reaches a new containerd only after a pause, for which the old one's absence counts."""
    try:
        return host.raw_restart()
    except docker.errors.APIError:
        return None


def _start() -> float:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", "import asyncpg, fastapi, pydantic, websockets"])
    # Not `wait`: the CPU time is wanted of this process alone.
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, "a Python process does not start"
    return (time.monotonic() - began) / (used.ru_utime + used.ru_stime)
