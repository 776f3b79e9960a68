"""`./tutela simulate [--seed N] [--runs N] [--jobs N]`: exit code 0 when no promise was broken.

`--history` prints all that happened in the seed. `--planted` searches for each of the planted bugs instead, from the
first seed on, and fails for one that is not found; with a name, for that one only.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import signal
import sys
import time

from tests.simulation.planted import PLANTED
from tests.simulation.runs import Result, Runner, one
from tests.simulation.server import serving


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="tutela simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds; of planted bugs: how many at most")
    parser.add_argument("--seconds", type=float, help="begin none after that time")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--history", action="store_true", help="print the whole history of the one seed")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed with a finding")
    parser.add_argument("--planted", nargs="?", const="", metavar="NAME", help=f"one of: {', '.join(PLANTED)}")
    parser.add_argument("--known", action="store_true", help="search for a planted bug from its own seed on")
    parser.add_argument("--digests", action="store_true", help="print what tells the history of each seed apart")
    wanted = parser.parse_args()
    seeds = range(wanted.seed, wanted.seed + wanted.runs)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server and the processes end with it
    with serving() as postgres, Runner(postgres, 1 if wanted.history else wanted.jobs) as runner:
        if wanted.history:
            return _whole(wanted.seed, wanted.planted or None)
        if wanted.planted is not None:
            names = [wanted.planted] if wanted.planted else list(PLANTED)
            return _planted(runner, names, seeds, known=wanted.known)
        return _all(runner, seeds, wanted.seconds, keep_going=wanted.keep_going, digests=wanted.digests)


def _whole(seed: int, bug: str | None) -> int:
    result = one(seed, bug, None)
    _show(result)
    return 1 if result.violations else 0


def _all(runner: Runner, seeds: range, seconds: float | None, *, keep_going: bool, digests: bool) -> int:
    began, found, results = time.monotonic(), list[int](), list[Result]()
    for result in runner.seeds(seeds):
        results.append(result)
        if digests:
            print(f"seed {result.seed}: {result.digest}")
        if result.violations:
            found.append(result.seed)
            _show(result)
            if not keep_going:
                break
        if seconds is not None and time.monotonic() - began > seconds:
            break
    took = time.monotonic() - began
    results.sort(key=lambda each: each.seed)
    rests = sorted(each.rest for each in results)
    print(
        f"{len(results)} seeds from {seeds.start}: {len(found)} with a broken promise{f' {found}' if found else ''};"
        f" {sum(each.seconds for each in results):.0f} virtual seconds,"
        f" {sum(each.statements for each in results)} statements, {took:.1f} s ({took / len(results):.2f} s a seed);"
        f" at rest after p50 {rests[len(rests) // 2]:.1f} s, max {rests[-1]:.1f} s;"
        f" digest {hashlib.sha256(''.join(each.digest for each in results).encode()).hexdigest()[:16]}"
    )
    return 1 if found else 0


def _planted(runner: Runner, names: list[str], seeds: range, *, known: bool) -> int:
    found = missed = 0
    for name in names:
        began = time.monotonic()
        first = PLANTED[name].seed
        if known and first is None:
            continue
        tried = range(first, first + len(seeds)) if known and first is not None else seeds
        result = _search(runner, name, tried)
        missed += result is None
        if result is None:
            print(f"NOT FOUND in {len(seeds)} seeds: {name}", flush=True)
        else:
            took = time.monotonic() - began
            print(f"{name}: seed {result.seed} ({took:.1f} s): {result.violations[0]}", flush=True)
        found += result is not None
    print(f"{found} planted bugs found, {missed} not")
    return 1 if missed else 0


def _search(runner: Runner, bug: str, seeds: range) -> Result | None:
    """The first seed in which a promise is broken with the bug and kept without it: else it says nothing of the bug."""
    while seeds:
        with contextlib.closing(runner.seeds(seeds, bug)) as results:
            result = next((each for each in results if each.violations), None)
        if result is None or not next(runner.seeds([result.seed], bug, planted=False)).violations:
            return result
        seeds = range(result.seed + 1, seeds.stop)
    return None


def _show(result: Result) -> None:
    print(*result.lines, sep="\n")
    print(f"seed {result.seed} ({result.digest[:12]}): ./tutela simulate --seed {result.seed} --history")
    for text in result.violations:
        print(f"  {text}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
