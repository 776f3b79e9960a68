"""The Postgres behind the simulation, with a clock that is set: one server, one database for each simulating process.

`now()` and `clock_timestamp()` of our own stand before those of `pg_catalog` in the search path, from before the
schema is made, so that the defaults of its columns are theirs too. They read the setting `sim.now`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Coroutine, Iterator
from typing import Any
from uuid import UUID

import asyncpg

from orchestrator.store.db import prepare
from tests.harness import memory
from tests.harness.postgres import FAST, TestPostgres, migrate

CLUSTER = UUID(int=1)
OPTIONS = {
    **FAST,
    "autovacuum": "off",
    "jit": "off",
    # The same plans, and so the same order of rows, whatever a connection did before.
    "plan_cache_mode": "force_generic_plan",
    "max_parallel_workers_per_gather": "0",
    # Nobody looks at what the server counts and shows.
    "track_activities": "off",
    "track_counts": "off",
    "update_process_title": "off",
}
SETTINGS = {"search_path": "public, pg_catalog", "sim.now": "2026-01-01T00:00:00Z", "application_name": "simulation"}
TEMPLATE = "simulation"
CLOCK = """
CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT coalesce(pg_catalog.current_setting('sim.now', true), '2026-01-01Z')::timestamptz $$;
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE AS
    $$ SELECT coalesce(pg_catalog.current_setting('sim.now', true), '2026-01-01Z')::timestamptz $$;
"""
KEPT = ["alembic_version", "installation", "swarm"]


@contextlib.contextmanager
def serving() -> Iterator[TestPostgres]:
    """A server in memory, with the database that others are copied from."""
    tempfile.tempdir = memory.folder()
    postgres = TestPostgres(OPTIONS)
    try:
        asyncio.run(_template(postgres))
        migrate(postgres.url(TEMPLATE))
        yield postgres
    finally:
        postgres.close()


async def _template(postgres: TestPostgres) -> None:
    conn = await asyncpg.connect(postgres.dsn)
    try:
        await conn.execute(f'CREATE DATABASE "{TEMPLATE}"')
        await conn.execute(f'ALTER DATABASE "{TEMPLATE}" SET search_path = public, pg_catalog')
    finally:
        await conn.close()
    conn = await asyncpg.connect(postgres.url(TEMPLATE))
    try:
        await conn.execute(CLOCK)
    finally:
        await conn.close()


async def copy(postgres_dsn: str, name: str) -> None:
    """A database of one's own. `postgres_dsn`: of the server."""
    conn = await asyncpg.connect(postgres_dsn)
    try:
        await conn.execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
    finally:
        await conn.close()


class Wire:
    """A connection that is used from virtual time: each statement is one step, in which nothing else happens.

    The driver's coroutines are driven by hand, and what they write is sent at once when an answer is waited for.
    An event loop of their own would be twice as much work as they are.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, dsn: str) -> None:
        self._loop = loop
        self._conn: Any = loop.run_until_complete(self._connect(dsn))
        transport = self._conn._transport
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._socket.setblocking(True)
        self._out: list[bytes] = []
        transport.write = lambda data: self._out.append(bytes(data))
        self._protocol = self._conn._protocol
        self._prepared: dict[str, Any] = {}
        self._scripts = 0

    async def _connect(self, dsn: str) -> Any:
        conn = await asyncpg.connect(dsn, server_settings=SETTINGS)
        await prepare(conn)
        return conn

    def before(self, script: str) -> None:
        """Statements without results, sent together with the next one: a round trip less."""
        text = script.encode() + b"\0"
        self._out.append(b"Q" + (len(text) + 4).to_bytes(4) + text)
        self._scripts += 1

    def run(self, method: str, query: str, *args: Any) -> Any:
        """One statement, by the driver's method of that name, below what the driver does for pools and cursors."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self._loop)
        try:
            if method == "execute" and not args:
                return self._driven(self._protocol.query(query, None))
            statement = self._prepared.get(query)
            if statement is None:
                statement = self._prepared[query] = self._driven(self._conn.prepare(query))
            most = 1 if method in {"fetchrow", "fetchval"} else 0
            rows, status, _ = self._driven(self._protocol.bind_execute(statement._state, args, "", most, True, None))
        finally:
            asyncio._set_running_loop(outer)
        match method:
            case "execute":
                return status.decode()
            case "fetch":
                return rows
            case "fetchrow":
                return rows[0] if rows else None
        return rows[0][0] if rows else None

    def _driven(self, coro: Coroutine[Any, Any, Any]) -> Any:
        try:
            while True:
                waiting = coro.send(None)
                while waiting is not None and not waiting.done():
                    self._protocol.data_received(self._received())
        except StopIteration as done:
            return done.value

    def _received(self) -> bytes:
        """What the server says to the driver: the answers to scripts before its own statement are taken out."""
        if self._out:
            self._socket.sendall(b"".join(self._out))
            self._out.clear()
        data = self._socket.recv(1 << 16)
        while self._scripts:
            # A message is its kind, and its length without that.
            while len(data) < 5 or len(data) <= (size := int.from_bytes(data[1:5])):
                data += self._socket.recv(1 << 16)
            message, data = data[: size + 1], data[size + 1 :]
            if message[:1] == b"E":
                raise RuntimeError(f"a script before a statement failed: {message!r}")
            self._scripts -= message[:1] == b"Z"
        return data or self._socket.recv(1 << 16)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._conn.terminate()


class Backend:
    """A database's connections: the world's, that of who judges, which sees what is committed, and a witness.

    That one looks at an installation as new for as long as a seed lasts, so that the server clears no page that it
    could still see. When it clears them depends on who else is at work on it; and that is the order in which rows lie,
    and come to whoever asks for none.
    """

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self.conn, self.judge, self._witness = (Wire(self._loop, dsn) for _ in range(3))
        self._tables = self.conn.run(
            "fetchval",
            "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename <> ALL($1)",
            KEPT,
        )
        self.conn.run("execute", "ALTER TABLE audit DISABLE TRIGGER audit_stays")
        self.statements = 0

    def pids(self) -> tuple[int, ...]:
        """The server's processes of these connections."""
        return tuple(wire.run("fetchval", "SELECT pg_backend_pid()") for wire in (self.conn, self.judge, self._witness))

    def reset(self) -> None:
        """An installation as new. TRUNCATE and not DELETE: rows lie in the same order in each run."""
        # What the driver left to do after each answer holds that answer.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._witness.run("execute", "ROLLBACK")
        script = (
            f"ROLLBACK; TRUNCATE {self._tables}, swarm RESTART IDENTITY; INSERT INTO swarm DEFAULT VALUES;"  # noqa: S608
            f" UPDATE installation SET cluster_id = '{CLUSTER}', paused_at = NULL, disrupted_at = NULL,"
            " unheard_at = NULL;"  # all that a seed may have left there
            " ALTER SEQUENCE subnet_number RESTART"
        )
        self.conn.run("execute", script)
        self._witness.run("execute", "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        self.statements = 0

    def close(self) -> None:
        """End the connections."""
        for wire in (self.conn, self.judge, self._witness):
            wire.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()
