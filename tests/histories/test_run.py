"""A short history: 400 operations, three kills of the postmaster and three other faults."""

from __future__ import annotations

import pytest

from tests.histories.history import Outcome
from tests.histories.plan import BESIDE, Fault, strikes
from tests.histories.run import run

OPERATIONS, KILLS = 400, 3


def test_a_seed_says_what_is_killed_when() -> None:
    first = strikes(7, 20_000, 20)
    assert first == strikes(7, 20_000, 20)
    assert first != strikes(8, 20_000, 20)
    assert sum(each.fault in {Fault.POSTMASTER, Fault.BOTH} for each in first) == 20
    assert {each.fault for each in first} >= set(BESIDE)
    assert [each.after for each in first] == sorted(each.after for each in first)
    assert first[-1].after < 20_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_answered_is_lost_and_nothing_is_done_twice() -> None:
    report = run(operations=OPERATIONS, kills=KILLS, seed=20141121, say=print)
    print(*report.lines(), sep="\n")
    assert report.problems == []
    assert report.history.acked() >= OPERATIONS
    assert report.faults[Fault.POSTMASTER] + report.faults[Fault.BOTH] == KILLS
    assert any(op.outcome is Outcome.OK and op.sendings > 1 for op in report.history.ops)
    assert report.history.again
