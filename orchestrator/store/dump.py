"""The whole record as files, and back: COPY within one transaction, since Postgres' own tools need not be there.

For `./tutela backup` and `restore` (RELIABILITY I17). Names of tables become statements on the server, by `format`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from orchestrator.store.db import SESSION
from orchestrator.store.errors import translate

LEFT_OUT = frozenset({"alembic_version", "events", "control_planes", "copies_due", "wakes"})
"""The schema's version is told apart; events are ordered by transactions of their server; processes are no data, what
hosts were told of the newest is told to them anew with their next session, and every service is looked at."""

if TYPE_CHECKING:
    Raw = asyncpg.Connection[asyncpg.Record]
else:
    Raw = object


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as it was written."""

    name: str
    columns: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dumped:
    """What was written: `tables` in an order in which they can be filled, `sequences` with the next value of each."""

    schema: str
    cluster_id: UUID
    lineage: UUID
    tables: tuple[Table, ...]
    sequences: Mapping[str, int]


def file_of(folder: Path, table: str) -> Path:
    """Where a table's rows are."""
    return folder / f"{table}.copy"


@contextlib.asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Raw]:
    """A connection of its own, without the limits of a request. Raises DatabaseAway."""
    settings = {**SESSION, "application_name": "tutela-backup", "statement_timeout": "0"}
    settings |= {"idle_in_transaction_session_timeout": "0"}
    try:
        conn = await asyncpg.connect(dsn, timeout=10, server_settings=settings)
    except Exception as error:
        raise translate(error) from error
    try:
        yield conn
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise translate(error) from error
    finally:
        await conn.close(timeout=5)


async def dump(dsn: str, folder: Path) -> Dumped:
    """Write all tables into the folder, as they are at one moment. Others go on meanwhile. Raises DatabaseAway."""
    async with _connected(dsn) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        schema = await conn.fetchval("SELECT version_num FROM alembic_version")
        installation = await conn.fetchrow("SELECT cluster_id, lineage FROM installation")
        assert installation is not None  # noqa: S101 - one row always
        written = []
        for name in await _in_order(conn):
            columns = await _columns(conn, name)
            done = await conn.copy_from_table(name, columns=columns, output=file_of(folder, name))
            written.append(Table(name=name, columns=tuple(columns), rows=int(done.rpartition(" ")[2])))
        found = await conn.fetch(
            "SELECT sequencename AS name, coalesce(last_value + increment_by, start_value) AS next FROM pg_sequences"
            " WHERE schemaname = current_schema()"
        )
        return Dumped(
            schema=schema,
            cluster_id=installation["cluster_id"],
            lineage=installation["lineage"],
            tables=tuple(written),
            sequences={row["name"]: row["next"] for row in found},
        )


async def _in_order(conn: Raw) -> list[str]:
    """The tables that are written, each after those that it refers to."""
    rows = await conn.fetch(
        "SELECT c.relname AS name, coalesce(array_agg(f.relname::text) FILTER (WHERE f.relname <> c.relname), '{}')"
        " AS after FROM pg_class c LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'"
        " LEFT JOIN pg_class f ON f.oid = k.confrelid"
        " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace GROUP BY c.relname ORDER BY 1"
    )
    order = TopologicalSorter({row["name"]: row["after"] for row in rows}).static_order()
    return [name for name in order if name not in LEFT_OUT]


async def _columns(conn: Raw, table: str) -> list[str]:
    rows = await conn.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = (SELECT oid FROM pg_class WHERE relname = $1"
        " AND relnamespace = current_schema()::regnamespace) AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' ORDER BY attnum",
        table,
    )
    return [row["attname"] for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A database before a restore: its schema's version (None: it has none), users and services in it, and how many
    processes of Tutela are connected to it."""

    schema: str | None
    users: int
    services: int
    connected: int


async def look(dsn: str) -> Found:
    """What is there. Raises DatabaseAway."""
    async with _connected(dsn) as conn:
        connected = await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
            SESSION["application_name"],
        )
        if await conn.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
            return Found(schema=None, users=0, services=0, connected=connected)
        return Found(
            schema=await conn.fetchval("SELECT version_num FROM alembic_version"),
            users=await conn.fetchval("SELECT count(*) FROM accounts"),
            services=await conn.fetchval("SELECT count(*) FROM services"),
            connected=connected,
        )


async def clear(dsn: str) -> None:
    """Take away every table and function that this user has in the schema. Raises DatabaseAway."""
    async with _connected(dsn) as conn, conn.transaction():
        rows = await conn.fetch(
            "SELECT format('DROP TABLE IF EXISTS %I CASCADE', relname) AS statement FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
            " AND pg_get_userbyid(relowner) = current_user"
            " UNION ALL SELECT format('DROP SEQUENCE IF EXISTS %I CASCADE', relname) FROM pg_class"
            " WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace"
            " AND pg_get_userbyid(relowner) = current_user"
            " UNION ALL SELECT format('DROP FUNCTION IF EXISTS %s CASCADE', oid::regprocedure) FROM pg_proc"
            " WHERE pronamespace = current_schema()::regnamespace AND pg_get_userbyid(proowner) = current_user"
        )
        for row in rows:
            await conn.execute(row["statement"])


async def load(dsn: str, folder: Path, tables: Sequence[Table], sequences: Mapping[str, int]) -> None:
    """Fill a database of the same schema with what was written, instead of what is in it: all of it or nothing.

    The record begins a new line (domain.assignment.Position): agents that were told more than it knows will say so.
    Raises DatabaseAway.
    """
    async with _connected(dsn) as conn, conn.transaction():
        everything = [*(table.name for table in tables), *(LEFT_OUT - {"alembic_version"})]
        await _each(conn, "SELECT format('ALTER TABLE %I DISABLE TRIGGER USER', name) FROM unnest($1::text[]) name",
                    everything)  # fmt: skip
        await _each(conn, "SELECT 'TRUNCATE ' || string_agg(format('%I', name), ', ') FROM unnest($1::text[]) name",
                    everything)  # fmt: skip
        for table in tables:
            await conn.copy_to_table(table.name, columns=table.columns, source=file_of(folder, table.name))
        for name, value in sequences.items():
            await conn.execute("SELECT setval(format('%I', $1::text)::regclass, $2, false)", name, value)
        await _each(conn, "SELECT format('ALTER TABLE %I ENABLE TRIGGER USER', name) FROM unnest($1::text[]) name",
                    everything)  # fmt: skip
        await conn.execute(
            "UPDATE installation SET restored_from = lineage, lineage = gen_random_uuid(), restored_at = now()"
        )
        await conn.execute("UPDATE nodes SET restored_revision = assignment_revision, served_by = NULL")
        await conn.execute("UPDATE services SET look_at = now() WHERE destroyed_at IS NULL")


async def _each(conn: Raw, statements: str, tables: Sequence[str]) -> None:
    """Carry out what the server makes of the tables' names."""
    for row in await conn.fetch(statements, tables):
        await conn.execute(row[0])
