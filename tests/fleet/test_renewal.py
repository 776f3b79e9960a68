"""Certificates are renewed for as long as a process lives, whatever fails once."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from agents import credentials
from agents.channel_socket import SocketChannel
from app.fleet import door, joined
from tests.agents.harness import eventually


class Full:
    """What finds the disk full once."""

    def __init__(self) -> None:
        self.tries = 0

    def refresh(self, _context: ssl.SSLContext) -> None:
        """Of the door's certificate."""
        self._once()

    def half_life(self, _folder: Path) -> tuple[datetime, datetime]:
        """Of the node's certificate: far away."""
        self._once()
        return datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) + timedelta(days=2)

    def _once(self) -> None:
        self.tries += 1
        if self.tries == 1:
            raise OSError(28, "No space left on device")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Full:
    monkeypatch.setattr(door, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(joined, "RENEW_AGAIN_SECONDS", 0.01)
    found = Full()
    monkeypatch.setattr(credentials, "half_life", found.half_life)
    return found


async def test_the_doors_certificate(full: Full) -> None:
    made = door.Door.__new__(door.Door)
    made._authority = full  # type: ignore[assignment]
    task = asyncio.create_task(made._refresh(ssl.create_default_context()))
    await eventually(lambda: full.tries > 1, "another try")
    task.cancel()


async def test_a_nodes_certificate(full: Full, tmp_path: Path) -> None:
    task = asyncio.create_task(joined._renew(cast(SocketChannel, None), tmp_path))
    await eventually(lambda: full.tries > 1, "another look")
    assert not task.done()
    task.cancel()
