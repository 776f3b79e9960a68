"""`./tutela histories [--operations N] [--kills K] [--seed S]`: exit code 0 when nothing was lost or doubled."""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.histories.run import run


def main() -> int:
    """Print what is killed, then the figures."""
    parser = argparse.ArgumentParser(prog="tutela histories", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    wanted, began = parser.parse_args(), time.monotonic()
    print(f"seed {wanted.seed}, {wanted.operations} operations, {wanted.kills} kills of the postmaster", flush=True)

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    report = run(operations=wanted.operations, kills=wanted.kills, seed=wanted.seed, say=say)
    print(*report.lines(), sep="\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
