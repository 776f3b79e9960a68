"""`./tutela simulate [--seed N] [--runs N] [--jobs N] [--history]`: exit code 0 when no promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.harness.postgres import TestPostgres
from tests.simulation.server import Backend, copy, serving
from tests.simulation.world import Outcome, simulate

LAST_LINES = 60


def main() -> int:
    """Run seeds one after another in as many processes as are wanted; the first finding of each is printed."""
    parser = argparse.ArgumentParser(prog="tutela simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--history", action="store_true", help="print the whole history of the seed")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed with a finding")
    wanted = parser.parse_args()
    began, found, done, virtual, statements, slowest = time.monotonic(), [], 0, 0.0, 0, 0.0
    with serving() as postgres:
        backend = open_backend(postgres, "s0")
        for seed in range(wanted.seed, wanted.seed + wanted.runs):
            outcome = simulate(seed, backend)
            done, virtual, statements = done + 1, virtual + outcome.seconds, statements + outcome.statements
            slowest = max(slowest, outcome.rest)
            if wanted.history:
                print(*outcome.history.lines(), sep="\n")
            if outcome.violations:
                found.append(seed)
                _show(outcome, whole=wanted.history)
                if not wanted.keep_going:
                    break
        backend.close()
    took = time.monotonic() - began
    print(
        f"{done} seeds from {wanted.seed}: {len(found)} with a broken promise{f' {found}' if found else ''};"
        f" {virtual:.0f} virtual seconds, {statements} statements, {took:.1f} s; slowest to rest {slowest:.1f} s"
    )
    return 1 if found else 0


def open_backend(postgres: TestPostgres, name: str) -> Backend:
    """A database of one's own."""
    asyncio.run(copy(postgres.dsn, name))
    return Backend(postgres.url(name))


def _show(outcome: Outcome, *, whole: bool) -> None:
    if not whole:
        print(*outcome.history.lines(LAST_LINES), sep="\n")
    print(f"seed {outcome.seed} ({outcome.digest[:12]}): ./tutela simulate --seed {outcome.seed} --history")
    for text in outcome.violations:
        print(f"  {text}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
