"""The bar of RELIABILITY T1 that the suite itself holds: every branch of the pure planners is in a case."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.cli.process import ROOT


@pytest.mark.slow
def test_every_branch_of_the_planners_is_in_a_case() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app.cli", "coverage"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
