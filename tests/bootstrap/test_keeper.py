"""A start waits for no migration when there is none to be done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.keeper import DatabaseKeeper


async def test_the_newest_schema_needs_no_process_to_migrate_it(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    keeper = DatabaseKeeper(tmp_path, database_url)
    await keeper.run()
    assert await keeper.dsn() == database_url
