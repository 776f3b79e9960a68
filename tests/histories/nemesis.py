"""Kills what the plan says, and brings it back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess
from tests.histories.plan import Fault, Strike


class Nemesis:
    """Over one Postgres and the API processes on it. `say` hears of each fault."""

    def __init__(
        self, postgres: TestPostgres, apis: Sequence[TutelaProcess], seed: int, say: Callable[[str], None]
    ) -> None:
        self._postgres, self._apis, self._say = postgres, apis, say
        self._chance = random.Random(seed)
        self.done: Counter[Fault] = Counter()

    async def strike(self, strike: Strike) -> None:
        """Do it and heal it; returns when all parts run again."""
        match strike.fault:
            case Fault.POSTMASTER:
                os.kill(self._postmaster(), signal.SIGKILL)
                await self._postgres_again(strike.seconds)
            case Fault.BOTH:
                api = self._chance.choice(self._apis)
                api.kill()
                os.kill(self._postmaster(), signal.SIGKILL)
                await self._postgres_again(strike.seconds)
                await asyncio.to_thread(api.start)
            case Fault.BACKEND:
                pid = self._backend()
                if pid is None:
                    return
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                await self._postgres_again(0)
            case Fault.HELD:
                pid = self._backend()
                if pid is None:
                    return
                await _stopped([pid], strike.seconds)
            case Fault.FROZEN:
                postmaster = self._postmaster()
                await _stopped([postmaster, *children(postmaster)], strike.seconds)
            case Fault.API_KILL | Fault.API_TERM:
                api = self._chance.choice(self._apis)
                await asyncio.to_thread(api.kill if strike.fault is Fault.API_KILL else api.stop)
                await asyncio.sleep(strike.seconds)
                await asyncio.to_thread(api.start)
        self.done[strike.fault] += 1
        self._say(f"after {strike.after} operations: {strike.fault} for {strike.seconds:.1f} s")

    def _postmaster(self) -> int:
        return int((self._postgres.server.data / "postmaster.pid").read_text().split("\n", 1)[0])

    def _backend(self) -> int | None:
        """One that serves a connection of ours; one that works, if there is one."""
        found = {
            pid: title for pid, title in _titles(children(self._postmaster())) if title.startswith("postgres: tut")
        }
        working = [pid for pid, title in found.items() if not title.endswith(" idle")]
        pids = sorted(working or found)
        return self._chance.choice(pids) if pids else None

    async def _postgres_again(self, away: float) -> None:
        await asyncio.sleep(away)
        await asyncio.to_thread(self._postgres.server.start)


def children(parent: int) -> list[int]:
    """The processes whose parent it is."""
    out = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                out.append(int(path.parent.name))
    return out


def _titles(pids: Sequence[int]) -> list[tuple[int, str]]:
    out = []
    for pid in pids:
        with contextlib.suppress(OSError):
            out.append((pid, Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\x00 ").decode(errors="replace")))
    return out


async def _stopped(pids: Sequence[int], seconds: float) -> None:
    """SIGSTOP, and SIGCONT that much later. Pids are not used again within seconds: they count up."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
