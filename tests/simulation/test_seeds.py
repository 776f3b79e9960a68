"""A seed is a seed. Those of each build are run by `./tutela test` itself, before everything else (app.cli.dev)."""

from __future__ import annotations

import re

from tests.simulation.command import simulate


def test_a_seed_is_the_same_each_time() -> None:
    """After others in its process, beside others on its server, and without: the same history to the last line."""
    later = simulate("--seed", "7", "--digests", "--runs", "5", "--jobs", "2")
    first = simulate("--seed", "8", "--digests", "--runs", "4")
    wanted = [line for line in first.splitlines() if re.match(r"seed \d+: ", line)]
    assert len(wanted) == 4
    assert set(wanted) <= set(later.splitlines())
