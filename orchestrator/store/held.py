"""A database for one request, which commits when its answer is known (decision 19)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from orchestrator.store.db import Connection, Database, translated
from orchestrator.store.errors import DatabaseAway


class _Abandoned(Exception):
    pass


class Held(Database):
    """As the database it is made from, but the first transaction that ends well stays open until `commit`.

    What is read after it is read inside of it, so that an answer can be made and stored before anything is visible to
    others. For one task. Whoever makes one calls `abandon` at the end, whatever happened.
    """

    def __init__(self, base: Database) -> None:
        super().__init__(base._pool, base.dsn)
        self._conn: Connection | None = None
        self._open = AsyncExitStack()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection for reading; the open transaction's, if there is one. Raises DatabaseAway."""
        if self._conn is not None:
            with translated(self._conn):
                yield self._conn
            return
        async with super().read() as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction that ends with `commit`; rolled back at once when the block raises. Raises DatabaseAway."""
        if self._conn is not None:
            with translated(self._conn):
                async with self._conn.transaction():
                    yield self._conn
            return
        stack = AsyncExitStack()
        conn = await stack.enter_async_context(super().transaction())
        try:
            yield conn
        except BaseException:
            if not await stack.__aexit__(*sys.exc_info()):
                raise
        else:
            self._conn, self._open = conn, stack

    async def commit(self) -> None:
        """Commit what is open. Raises DatabaseAway: then nobody knows whether it was."""
        stack = self._let_go()
        await stack.aclose()

    async def abandon(self) -> None:
        """Roll back what is open, if anything is."""
        stack = self._let_go()
        with contextlib.suppress(_Abandoned, DatabaseAway):
            await stack.__aexit__(_Abandoned, _Abandoned(), None)

    def _let_go(self) -> AsyncExitStack:
        stack, self._open, self._conn = self._open, AsyncExitStack(), None
        return stack
