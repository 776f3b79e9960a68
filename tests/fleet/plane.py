"""A control plane's side in the test's process: the real door over TLS, a real Postgres, no engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agents import credentials, dial, enrol
from agents.channel_socket import SocketChannel
from agents.frames import Join
from app.fleet import dialbacks
from app.fleet.authority import Authority, open_authority
from app.fleet.calls import ControlPlane
from app.fleet.door import Door
from app.fleet.presence import keep
from app.fleet.tokens import secret_hash
from app.secretbox import SecretBox
from app.settings import Settings
from domain.assignment import EngineInfo
from orchestrator.listener import Wakeups, listen
from orchestrator.purges import purge
from orchestrator.store import accounts, fleet
from orchestrator.store.db import Database
from orchestrator.sweeps import sweep
from tests.harness.server import free_port

ENGINE = EngineInfo(engine_id="E", version="20.10", storage_driver="overlay2", cpus=2, memory=4096)


def engine(name: str) -> EngineInfo:
    """An engine of its own for each name."""
    return EngineInfo(
        engine_id="E", version="20.10", storage_driver="overlay2", cpus=2, memory=4096, place=f"{name}:/var/lib/docker"
    )


@dataclass
class Plane:
    """One control plane."""

    db: Database
    shared: ControlPlane
    authority: Authority
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"wss://127.0.0.1:{self.port}"

    async def token(self, *, uses: int = 1, seconds: int = 60) -> str:
        """A join token."""
        secret = (await self._count()).to_bytes(16, "big").hex()
        async with self.db.transaction() as conn:
            admin = await accounts.admin(conn)
            assert admin is not None
            await fleet.add_token(conn, secret_hash(secret), admin.id, uses, seconds)
        return f"TUTELA-1-{self.authority.digest}-{secret}"

    async def _count(self) -> int:
        async with self.db.read() as conn:
            return int(await conn.fetchval("SELECT count(*) + 1 FROM join_tokens"))

    async def join(self, name: str = "n1", token: str | None = None, folder: Path | None = None) -> SocketChannel:
        """Have a host join; its channel, not yet connected."""
        directory = folder or self.folder / name
        word = enrol.read_token(token or await self.token())
        trusted = await enrol.authority(self.url, word)
        request = credentials.request(directory)
        asked = Join(secret=word.secret, name=name, request=request, engine=engine(name))
        found = await enrol.join(self.url, word, trusted, asked)
        kept = credentials.membership(found, (self.url,), None)
        credentials.store(directory, kept, found.certificate)
        return SocketChannel(directory, kept)


@contextlib.asynccontextmanager
async def plane(dsn: str, folder: Path, *, secret: str | None = None) -> AsyncIterator[Plane]:
    """A control plane at work, with its sweeps; a machine that pauses in the middle of a dial is waited for."""
    with pytest.MonkeyPatch.context() as patience:
        patience.setattr(dial, "CONNECT_SECONDS", 30.0)
        patience.setattr(dial, "HANDSHAKE_SECONDS", 30.0)
        patience.setattr(dialbacks, "DIAL_SECONDS", 30.0)
        async with _plane(dsn, folder, secret) as made:
            yield made


@contextlib.asynccontextmanager
async def _plane(dsn: str, folder: Path, secret: str | None) -> AsyncIterator[Plane]:
    db = await Database.open(dsn, size=6)
    secrets = SecretBox.open(folder / "plane", secret)
    async with db.transaction() as conn:
        await accounts.ensure_admin(conn, "admin", "key")
    loop = asyncio.get_running_loop()
    database: asyncio.Future[Database] = loop.create_future()
    database.set_result(db)
    shared = ControlPlane(database, Wakeups(), secrets)
    authority = await open_authority(db, secrets)
    settings = Settings(agent_port=free_port(), state_dir=folder / "plane")
    made = Plane(db, shared, authority, settings.agent_port, folder)
    tasks = [
        asyncio.create_task(work)
        for work in (
            listen(dsn, shared.wakeups),
            shared.beats.run(),
            shared.polls.run(),
            shared.reports.run(),
            shared.news.run(),
            shared.full_sets.run(),
            shared.dialbacks.relay(db, shared.wakeups.streams),
            Door(settings, db, shared, authority).run(),
            keep(shared, db, settings.agents_door),
            sweep(db),
            purge(db),
        )
    ]
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", made.port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.wait(tasks, timeout=0.02)
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await db.close()
