"""A short run of `./tutela chaos` on one host, and the pure part of it."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.plan import kills
from tests.chaos.run import run

PARTS = ["control plane", "agent h1", "dockerd h1", "container h1"]


def test_a_seed_says_what_is_killed_when() -> None:
    first = list(islice(kills(7, PARTS), 12))
    assert first == list(islice(kills(7, PARTS), 12))
    assert first != list(islice(kills(8, PARTS), 12))
    for begin in range(0, 12, 4):
        assert {each.part for each in first[begin : begin + 4]} == set(PARTS)


@pytest.mark.engine
@pytest.mark.timeout(240)
def test_nothing_notices_when_everything_is_killed_in_turn(database_url: str) -> None:
    report = run(database_url, hosts=1, seconds=0, seed=7, say=print)
    print(*report.lines(), sep="\n")
    assert not report.faults
    assert report.recoveries.keys() == {"control plane", "agent", "dockerd", "container"}
