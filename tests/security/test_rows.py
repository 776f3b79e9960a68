"""docs/security/matrix.md is complete and true: every row of the bar, every test that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MATRIX = (ROOT / "docs" / "security" / "matrix.md").read_text(encoding="utf-8")
NAMED = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
CELLS = re.compile(r"^\| (S\d+) \|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)


def test_every_row_is_there_once_and_says_what_holds_it_or_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row: (tests.strip(), missing.strip()) for row, _, tests, missing in CELLS.findall(MATRIX)}
    assert list(rows) == [f"S{number}" for number in range(1, 37)]
    assert len(CELLS.findall(MATRIX)) == 36
    bare = [row for row, (tests, missing) in rows.items() if not NAMED.search(tests)
            and not missing.startswith(("Not done", "Does not apply"))]  # fmt: skip
    assert bare == []
    with capsys.disabled():
        without = [row for row, (tests, _) in rows.items() if not tests]
        print(f"\n36 rows, {len(NAMED.findall(MATRIX))} names of tests, without a test: {', '.join(without) or 'none'}")


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED.findall(MATRIX)}))
def test_every_test_that_is_named_exists(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    wanted = {name for at, name in NAMED.findall(MATRIX) if at == file}
    assert {name for name in wanted if not re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)} == set()
