"""The seeds of each build. `./tutela simulate` has any number of them."""

from __future__ import annotations

import pytest

from tests.simulation.command import simulate

SEEDS = 400
"""As many as the build has time for; `./tutela simulate --runs 1000 --jobs 2` by hand before a release."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_promise_is_broken() -> None:
    print(simulate("--runs", str(SEEDS), "--jobs", "2"))


def test_a_seed_is_the_same_each_time() -> None:
    """After others in its process and alone: the same history to the last line."""
    both, alone = (simulate("--seed", first, "--digests", "--runs", runs) for first, runs in (("7", "2"), ("8", "1")))
    (wanted,) = (line for line in alone.splitlines() if line.startswith("seed 8: "))
    assert wanted in both.splitlines()
