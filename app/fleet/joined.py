"""The agent of a host that joined, as a process of its own: no database, no port, only the way to control planes.

Run as `python -m app.serve` with TUTELA_ROLES=agent and without DATABASE_URL, or by `./tutela agent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agents import credentials
from agents.agent import Agent
from agents.channel_socket import SocketChannel
from agents.credentials import Membership
from agents.dialback import DialBack
from agents.ledger import LedgerLocked
from agents.runtime.docker import DockerRuntime
from domain.errors import DomainError
from domain.policy import Allowance

log = structlog.get_logger("agent")
RENEW_AGAIN_SECONDS = 600.0
MOST_SLEEP = 24 * 3600.0
HANG_UP_SECONDS = 6.0


class NotJoined(RuntimeError):
    """There is nothing to run here; the text says what to do."""


def directory(state_dir: Path) -> Path:
    """Where the agent of this host keeps its things."""
    return state_dir / "agent"


def member(state_dir: Path) -> Membership:
    """The node that this host is. Raises NotJoined."""
    try:
        found = credentials.load(directory(state_dir))
    except (ValueError, OSError) as error:
        raise NotJoined(str(error)) from error
    if found is None:
        raise NotJoined("this host has not joined an installation: ./tutela agent join URL TOKEN")
    return found


async def run(state_dir: Path, docker_host: str, lends: Allowance, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `lends` is what containers may have of this host. Raises NotJoined, LedgerLocked."""
    membership, folder = member(state_dir), directory(state_dir)
    if credentials.expired(folder):
        log.error("this node's certificate has expired: leave and join again; containers are kept meanwhile")
    channel = SocketChannel(folder, membership)
    agent = Agent(name=membership.name, state_dir=folder, runtime=DockerRuntime(docker_host, lends), channel=channel)
    dialback = DialBack(agent.streams, channel.dial)
    channel.asked = dialback.asked
    renewing = asyncio.create_task(_renew(channel, folder), name="certificate")
    hung_up = asyncio.Event()
    hanging_up = asyncio.create_task(_hang_up(dialback, stop, hung_up), name="hang up")
    try:
        await agent.run(hung_up)
    finally:
        for task in (renewing, hanging_up):
            task.cancel()
        await asyncio.gather(renewing, hanging_up, return_exceptions=True)
        await dialback.close()
        await channel.close()


async def _hang_up(dialback: DialBack, stop: asyncio.Event, hung_up: asyncio.Event) -> None:
    """Streams end before the agent does: commands are ended with the engine's help."""
    await stop.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_UP_SECONDS):
            await dialback.close()
    hung_up.set()


async def _renew(channel: SocketChannel, folder: Path) -> None:
    """A new certificate when half of the old one's time is over, later by chance, so that not all ask at once."""
    end = datetime.max.replace(tzinfo=UTC)
    while True:
        try:
            half, end = await asyncio.to_thread(credentials.half_life, folder)
            due = half + (end - half) * random.uniform(0.0, 0.2)  # noqa: S311 - jitter
            wait = (due - datetime.now(UTC)).total_seconds()
            if wait > 0:
                await asyncio.sleep(min(wait, MOST_SLEEP))
                continue
            request = await asyncio.to_thread(credentials.request, folder)
            async with asyncio.timeout(30):
                certificate = await channel.renew(request)
            await asyncio.to_thread(credentials.store_certificate, folder, certificate)
            log.info("certificate renewed")
        except (OSError, ValueError, TimeoutError, DomainError) as error:
            log.warning("certificate not renewed", reason=str(error), valid_until=end.isoformat())
            await asyncio.sleep(RENEW_AGAIN_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


__all__ = ["LedgerLocked", "NotJoined", "directory", "member", "run"]
