"""The pool, its session settings, and transactions.

A paused process must not hold a service for ever, and a paused server must not hold us: timeouts on both
sides, and `terminate()` for a connection that does not answer (RELIABILITY E30, F25).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import asyncpg
from pydantic_core import from_json, to_json

from orchestrator.store.connections import Connections
from orchestrator.store.errors import DatabaseAway, translate

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = object

COMMAND_TIMEOUT = 5.0
SESSION = {
    "application_name": "tutela",
    "statement_timeout": "5000",
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "4000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "synchronous_commit": "on",
}


def _encode(value: Any) -> bytes:
    return b"\x01" + to_json(value)


def _decode(value: bytes) -> Any:
    return from_json(value[1:])


async def prepare(conn: Any) -> None:
    """Teach a new connection our jsonb form: Python values in and out."""
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode, decoder=_decode, format="binary")


async def _left_as_it_was(_conn: Any) -> None:
    """A connection goes back to the pool as it is: blocks here leave nothing in a session. The driver has rolled back
    what was open; its own four statements for everything else would be a round trip each time.
    """


async def connect(dsn: str) -> asyncpg.Connection[asyncpg.Record]:
    """A connection of its own, outside the pool (for LISTEN). Raises DatabaseAway."""
    try:
        conn = await asyncpg.connect(dsn, timeout=5, command_timeout=COMMAND_TIMEOUT, server_settings=SESSION)
        try:
            await prepare(conn)
        except BaseException:
            conn.terminate()
            raise
    except Exception as error:
        raise translate(error) from error
    return conn


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Connections: open ones, those of them that nobody uses, and how many there may be."""

    size: int
    idle: int
    most: int


class Database:
    """A pool of connections to one Postgres."""

    def __init__(self, pool: Connections, dsn: str) -> None:
        self._pool = pool
        self.dsn = dsn

    @classmethod
    async def open(cls, dsn: str, *, size: int = 12) -> Database:
        """Open the pool. Raises DatabaseAway."""
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=size,
                init=prepare,
                reset=_left_as_it_was,
                timeout=5,
                command_timeout=COMMAND_TIMEOUT,
                server_settings=SESSION,
                max_inactive_connection_lifetime=300,
            )
        except Exception as error:
            raise translate(error) from error
        return cls(Connections(pool), dsn)

    async def close(self) -> None:
        """Close the pool; connections that do not answer are dropped."""
        await self._pool.close()

    def pool(self) -> Pool:
        """How its connections are used now."""
        size, idle, most = self._pool.count()
        return Pool(size=size, idle=idle, most=most)

    async def ping(self) -> None:
        """Return when the server answers. Raises DatabaseAway."""
        async with self.read() as conn:
            await conn.fetchval("SELECT 1")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection for reading. Raises DatabaseAway."""
        conn, well = await self._take(), False
        try:
            with translated(conn):
                yield conn
            well = True
        finally:
            await self._pool.give(conn, well=well)

    @asynccontextmanager
    async def single(self) -> AsyncIterator[Connection]:
        """A connection for a statement that is a transaction by itself: two round trips less. Raises DatabaseAway."""
        async with self.read() as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction: committed when the block ends, rolled back when it raises. Raises DatabaseAway.

        Nothing but this connection may be awaited inside the block (DESIGN smell 7).
        """
        conn, well = await self._take(), False
        try:
            with translated(conn):
                async with conn.transaction():
                    yield conn
            well = True
        finally:
            await self._pool.give(conn, well=well)

    async def _take(self) -> Any:
        try:
            return await self._pool.take()
        except Exception as error:
            raise translate(error) from error


@contextlib.contextmanager
def translated(conn: Any) -> Iterator[None]:
    """What errors of the block mean here; a connection that failed as such never goes back to the pool."""
    try:
        yield
    except Exception as error:
        meaning = translate(error)
        if isinstance(meaning, DatabaseAway):
            with contextlib.suppress(asyncpg.InterfaceError):  # the pool has dropped it already
                conn.terminate()
        if meaning is error:
            raise
        raise meaning from error


async def now(conn: Connection) -> datetime:
    """The database's clock: one clock for all decisions."""
    value: datetime = await conn.fetchval("SELECT clock_timestamp()")
    return value


__all__ = ["Connection", "Database", "DatabaseAway", "Pool", "connect", "now"]
