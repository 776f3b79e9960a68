"""How the installation is: the schema, Postgres, control planes and agents. Nothing here grows with the containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.assignment import EngineInfo
from domain.node import NodeState
from domain.quarantine import Quarantine, quarantine
from orchestrator.store import codec
from orchestrator.store.db import Connection, connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """The version of the schema, and whether the reconciler is paused."""

    schema: str
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """The server: `size` of the database in bytes, connections to it and how many there may be."""

    version: str
    size: int
    connections: int
    most_connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A process that agents can reach."""

    id: UUID
    agent_url: str
    last_seen: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A node as its agent was last heard. `age` in seconds, None when it never was; memory in MB, CPU in shares."""

    name: str
    state: NodeState
    last_seen: datetime | None
    age: float | None
    live: int
    reserved_memory: int
    reserved_cpu: int
    paused: bool
    quarantine: Quarantine | None
    engine: EngineInfo | None


async def schema_of(dsn: str) -> str:
    """The version of the schema; empty when there is none yet. Raises DatabaseAway."""
    conn = await connect(dsn)
    try:
        if await conn.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
            return ""
        version: str = await conn.fetchval("SELECT coalesce(max(version_num), '') FROM alembic_version")
        return version
    finally:
        conn.terminate()


async def readiness(conn: Connection) -> Readiness:
    """One statement: it may be asked often, and by anybody."""
    row = await conn.fetchrow(
        "SELECT coalesce((SELECT max(version_num) FROM alembic_version), '') AS schema,"
        " EXISTS (SELECT 1 FROM installation WHERE paused_at IS NOT NULL) AS paused"
    )
    assert row is not None  # noqa: S101 - one row always
    return Readiness(**row)


async def postgres(conn: Connection) -> Postgres:
    """Facts of the server."""
    row = await conn.fetchrow(
        "SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size,"
        " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,"
        " current_setting('max_connections')::int AS most_connections"
    )
    assert row is not None  # noqa: S101 - one row always
    return Postgres(**row)


async def end_abandoned(conn: Connection, seconds: float) -> int:
    """End connections of ours that sit in a transaction for so long and wait for their process; how many there were.

    The server's own timeouts do not see all of them: a client that stops between two messages of one statement counts
    as active, and is not cancelled while the server reads from it.
    """
    ended: int = await conn.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
        " AND usename = current_user AND application_name = current_setting('application_name')"
        " AND xact_start IS NOT NULL AND wait_event = 'ClientRead'"
        " AND state_change < clock_timestamp() - make_interval(secs => $1) AND pid <> pg_backend_pid()",
        seconds,
    )
    return ended


async def control_planes(conn: Connection) -> list[ControlPlane]:
    """Those that said lately that they are there."""
    rows = await conn.fetch("SELECT id, agent_url, last_seen FROM control_planes ORDER BY id")
    return [ControlPlane(**row) for row in rows]


async def agents(conn: Connection) -> list[Agent]:
    """All nodes that were not taken out, by name; their containers are counted on their own rows."""
    rows = await conn.fetch(
        "SELECT name, state, last_seen, extract(epoch FROM clock_timestamp() - last_seen)::float8 AS age, live,"
        " reserved_memory, reserved_cpu, paused_at IS NOT NULL AS paused, engine, accepted, ahead, strangers"
        " FROM nodes WHERE state <> $1 ORDER BY name",
        NodeState.TERMINATED.value,
    )
    engines = [codec.load(codec.ENGINE, row["engine"]) for row in rows]
    return [
        Agent(
            name=row["name"],
            state=NodeState(row["state"]),
            last_seen=row["last_seen"],
            age=row["age"],
            live=row["live"],
            reserved_memory=row["reserved_memory"],
            reserved_cpu=row["reserved_cpu"],
            paused=row["paused"],
            quarantine=quarantine(
                row["name"],
                accepted=row["accepted"],
                engine=engine,
                ahead=codec.load(codec.POSITION, row["ahead"]),
                strangers=codec.load(codec.STRANGERS, row["strangers"]),
            ),
            engine=engine,
        )
        for row, engine in zip(rows, engines, strict=True)
    ]


def by_state(found: Sequence[Agent]) -> dict[str, int]:
    """How many agents are in each state, the states without one included."""
    states = [state for state in NodeState if state is not NodeState.TERMINATED]
    return {state.value: sum(each.state is state for each in found) for state in states}
