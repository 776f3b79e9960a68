"""Half of the seeds of each build; `test_seeds_second` has the others. `./tutela simulate` has any number of them."""

from __future__ import annotations

import pytest

from tests.simulation.command import simulate


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", [1])
def test_no_promise_is_broken(first: int) -> None:
    print(simulate("--seed", str(first), "--runs", "100"))
