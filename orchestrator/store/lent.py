"""A database for one request that only reads: what its login was read with serves its first read too."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from orchestrator.store.db import Connection, Database


class Lent(Database):
    """As the database it is made from, but the connection of `first` goes back to the pool with the block after it.

    For one task, which awaits nothing else between the two. Whoever makes one calls `give_back` at the end, whatever
    happened, and before anything that takes long.
    """

    def __init__(self, base: Database) -> None:
        super().__init__(base._pool, base.dsn)
        self._conn: Connection | None = None
        self._open = AsyncExitStack()

    @asynccontextmanager
    async def first(self) -> AsyncIterator[Connection]:
        """As `read`; where the block ends well, the connection is kept for the next one. Raises DatabaseAway."""
        stack = AsyncExitStack()
        conn = await stack.enter_async_context(super().read())
        try:
            yield conn
        except BaseException:
            if not await stack.__aexit__(*sys.exc_info()):
                raise
        else:
            self._conn, self._open = conn, stack

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection for reading; the kept one, if there is one. Raises DatabaseAway."""
        conn, stack = self._take()
        if conn is None:
            conn = await stack.enter_async_context(super().read())
        async with stack:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction, on a connection of its own. Raises DatabaseAway."""
        await self.give_back()
        async with super().transaction() as conn:
            yield conn

    async def give_back(self) -> None:
        """The connection that is kept goes back to the pool, if there is one."""
        _, stack = self._take()
        await stack.aclose()

    def _take(self) -> tuple[Connection | None, AsyncExitStack]:
        taken = self._conn, self._open
        self._conn, self._open = None, AsyncExitStack()
        return taken
