"""Rows that are over go, whole backlogs at once, and one kind that cannot be deleted holds up no other."""

from __future__ import annotations

import asyncio
import sys
from uuid import UUID, uuid4

import asyncpg
import pytest

from domain.service import Verb
from orchestrator.purges import KINDS, purge_once
from orchestrator.store import copies
from tests.api.test_cost import FILL, logged, scanned
from tests.harness.postgres import TestPostgres, migrate
from tests.orchestrator.world import Node, Record

pytestmark = pytest.mark.postgres
CASCADES = (
    "services", "containers", "actions", "action_logs", "links", "volumes", "volume_groups", "stacks", "triggers",
    "ports", "image_requests",
)  # fmt: skip
"""Tables that are large, or that hang on what is purged."""


async def old_actions(record: Record, count: int) -> None:
    async with record.db.transaction() as conn:
        await conn.execute(
            "INSERT INTO actions (id, account_id, verb, object_uri, state, request, start_date, end_date)"
            " SELECT gen_random_uuid(), $1, 'Service Start', '/x/', 'Success', '{}', now() - interval '100 days',"
            " now() - interval '100 days' FROM generate_series(1, $2)",
            record.account.id,
            count,
        )


async def count(record: Record, table: str) -> int:
    async with record.db.read() as conn:
        value: int = await conn.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - tables of the tests
        return value


async def volume(record: Record, node: UUID, service: UUID, *, hours: int) -> UUID:
    """A volume of the living service that was terminated so long ago; returns it."""
    ident = uuid4()
    async with record.db.transaction() as conn:
        group = await conn.fetchval(
            "INSERT INTO volume_groups (id, account_id, service_id, name, path)"
            " VALUES (gen_random_uuid(), $1, $2, 'g', '/' || $3::text) RETURNING id",
            record.account.id,
            service,
            str(ident),
        )
        await conn.execute(
            "INSERT INTO volumes (id, account_id, group_id, node_id, slot, terminated_at)"
            " VALUES ($1, $2, $3, $4, 1, now() - make_interval(hours => $5))",
            ident,
            record.account.id,
            group,
            node,
            hours,
        )
    return ident


async def test_a_backlog_goes_at_once_and_in_bounded_transactions(record: Record) -> None:
    await old_actions(record, 1200)
    await purge_once(record.db)
    assert await count(record, "actions") == 0
    most = {name: limit for name, _, limit in KINDS}
    assert most["actions"] == 500


async def test_what_cannot_be_deleted_holds_up_no_other_kind(record: Record) -> None:
    await old_actions(record, 3)
    async with record.db.transaction() as conn:
        await conn.execute("ALTER TABLE containers RENAME COLUMN terminated_at TO gone_at")
    await purge_once(record.db)
    assert await count(record, "actions") == 0


async def test_no_purge_reads_a_large_table_from_end_to_end(record: Record) -> None:
    """Those of nodes and users begin with what is over of these few, and ask for each what points at it."""
    await record.create("web")
    async with record.db.transaction() as conn:
        await conn.execute("SET LOCAL statement_timeout = '60s'")
        await conn.execute(FILL, timeout=60)
    seen: list[tuple[str, tuple[object, ...]]] = []
    with logged(seen):
        for name, delete, most in KINDS:
            if name not in {"nodes", "users"}:
                async with record.db.transaction() as conn:
                    await delete(conn, most)
    assert len(seen) == len(KINDS) - 2
    found = [problem for query, arguments in seen if (problem := await scanned(record.db, query, arguments))]
    assert not found, "\n\n".join(found)


async def test_what_points_at_a_row_that_is_purged_is_found_by_an_index(record: Record) -> None:
    """Else each deleted row reads the table that points at it from end to end."""
    async with record.db.read() as conn:
        rows = await conn.fetch(
            "SELECT c.conrelid::regclass::text AS of, a.attname AS name FROM pg_constraint c"
            " JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
            " WHERE c.contype = 'f' AND c.conrelid::regclass::text = ANY($1) AND NOT EXISTS (SELECT 1 FROM pg_index i"
            " WHERE i.indrelid = c.conrelid AND i.indkey[0] = a.attnum AND (i.indpred IS NULL"
            " OR pg_get_expr(i.indpred, i.indrelid) = format('(%s IS NOT NULL)', a.attname)))",
            list(CASCADES),
        )
    assert [tuple(row) for row in rows] == []


async def test_terminated_volumes_of_a_living_service_go_and_then_their_node(record: Record) -> None:
    node, other = await Node.join(record.db, "n1"), await Node.join(record.db, "n2")
    service = await record.create()
    await volume(record, node.registration.node_id, service, hours=25)
    kept = await volume(record, other.registration.node_id, service, hours=23)
    async with record.db.transaction() as conn:
        await conn.execute(
            "UPDATE nodes SET state = 'Terminated', terminated_at = now() - interval '25 hours' WHERE id = $1",
            node.registration.node_id,
        )
    await purge_once(record.db)
    async with record.db.read() as conn:
        assert [row["id"] for row in await conn.fetch("SELECT id FROM volumes")] == [kept]
        assert [row["name"] for row in await conn.fetch("SELECT name FROM nodes")] == ["n2"]
    assert await count(record, "services") == 1


async def test_no_host_is_owed_a_copy_of_a_service_that_was_purged(record: Record) -> None:
    node = await Node.join(record.db)
    gone, here = await record.create("gone"), await record.create("here")
    for each in (gone, here):
        await record.operate(each, Verb.START)
    await record.settle(node)
    async with record.db.transaction() as conn:
        assert {of for _, of, _ in await copies.due(conn, [node.registration.node_id])} >= {gone, here}
        await conn.execute("UPDATE services SET destroyed_at = now() - interval '25 hours' WHERE id = $1", gone)
    await purge_once(record.db)
    async with record.db.read() as conn:
        due = {of for _, of, _ in await copies.due(conn, [node.registration.node_id])}
    assert here in due
    assert gone not in due


async def test_the_upgrade_of_a_database_at_work_drops_copies_that_no_host_is_ever_told(postgres: TestPostgres) -> None:
    dsn = await postgres.fresh()
    conn = await asyncpg.connect(dsn)
    await conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    code = "import sys; from app.migrate import upgrade; upgrade(sys.argv[1], revision='0013')"
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", code, dsn)
    assert await done.wait() == 0
    node, service = uuid4(), uuid4()
    await conn.execute(
        "INSERT INTO nodes (id, name, state) VALUES ($1, 'n', 'Deployed')",
        node,
    )
    await conn.execute("INSERT INTO accounts (id, username, role) VALUES ($1, 'admin', 'admin')", node)
    await conn.execute(
        "INSERT INTO services (id, account_id, name, unique_name, image_name, state, target, want, spec, deploy_gen,"
        " start_gen, subnet, created_at)"
        " VALUES ($1, $2, 'a', 'a', 'a:1', 'Running', 1, 'RUNNING', '{}', 1, 1, '10.0.0.0/24', now())",
        service,
        node,
    )
    await conn.executemany(
        "INSERT INTO copies_due (node_id, of, version) VALUES ($1, $2, 1)",
        [(node, node), (node, service), (node, uuid4())],
    )
    await asyncio.to_thread(migrate, dsn)
    rows = await conn.fetch("SELECT of FROM copies_due")
    await conn.close()
    await postgres.drop(dsn)
    assert {row["of"] for row in rows} == {node, service}
