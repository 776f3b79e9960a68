"""A process tells its supervisor that it is alive, and one that hangs does not (F8)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.watchdog import ALIVE, READY, signs_of_life
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    """Where the signs go to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(10)
        yield made


def heard(supervisor: socket.socket) -> bytes:
    return supervisor.recv(100)


@pytest.mark.parametrize("abstract", [False, True])
async def test_it_is_told_again_and_again(tmp_path: Path, abstract: bool) -> None:
    address = f"@tutela-{os.getpid()}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(address.replace("@", "\0"))
        supervisor.settimeout(10)
        asked = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())}
        telling = asyncio.create_task(signs_of_life(asked))
        said = [await asyncio.to_thread(heard, supervisor) for _ in range(4)]
        telling.cancel()
    assert said == [READY, ALIVE, ALIVE, ALIVE]


@pytest.mark.parametrize(
    "asked", [{}, {"WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}], ids=["no watchdog", "another process's"]
)
async def test_what_nobody_asks_for_is_not_told(
    tmp_path: Path, supervisor: socket.socket, asked: dict[str, str]
) -> None:
    await signs_of_life(asked)  # nobody: it ends
    await signs_of_life(asked | {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert heard(supervisor) == READY
    supervisor.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard(supervisor)


async def test_a_supervisor_that_is_away_ends_nothing(tmp_path: Path) -> None:
    telling = asyncio.create_task(signs_of_life({"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "9000"}))
    await asyncio.sleep(0.02)
    assert not telling.done()
    telling.cancel()


async def test_a_server_that_hangs_says_nothing(
    tmp_path: Path, supervisor: socket.socket, postgres: TestPostgres
) -> None:
    asked = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000", "TUTELA_ROLES": "api,orchestrator"}
    server = TutelaProcess(docker_host="", dsn=await postgres.fresh(), env=asked)
    try:
        server.start()
        assert heard(supervisor) == READY
        assert heard(supervisor) == ALIVE
        os.kill(server.pid, signal.SIGSTOP)
        supervisor.setblocking(False)
        began = time.monotonic()
        while time.monotonic() - began < 1.0:  # what was said before
            try:
                heard(supervisor)
            except BlockingIOError:
                await asyncio.sleep(0.05)
        with pytest.raises(BlockingIOError):
            heard(supervisor)
        os.kill(server.pid, signal.SIGCONT)
        supervisor.setblocking(True)
        supervisor.settimeout(10)
        wait_for(lambda: heard(supervisor) == ALIVE or None, timeout=10, what="it to go on")
        assert server.stop() == 0
    finally:
        server.close()
