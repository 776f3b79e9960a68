"""A real Postgres for the test session: one migrated template, a database a test."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg

from app.postgres import EmbeddedPostgres
from tests.harness import memory

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_connections": "100"}


def migrate(dsn: str) -> None:
    """Bring a database to the present schema."""
    env = {**os.environ, "DATABASE_URL": dsn}
    done = subprocess.run(
        [sys.executable, "-m", "app.migrate", dsn], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


class TestPostgres:
    """A server in a directory of its own. `options` as EmbeddedPostgres."""

    __test__ = False

    def __init__(self, options: dict[str, str] | None = None) -> None:
        self._dir = Path(tempfile.mkdtemp(prefix="tutela-test-pg-", dir=memory.folder()))
        self._dir.chmod(0o755)
        self._numbers = itertools.count(1)
        self.server = EmbeddedPostgres(self._dir / "state", options=FAST if options is None else options)
        self.dsn = self.server.start()

    def url(self, database: str) -> str:
        """The DSN of one of its databases."""
        return self.dsn.replace("/tutela?", f"/{database}?")

    async def make_template(self) -> None:
        """The migrated database that the others are copied from."""
        await self._execute('CREATE DATABASE "template_tutela"')
        migrate(self.url("template_tutela"))

    async def fresh(self) -> str:
        """A new migrated database; returns its DSN."""
        name = f"t{next(self._numbers)}"
        await self._patiently(f'CREATE DATABASE "{name}" TEMPLATE "template_tutela" STRATEGY file_copy')
        return self.url(name)

    async def drop(self, dsn: str) -> None:
        """Drop a database that `fresh` made, with whoever is connected to it."""
        name = dsn.split("?")[0].rsplit("/", 1)[-1]
        await self._patiently(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _patiently(self, statement: str) -> None:
        """An autovacuum worker in the database is not ours to end, nor is one who is ended gone at once."""
        for last in (False,) * 200 + (True,):
            try:
                await self._execute(statement)
            except (asyncpg.InsufficientPrivilegeError, asyncpg.ObjectInUseError):
                if last:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def _execute(self, statement: str) -> None:
        conn = await asyncpg.connect(self.dsn)
        try:
            await conn.execute(statement)
        finally:
            await conn.close()

    def close(self) -> None:
        """Stop the server and take its files away."""
        self.server.stop()
        shutil.rmtree(self._dir, ignore_errors=True)
