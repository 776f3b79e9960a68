"""Postgres: killed, robbed of a backend, frozen."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from app.postgres import EmbeddedPostgres
from tests.chaos.fault import Broken, Fault, Wound
from tests.chaos.stage import AWAY, Stage, freeze, thaw

ANSWERED = 5.0
"""Seconds within which a question is answered while the database hangs (F23)."""


def _has(stage: Stage) -> bool:
    return stage.postgres is not None


def _server(stage: Stage) -> EmbeddedPostgres:
    assert stage.postgres is not None
    return stage.postgres


def _postmaster(stage: Stage) -> int:
    return int((_server(stage).data / "postmaster.pid").read_text().split("\n", 1)[0])


def _backends(postmaster: int) -> list[int]:
    """The processes that serve connections."""
    found = []
    for pid in map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"postgres: tutela"):
            found.append(pid)
    return found


def _answers_in_time(stage: Stage) -> None:
    for plane in stage.planes:
        began = time.monotonic()
        try:
            status = plane.api.get("/api/v1/service/").status
        except AWAY as error:
            raise Broken(f"F23: the API did not answer while its database was away: {error!r}") from error
        took, limit = time.monotonic() - began, ANSWERED * stage.calibration.factor() + 1
        if status not in {200, 503} or took > limit:
            raise Broken(f"F23: with its database away the API said {status} after {took:.1f} s, bound {limit:.1f} s")


def _kill(stage: Stage, chance: random.Random) -> Wound:
    os.kill(_postmaster(stage), signal.SIGKILL)
    return Wound(where="the postmaster", meanwhile=lambda: _answers_in_time(stage), heal=lambda: _start(stage))


def _start(stage: Stage) -> None:
    _server(stage).start()


def _kill_backend(stage: Stage, chance: random.Random) -> Wound:
    backends = _backends(_postmaster(stage))
    os.kill(chance.choice(backends), signal.SIGKILL)
    return Wound(where=f"one of {len(backends)}")


def _freeze(stage: Stage, chance: random.Random) -> Wound:
    postmaster = _postmaster(stage)
    pids = [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]
    freeze(pids)
    return Wound(where="all of it", meanwhile=lambda: _answers_in_time(stage), heal=lambda: thaw(pids))


def _freeze_backend(stage: Stage, chance: random.Random) -> Wound:
    pid = chance.choice(_backends(_postmaster(stage)))
    freeze([pid])
    return Wound(where="one of them", heal=lambda: thaw([pid]))


FAULTS = (
    Fault(name="Postgres killed", number="F23", bound=5, inject=_kill, stays=(0.1, 3.0), api_away=True, needs=_has),
    Fault(name="backend killed", number="F24", bound=3, inject=_kill_backend, api_away=True, needs=_has),
    Fault(name="Postgres SIGSTOP", number="F25", bound=10, inject=_freeze, stays=(1.0, 8.0), api_away=True, needs=_has),
    Fault(
        name="backend SIGSTOP", number="F25", bound=10, inject=_freeze_backend, stays=(1.0, 8.0), api_away=True,
        needs=_has,
    ),
)  # fmt: skip
