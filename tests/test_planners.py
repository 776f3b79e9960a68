"""What RELIABILITY T1 and T4 ask of the tests themselves: every branch of the planners, every fact of the engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from app.cli.process import ROOT


@pytest.mark.slow
@pytest.mark.timeout(600)  # seconds on a free machine; beside engines it is starved
def test_every_branch_of_the_planners_is_in_a_case() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app.cli", "coverage"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_every_fact_of_the_engine_has_a_test_or_says_why_not() -> None:
    table = (ROOT / "docs" / "design" / "engine-facts.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (E\d+) \| .* \| (.*) \|$", table, re.MULTILINE))
    assert list(rows) == [f"E{n}" for n in range(1, 36)]
    for fact, cell in rows.items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", cell)
        assert named or cell.startswith("not tried: "), fact
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), f"{fact}: {path}::{name}"
