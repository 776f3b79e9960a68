"""One run: a fleet with work on it and users, faults in turn, and the verdict."""

from __future__ import annotations

import contextlib
import random
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import docker
import requests

from app.postgres import EmbeddedPostgres
from tests.chaos.fault import Fault, Wound
from tests.chaos.faults import FAULTS
from tests.chaos.judge import Judge, Window, files_of, handles, leaks
from tests.chaos.plan import Strike, strikes
from tests.chaos.report import Recovery, Report
from tests.chaos.stage import AWAY, Stage
from tests.chaos.timeline import Timeline
from tests.chaos.users import User
from tests.harness.wait import let_pass, wait_for

MEASURE_EVERY = 4
"""Faults between two measurements of how slow the machine is."""

WARM_UP = 8.0
"""Seconds of users alone, after which the handles of all processes are counted."""

SETTLED = 3.0
"""Seconds of peace before the handles are counted again and the watchers have their last word."""

GIVE_UP = 6.0
"""A stage that is not well after so many times its bound, and a minute, never will be: the run ends."""


class GivenUp(Exception):
    """The stage did not recover."""


@dataclass(slots=True, kw_only=True)
class Run:
    """A run under way."""

    stage: Stage
    timeline: Timeline
    seed: int
    judge: Judge
    recoveries: list[Recovery] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    current: str = "before the first fault"

    def violated(self, *texts: str) -> None:
        """Keep and tell it, with what led there."""
        if not texts:
            return
        for text in texts:
            self.violations.append(f"[{self.current}] {text}")
            self.timeline.say(f"VIOLATION (seed {self.seed}, {self.current}): {text}")
        self.timeline.say("what led there:\n" + "\n".join(f"    {line}" for line in self.timeline.last()))
        self.timeline.say(f"logs: {self.timeline.folder}")

    def strike(self, strike: Strike) -> None:
        """One fault from its injection until all is well. Raises GivenUp."""
        fault, began = FAULTS[strike.name], time.time()
        self.current = f"#{strike.number} {fault.name}"
        self.timeline.note(f"{self.current}: begins")
        wound = Wound(where="not put in")
        try:
            wound = fault.inject(self.stage, random.Random(strike.seed))
            self.timeline.note(f"{self.current}: {wound.where}")
            wound.meanwhile()
            low, high = fault.stays
            let_pass(max(0.0, low + (high - low) * strike.stay - (time.time() - began)))
        except Exception as error:
            self.violated(_told(error))
        self._recover(fault, wound)
        try:
            wound.after()
        except Exception as error:
            self.violated(_told(error))
        self.judge.windows.append(Window(began=began, ended=time.time(), name=fault.name, api_away=fault.api_away))
        for watch in self.stage.watches.values():
            watch.tighten()
        self.violated(*self.judge.now())

    def _recover(self, fault: Fault, wound: Wound) -> None:
        factor, since = self.stage.calibration.factor(starts=fault.starts), time.time()
        try:
            wound.heal()
        except Exception as error:
            self.violated(_told(error))
        healed, trouble = time.time(), ""

        def well() -> bool:
            nonlocal trouble
            try:
                found = self.stage.trouble(healed)
                trouble = found or ("" if wound.well() else "what was hit is not well")
            except (*AWAY, docker.errors.APIError, requests.RequestException, IndexError) as error:
                trouble = repr(error)
            return not trouble

        limit = 60 + GIVE_UP * fault.bound * factor
        try:
            wait_for(well, timeout=limit, what="all to be well", every=0.2)
        except AssertionError:
            self.violated(f"not well {limit:.0f} s after its end: {trouble}")
            raise GivenUp from None
        took = time.time() - since
        recovery = Recovery(name=fault.name, number=fault.number, took=took, bound=fault.bound, factor=factor)
        self.recoveries.append(recovery)
        bound = f"{took:.2f} s of {fault.bound * factor:.1f} s (x {factor:.1f})"
        self.timeline.say(f"{self.current} {wound.where}: well after {bound}")
        if recovery.late:
            self.violated(f"recovered after {took:.2f} s, its bound is {fault.bound:g} s times {factor:.2f}")


def _told(error: Exception) -> str:
    if isinstance(error, AssertionError):
        return str(error)
    return "".join(traceback.format_exception(error)[-4:]).strip()


def run(
    dsn: str,
    *,
    hosts: int,
    seconds: float,
    seed: int,
    timeline: Timeline,
    postgres: EmbeddedPostgres | None = None,
    users: int = 3,
    kinds: Collection[str] = (),
    warm_up: float = WARM_UP,
) -> Report:
    """Faults for so many seconds, each kind once at least; `kinds`: only these. `postgres`: the server of `dsn`, if it
    may be hit too."""
    with _stage(dsn, hosts, postgres, timeline) as stage:
        chosen = [name for name in FAULTS if (not kinds or name in kinds) and FAULTS[name].needs(stage)]
        running = Run(stage=stage, timeline=timeline, seed=seed, judge=Judge(stage=stage))
        people = [User(stage, f"u{number}", f"{seed}/{number}") for number in range(1, users + 1)]
        for user in people:
            user.start()
        try:
            let_pass(warm_up)
            before = handles(stage)
            _strike_all(running, chosen, seconds)
            for user in people:
                user.stop()
            running.current = "the end"
            figures = _end(running, people, before)
        except GivenUp:
            figures = {"the end": "was not judged: the stage did not recover"}
        finally:
            for user in people:
                user.stop()
        return Report(
            seed=seed,
            recoveries=running.recoveries,
            violations=running.violations,
            figures=figures,
            logs=str(timeline.folder),
        )


def _end(running: Run, users: Sequence[User], before: Mapping[str, tuple[int, int]]) -> Mapping[str, str]:
    """Judge what can be judged only now; the figures."""
    stage, judge = running.stage, running.judge
    running.violated(*judge.records(users))
    running.violated(*judge.leftovers())
    running.violated(*judge.actions())
    running.violated(*judge.answers(users))
    let_pass(SETTLED)
    running.violated(*judge.now())
    after = handles(stage)
    found = list(leaks(before, after))
    running.violated(*found)
    for name in {each for each in before if any(f" {each} had" in text for text in found)}:
        running.timeline.say(f"{name} has open: {files_of(stage, name)}")
    counts: Counter[str] = Counter()
    for user in users:
        for (_, outcome), times in user.counts.items():
            counts[outcome] += times
    looks = [(watch.looks, watch.blind) for watch in stage.watches.values()]
    factors = [each.factor for each in running.recoveries]
    return {
        "users' calls": ", ".join(f"{times} {outcome}" for outcome, times in sorted(counts.items()))
        + f"; the slowest took {max((user.slowest for user in users), default=0.0):.1f} s",
        "users' services": str(sum(len(user.beliefs) for user in users)),
        "actions that failed": "; ".join(f"{n} x {text}" for text, n in judge.failed_actions().most_common(8))
        or "none",
        "looks at engines": f"{sum(look for look, _ in looks)}, {sum(blind for _, blind in looks)} in vain",
        "machine slower by": f"{min(factors):.2f} to {max(factors):.2f} (an engine's restart up to"
        f" {max(stage.calibration.engine):.2f}, a process's start up to {max(stage.calibration.start):.2f})",
        "engines that had to be repaired (E32)": str(sum(host.engine.broken_stores for host in stage.hosts)),
        "open files, threads": "; ".join(f"{name} {before[name]} -> {after[name]}" for name in before),
    }


def _strike_all(running: Run, chosen: Sequence[str], seconds: float) -> None:
    end, chance = time.monotonic() + seconds, random.Random(running.seed)
    for strike in strikes(running.seed, chosen):
        if strike.number > len(chosen) and time.monotonic() >= end:
            return
        let_pass(strike.calm)
        if strike.number % MEASURE_EVERY == 1:
            running.stage.calibration.measure(chance.choice(running.stage.hosts))
        running.strike(strike)


@contextlib.contextmanager
def _stage(dsn: str, count: int, postgres: EmbeddedPostgres | None, timeline: Timeline) -> Iterator[Stage]:
    made = Stage(dsn, count, postgres=postgres, say=timeline.note)
    try:
        made.start()
        made.populate()
        yield made
    finally:
        for watch in made.watches.values():
            watch.stop()
        made.keep_logs(timeline.folder)
        made.close()
        timeline.close()
