"""Runs the migrations over asyncpg, all in one transaction, one migrator at a time.

A version is a file of raw SQL, run by `app.migrate.run_script`.

There is no `alembic/__init__.py`, and there must not be: it would hide the library of the same name.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

MIGRATION_LOCK = 0x7475_7465_6C61  # "tutela"


def _run(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()


async def _online(dsn: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(dsn, timeout=10),
        poolclass=pool.NullPool,
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
    await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("tutela: the migrations need a live database")
_dsn = context.config.attributes.get("dsn") or os.environ.get("DATABASE_URL")
if not _dsn:
    raise SystemExit("tutela: no database given: set DATABASE_URL")
asyncio.run(_online(_dsn))
