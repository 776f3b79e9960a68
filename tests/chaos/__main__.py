"""`./tutela chaos [--minutes M] [--seed N] [--hosts H]`: exit code 0 when every promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.run import run
from tests.chaos.timeline import Timeline
from tests.harness.postgres import TestPostgres


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Three engines, a Postgres with fsync on, two control planes, joined agents, users; the table."""
    parser = argparse.ArgumentParser(prog="tutela chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--users", type=int, default=3)
    parser.add_argument("--fault", action="append", default=[], choices=sorted(FAULTS), help="only this; repeatable")
    parser.add_argument("--logs", type=Path, help="a folder for the timeline and the logs of all processes")
    wanted = parser.parse_args()
    folder = wanted.logs or Path(tempfile.mkdtemp(prefix="tutela-chaos-"))
    print(f"seed {wanted.seed}, {wanted.minutes:g} minutes, {wanted.hosts} hosts; logs: {folder}", flush=True)
    # Whoever ends the run early still has everything taken away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    postgres, timeline = TestPostgres(options={}), Timeline(folder, _say)
    try:
        asyncio.run(postgres.make_template())
        report = run(
            asyncio.run(postgres.fresh()),
            hosts=wanted.hosts,
            seconds=wanted.minutes * 60,
            seed=wanted.seed,
            timeline=timeline,
            postgres=postgres.server,
            users=wanted.users,
            kinds=wanted.fault,
        )
    finally:
        postgres.close()
    print(*report.lines(), sep="\n")
    (folder / "report.txt").write_text("\n".join(report.lines()) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
