"""The whole record as files, and back: COPY within one transaction, since Postgres' own tools need not be there.

For `./tutela backup`, `restore` (RELIABILITY I17) and `rebuild`. Names of tables become statements on the server, by
`format`.
"""

from __future__ import annotations

import contextlib
import re
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
OLDEST = "0008"
"""The first version of the schema that a backup can be made of: a restore begins a new line of the record."""
_SCRIPTS = {
    path.stem.partition("_")[0]: path
    for path in sorted((Path(__file__).resolve().parents[2] / "alembic" / "versions").glob("[0-9]*.sql"))
}
"""The versions of the schema, oldest first: each is a file of raw SQL (alembic/env.py)."""
_NEWEST = max(_SCRIPTS)

if TYPE_CHECKING:
    Raw = asyncpg.Connection[asyncpg.Record]
else:
    Raw = object


class DatabaseRefused(Exception):
    """The database is not one that this can be done with; the text is one sentence for people."""


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
    """A connection of its own, without the limits of a request. Raises DatabaseAway, DatabaseRefused."""
    settings = {**SESSION, "application_name": "tutela-backup", "statement_timeout": "0", "lock_timeout": "0"}
    settings |= {"idle_in_transaction_session_timeout": "0"}
    try:
        conn = await asyncpg.connect(dsn, timeout=10, server_settings=settings)
    except Exception as error:
        if isinstance(error, ValueError) and not isinstance(error, OSError):  # as one of certificates is both
            wanted = "postgresql://USER:PASSWORD@HOST:PORT/NAME"
            raise DatabaseRefused(f"DATABASE_URL is not of the form {wanted}") from error
        raise _told(error) from error
    try:
        yield conn
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _told(error) from error
    finally:
        await conn.close(timeout=5)


def _told(error: Exception) -> BaseException:
    """DatabaseRefused for what the server said, and what `translate` makes of an end of the connection."""
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
        line, _, _ = str(error).partition("\n")
        return DatabaseRefused(f"the database refuses: {line}")
    return translate(error)


async def dump(dsn: str, folder: Path) -> Dumped:
    """Write Tutela's tables into the folder, as they are at one moment; the schema is of OLDEST or newer. Others go on
    meanwhile. Raises DatabaseAway, DatabaseRefused, OSError."""
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
            " WHERE schemaname = current_schema() AND (sequencename = ANY($1) OR EXISTS (SELECT FROM pg_depend d"
            "   JOIN pg_class t ON t.oid = d.refobjid AND t.relname = ANY($2)"
            "   WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')"
            "   AND d.objid = format('%I.%I', schemaname, sequencename)::regclass))",
            _made("SEQUENCE"),
            _made("TABLE"),
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
        " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1)"
        " GROUP BY c.relname ORDER BY 1",
        _made("TABLE"),
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


def _made(kind: str) -> list[str]:
    """The name of each TABLE or SEQUENCE that any version of the schema makes."""
    made = re.compile(rf"^CREATE {kind} (\w+)", re.MULTILINE)
    return [name for path in _SCRIPTS.values() for name in made.findall(path.read_text(encoding="utf-8"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A database before a command: the version of Tutela's schema (None: there is none), users and services in it, the
    certificate of its authority, and how many processes of Tutela are connected to it."""

    schema: str | None
    users: int
    services: int
    authority: str | None
    connected: int


async def look(dsn: str) -> Found:
    """What is there. Raises DatabaseAway, DatabaseRefused."""
    async with _connected(dsn) as conn:
        connected = await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
            SESSION["application_name"],
        )
        schema, ours, _ = await _standing(conn)
        if schema is None:
            return Found(schema=None, users=0, services=0, authority=None, connected=connected)
        return Found(
            schema=schema,
            users=await conn.fetchval("SELECT count(*) FROM accounts"),
            services=await conn.fetchval("SELECT count(*) FROM services"),
            authority=await conn.fetchval("SELECT certificate FROM authority") if "authority" in ours else None,
            connected=connected,
        )


async def _standing(conn: Raw) -> tuple[str | None, list[str], list[str]]:
    """The version of Tutela's schema, the relations that are Tutela's, and what else is in the schema, by name.

    One name is not enough, since others have `accounts` and a version 0003 too. Of a newer version, from which a backup
    is the way back, what is known here is Tutela's. What belongs to an extension or to a column is not counted.
    """
    rows = await conn.fetch(
        "SELECT relname FROM pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
        " AND relnamespace = current_schema()::regnamespace AND NOT EXISTS (SELECT FROM pg_depend"
        "   WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('a', 'i', 'e')) ORDER BY 1"
    )
    names = [row["relname"] for row in rows]
    if not {"alembic_version", "installation", "accounts", "services"} <= set(names):
        return None, [], names
    version = await conn.fetchval(
        "SELECT string_agg(version_num, ',') FROM alembic_version WHERE EXISTS (SELECT FROM pg_attribute"
        " WHERE attrelid = 'installation'::regclass AND attname = 'cluster_id')"
    )
    if version is None or not re.fullmatch(r"\d{4}", version):
        return None, [], names
    known = {"alembic_version", *_made("TABLE"), *_made("SEQUENCE")}
    return version, [name for name in names if name in known], [name for name in names if name not in known]


@contextlib.asynccontextmanager
async def anew(dsn: str, schema: str = _NEWEST) -> AsyncIterator[Raw]:
    """A transaction in which Tutela's tables are made anew, of that version of the schema. It is committed when the
    block ends, and when that raises all is as before.

    A database that has anything that Tutela did not make is refused. Raises DatabaseAway, DatabaseRefused.
    """
    async with _connected(dsn) as conn, conn.transaction():
        await _clear(conn)
        # As alembic makes it. Its own run would be a transaction of its own.
        await conn.execute(
            "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL,"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        await conn.execute("INSERT INTO alembic_version VALUES ('')")
        await _migrate(conn, "", schema)
        yield conn


async def _migrate(conn: Raw, present: str, wanted: str) -> None:
    """From one version of the schema to another, in the transaction that is open."""
    for version, path in _SCRIPTS.items():
        if present < version <= wanted:
            await conn.execute(path.read_text(encoding="utf-8"))
    await conn.execute("UPDATE alembic_version SET version_num = $1", wanted)


async def _clear(conn: Raw) -> None:
    """Take away what Tutela made in the schema. Without CASCADE: what others built upon it is refused too."""
    _, ours, others = await _standing(conn)
    if others:
        where = await conn.fetchval("SELECT format('%s of the database %s', current_schema(), current_database())")
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise DatabaseRefused(
            f"the schema {where} has what this version of Tutela did not make ({', '.join(others[:3])}{more}): nothing"
            " there is touched, with --force neither. Name an empty database of Tutela's own in DATABASE_URL"
        )
    await _each(conn, "SELECT 'DROP TABLE ' || string_agg(format('%I', relname), ', ') FROM pg_class"
                " WHERE relname = ANY($1) AND relkind = 'r' AND relnamespace = current_schema()::regnamespace"
                " HAVING count(*) > 0", ours)  # fmt: skip
    await _each(conn, "SELECT format('DROP SEQUENCE %I', relname) FROM pg_class WHERE relname = ANY($1)"
                " AND relkind = 'S' AND relnamespace = current_schema()::regnamespace", ours)  # fmt: skip
    # Those of a newer version too, which would be in its way when it comes again.
    await _each(conn, "SELECT 'DROP FUNCTION ' || oid::regprocedure FROM pg_proc WHERE proname LIKE ANY($1)"
                " AND pronamespace = current_schema()::regnamespace", [r"tutela\_%"])  # fmt: skip


async def load(dsn: str, folder: Path, schema: str, tables: Sequence[Table], sequences: Mapping[str, int]) -> None:
    """Make of what was written, with that version of the schema, a record of the present one, instead of what is in the
    database: all of it or nothing.

    The record begins a new line (domain.assignment.Position): agents that were told more than it knows will say so.
    Raises DatabaseAway, DatabaseRefused, OSError.
    """
    names = [table.name for table in tables]
    async with anew(dsn, schema) as conn:
        await _each(conn, "SELECT format('ALTER TABLE %I DISABLE TRIGGER USER', name) FROM unnest($1::text[]) name",
                    names)  # fmt: skip
        # What the versions put in themselves, as the row of the installation.
        await _each(conn, "SELECT format('DELETE FROM %I', name) FROM unnest($1::text[]) name", names[::-1])
        for table in tables:
            await conn.copy_to_table(table.name, columns=table.columns, source=file_of(folder, table.name))
        for name, value in sequences.items():
            await conn.execute("SELECT setval(format('%I', $1::text)::regclass, $2, false)", name, value)
        await _each(conn, "SELECT format('ALTER TABLE %I ENABLE TRIGGER USER', name) FROM unnest($1::text[]) name",
                    names)  # fmt: skip
        await _migrate(conn, schema, _NEWEST)
        await conn.execute(
            "UPDATE installation SET restored_from = lineage, lineage = gen_random_uuid(), restored_at = now()"
        )
        await conn.execute("UPDATE nodes SET restored_revision = assignment_revision, served_by = NULL")
        await conn.execute("UPDATE services SET look_at = now() WHERE destroyed_at IS NULL")


async def _each(conn: Raw, statements: str, names: Sequence[str]) -> None:
    """Carry out what the server makes of the names."""
    for row in await conn.fetch(statements, names):
        await conn.execute(row[0])
