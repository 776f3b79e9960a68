"""Connections of a pool, of which those that were just used stay at hand.

The driver makes a task of each release, since it may have to wait for a statement to be cancelled there, and looks
through all connections to find one that is idle: a fifth of a small statement's time. A block that ended well has
nothing to wait for. Its connection is lent to who asks next; everything else is the pool's.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg

AT_HAND = 60.0
"""Seconds after which a connection goes through the pool again, which closes what is idle or has been used long."""
WAIT, LET_GO = 5.0, 2.0
"""Seconds for a connection to be had, and for what is left undone on one to be undone."""


class Connections:
    """The connections of a pool. Its methods raise what the driver raises."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._free = list[Any]()
        self._since = dict[Any, float]()
        self._waiting = 0
        self._closing = False

    async def take(self) -> Any:
        """A connection that nobody else has, until it is given back."""
        while self._free:
            conn = self._free.pop()
            if _usable(conn):
                return conn
            await self._part(conn)
        self._waiting += 1
        try:
            conn = await self._pool.acquire(timeout=WAIT)
        finally:
            self._waiting -= 1
        self._since[conn] = asyncio.get_running_loop().time()
        return conn

    async def give(self, conn: Any, *, well: bool) -> None:
        """Have it back. `well`: the block ended without an error, so no statement is under way on it."""
        long_ago = asyncio.get_running_loop().time() - AT_HAND
        kept = well and not self._waiting and not self._closing and self._since[conn] >= long_ago
        if not kept or not _usable(conn) or conn.is_in_transaction():
            await self._part(conn)
        else:
            self._free.append(conn)
        # At the end of the list is what was used last: what lies here longest is at its beginning.
        if self._free and self._since[self._free[0]] < long_ago:
            await self._part(self._free.pop(0))

    async def _part(self, conn: Any) -> None:
        """Give it to the pool, which undoes what was left undone, and drop one of which nothing can be had."""
        del self._since[conn]
        try:
            await self._pool.release(conn, timeout=LET_GO)
        except Exception:
            with contextlib.suppress(asyncpg.InterfaceError):
                conn.terminate()

    def count(self) -> tuple[int, int, int]:
        """Open ones, those of them that nobody uses, and how many there may be."""
        idle = self._pool.get_idle_size() + sum(map(_usable, self._free))
        return self._pool.get_size(), idle, self._pool.get_max_size()

    async def close(self) -> None:
        """Close all of them, once nobody has one; those that do not answer are dropped."""
        self._closing = True
        try:
            async with asyncio.timeout(3):
                while self._free:
                    await self._part(self._free.pop())
                await self._pool.close()
        except Exception:
            self._pool.terminate()


def _usable(conn: Any) -> bool:
    try:
        return not conn.is_closed()
    except asyncpg.InterfaceError:  # lost meanwhile, and the pool has it back already
        return False
