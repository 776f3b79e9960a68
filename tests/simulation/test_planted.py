"""The simulator finds the bugs that were planted: else it proves nothing."""

from __future__ import annotations

import pytest

from tests.simulation.command import simulate
from tests.simulation.planted import PLANTED


def test_each_planted_bug_has_a_seed_that_finds_it() -> None:
    """Within the 200 that a search tries."""
    assert {name: bug.seed for name, bug in PLANTED.items() if bug.seed is None or not 1 <= bug.seed <= 200} == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_planted_bug_is_found() -> None:
    """Those with a known seed: from it on, and a few after that, since whatever changes may move what a seed does."""
    print(simulate("--planted", "--known", "--runs", "25"))
