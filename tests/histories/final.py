"""What is in the database in the end, read past the API."""

from __future__ import annotations

import asyncpg

from domain.action import ActionState
from domain.service import ServiceWant
from tests.histories.history import VERBS, ActionRow, Final, Row


async def settled(dsn: str) -> None:
    """End the connections of processes that are gone: one may have been stopped in its commit, and go on later."""
    conn = await asyncpg.connect(dsn)
    try:
        # Waits in the server until each of them has gone.
        await conn.execute(
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
            " WHERE application_name = 'tutela' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await conn.close()


async def read_final(dsn: str) -> Final:
    """All services and what was recorded of them."""
    conn = await asyncpg.connect(dsn)
    try:
        services = await conn.fetch(
            "SELECT name, want, target, spec->>'run_command' AS run_command, spec->>'entrypoint' AS entrypoint"
            " FROM services"
        )
        actions = await conn.fetch(
            "SELECT a.id::text AS id, s.name, a.verb, a.state FROM actions a JOIN services s ON s.id = a.service_id"
            " WHERE a.verb = ANY($1)",
            list(VERBS.values()),
        )
    finally:
        await conn.close()
    return Final(
        services=[
            Row(
                name=row["name"],
                terminated=row["want"] == ServiceWant.TERMINATED,
                registers={each: row[each] for each in ("target", "run_command", "entrypoint")},
            )
            for row in services
        ],
        actions=[
            ActionRow(id=row["id"], name=row["name"], verb=row["verb"], failed=row["state"] == ActionState.FAILED)
            for row in actions
        ],
    )
