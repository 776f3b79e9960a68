"""The record that these tests work on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.orchestrator.world import Record


@pytest.fixture
async def record(database_url: str) -> AsyncIterator[Record]:
    """One account on a database of its own."""
    opened = await Record.open(database_url)
    yield opened
    await opened.db.close()
