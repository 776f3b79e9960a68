"""`./tutela chaos [--minutes M] [--seed N] [--hosts H]`: exit code 0 when nothing noticed."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from tests.chaos.run import run
from tests.harness.postgres import TestPostgres


def main() -> int:
    """Three engines, a Postgres with fsync on, a control plane, joined agents; print what happens and the table."""
    parser = argparse.ArgumentParser(prog="tutela chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--hosts", type=int, default=3)
    wanted = parser.parse_args()
    postgres, began = TestPostgres(options={}), time.monotonic()
    print(f"seed {wanted.seed}, {wanted.minutes:g} minutes, {wanted.hosts} hosts", flush=True)

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    try:
        asyncio.run(postgres.make_template())
        dsn = asyncio.run(postgres.fresh())
        report = run(dsn, hosts=wanted.hosts, seconds=wanted.minutes * 60, seed=wanted.seed, say=say)
    finally:
        postgres.close()
    print(*report.lines(), sep="\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
