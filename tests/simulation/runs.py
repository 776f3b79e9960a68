"""Many seeds, in several processes: each has a database of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import multiprocessing
import os
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

from tests.harness.postgres import TestPostgres
from tests.simulation.knobs import Leaning
from tests.simulation.planted import PLANTED
from tests.simulation.server import Backend, copy
from tests.simulation.world import simulate

LAST_LINES = 40
AHEAD = 2
"""Seeds that a process is given at once, so that it need not wait for the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is kept of a seed: the history only where a promise was broken, or it is asked for."""

    seed: int
    violations: tuple[str, ...]
    digest: str
    rest: float
    seconds: float
    statements: int
    lines: tuple[str, ...] = ()


_backend: Backend | None = None


def _open(url: str, core: int) -> None:
    """`core`: the one that this process and its server's share. They work in turn, and to wake a sleeping core takes
    longer than a statement."""
    global _backend
    _backend = Backend(url)
    for pid in (0, *_backend.pids()):
        with contextlib.suppress(PermissionError):
            os.sched_setaffinity(pid, {core})
    gc.collect()
    gc.freeze()  # what lives for ever is not looked at after each seed


def one(seed: int, bug: str | None = None, lines: int | None = LAST_LINES, *, planted: bool = True) -> Result:
    """Live through a seed in this process, with a bug in the product or without; or in the world that the bug's seeds
    have, and not `planted`."""
    assert _backend is not None
    with PLANTED[bug]() if bug and planted else contextlib.nullcontext():
        outcome = simulate(seed, _backend, PLANTED[bug].leaning if bug else Leaning())
    kept = outcome.history.lines(lines) if outcome.violations or lines is None else ()
    return Result(
        seed=seed,
        violations=outcome.violations,
        digest=outcome.digest,
        rest=outcome.rest,
        seconds=outcome.seconds,
        statements=outcome.statements,
        lines=tuple(kept),
    )


class Runner:
    """Runs seeds on a server. Use it as a context."""

    def __init__(self, postgres: TestPostgres, jobs: int = 1) -> None:
        self._urls = []
        for number in range(jobs):
            asyncio.run(copy(postgres.dsn, f"s{number}"))
            self._urls.append(postgres.url(f"s{number}"))
        self._pools: list[ProcessPoolExecutor] = []

    def __enter__(self) -> Runner:
        cores = sorted(os.sched_getaffinity(0))
        if len(self._urls) == 1:
            _open(self._urls[0], cores[-1])
        else:
            spawn = multiprocessing.get_context("spawn")
            for number, url in enumerate(self._urls):
                core = cores[number % len(cores)]
                self._pools.append(ProcessPoolExecutor(1, spawn, _open, (url, core)))
        return self

    def __exit__(self, *_error: object) -> None:
        if _backend is not None:
            _backend.close()
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def seeds(
        self, seeds: Sequence[int], bug: str | None = None, *, planted: bool = True
    ) -> Generator[Result, None, None]:
        """The results as they come; in the order of the seeds with one process."""
        each_one = functools.partial(one, bug=bug, planted=planted)
        if not self._pools:
            yield from map(each_one, seeds)
            return
        left, running = iter(seeds), dict[Future[Result], ProcessPoolExecutor]()
        for pool in self._pools:
            for seed in itertools.islice(left, AHEAD):
                running[pool.submit(each_one, seed)] = pool
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda each: each.result().seed):
                pool = running.pop(future)
                for seed in itertools.islice(left, 1):
                    running[pool.submit(each_one, seed)] = pool
                yield future.result()
