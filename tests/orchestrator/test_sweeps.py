"""One unforeseen error ends neither the sweeps nor the listener."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from domain.node import NodeState
from orchestrator import listener, sweeps
from orchestrator.listener import Wakeups, listen
from orchestrator.store import nodes
from tests.orchestrator.world import Node, Record

pytestmark = pytest.mark.postgres


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(sweeps, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(listener, "PING_SECONDS", 0.05)


@contextlib.asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(look: Callable[[], Awaitable[bool]], task: asyncio.Task[None]) -> None:
    """Wait for it. Raises what the task raises."""
    async with asyncio.timeout(30):
        while not await look():
            if task.done():
                task.result()
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("hurried")
async def test_a_job_that_fails_ends_no_other_and_is_done_later(record: Record) -> None:
    """Drains meet what nobody foresaw, here a column that is not there."""
    node = await Node.join(record.db)

    async def lost() -> bool:
        async with record.db.read() as conn:
            return (await nodes.get(conn, node.registration.node_id)).state is NodeState.UNREACHABLE

    async def ended() -> bool:
        async with record.db.read() as conn:
            return await conn.fetchval("SELECT drain_action IS NULL FROM nodes") is True

    async with record.db.transaction() as conn:
        await conn.execute(
            "INSERT INTO actions (id, account_id, verb, object_uri, state, request, start_date)"
            " VALUES ($1, $2, 'Node Drain', '/x/', 'In progress', '{}', now() - interval '1 hour')",
            node.registration.node_id,
            record.account.id,
        )
        await conn.execute("UPDATE nodes SET last_seen = now() - interval '1 hour', drain_action = id")
        await conn.execute("ALTER TABLE actions RENAME COLUMN end_date TO hidden")
    async with running(sweeps.sweep(record.db)) as task:
        await until(lost, task)
        async with record.db.transaction() as conn:
            await conn.execute("ALTER TABLE actions RENAME COLUMN hidden TO end_date")
        await until(ended, task)


class Cut:
    """Listens on loopback before the Postgres of a DSN; cuts a connection when the server is pinged over it."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = parse_qs(parts.query)
        self._path = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._dsn = f"postgresql://{parts.username}:{parts.password}@127.0.0.1:{{port}}{parts.path}?sslmode=disable"
        self.cut = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield self._dsn.format(port=server.sockets[0].getsockname()[1])
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_unix_connection(self._path)
        answers = asyncio.create_task(self._pass(back, writer))
        try:
            await self._pass(reader, forth, until=b"SELECT 1")
        finally:
            answers.cancel()
            for each in (writer, forth):
                each.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: bytes = b"\xff\xff"
    ) -> None:
        while data := await reader.read(65536):
            if until in data and self.cut < 3:
                self.cut += 1
                return
            writer.write(data)


@pytest.mark.usefixtures("hurried")
async def test_the_listener_survives_a_connection_that_dies_while_it_asks(record: Record, database_url: str) -> None:
    wakeups, proxy = Wakeups(), Cut(database_url)
    async with proxy.listening() as dsn, running(listen(dsn, wakeups)) as task:

        async def heard() -> bool:
            wakeups.service.clear()
            async with record.db.transaction() as conn:
                await conn.execute("SELECT pg_notify('tutela_service', '')")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await wakeups.service.wait()
            return proxy.cut == 3 and wakeups.service.is_set()

        await until(heard, task)
