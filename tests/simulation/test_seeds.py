"""The seeds of each build. `./tutela simulate` has any number of them."""

from __future__ import annotations

import re

import pytest

from tests.simulation.command import simulate

SEEDS = 1000
"""As many as the build has time for; `./tutela simulate --runs 1000 --jobs 2` by hand before a release."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_promise_is_broken() -> None:
    print(simulate("--runs", str(SEEDS), "--jobs", "2"))


def test_a_seed_is_the_same_each_time() -> None:
    """After others in its process, beside others on its server, and without: the same history to the last line."""
    later = simulate("--seed", "7", "--digests", "--runs", "5", "--jobs", "2")
    first = simulate("--seed", "8", "--digests", "--runs", "4")
    wanted = [line for line in first.splitlines() if re.match(r"seed \d+: ", line)]
    assert len(wanted) == 4
    assert set(wanted) <= set(later.splitlines())
