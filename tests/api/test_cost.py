"""Nothing on a request's path or in a pass grows with all services: no statement reads a large table from end to end.

The lists of everything are left out: they count what they list. So are `/tag/` and `/registry/`, which gather over
all services by their nature.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from domain.spec import Transport
from orchestrator.planning.view import Installation, Policy
from orchestrator.store import nodes, ports
from orchestrator.store.db import Connection, Database
from tests.api.client import API, Client, application
from tests.harness.passes import reconcile_due

LARGE = ("services", "containers", "actions", "links", "volumes", "volume_groups", "stacks", "ports")
INSTALLATION = Installation(api_url="http://api.test", stream_url="ws://api.test")


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


@contextmanager
def logged(seen: list[tuple[str, tuple[Any, ...]]]) -> Iterator[None]:
    """Every statement of reads and transactions, with its arguments."""
    originals = {name: getattr(Database, name) for name in ("read", "transaction")}

    def watched(original: Any) -> Any:
        @asynccontextmanager
        async def through(db: Database) -> AsyncIterator[Connection]:
            async with original(db) as conn:
                with conn.query_logger(lambda record: seen.append((record.query, tuple(record.args or ())))):
                    yield conn
                    await asyncio.sleep(0)  # the driver tells of a statement in the loop's next turn

        return through

    for name, original in originals.items():
        setattr(Database, name, watched(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Database, name, original)


FILL = """
    INSERT INTO nodes (id, name, state) VALUES (gen_random_uuid(), 'n', 'Unreachable');
    INSERT INTO services (id, account_id, name, unique_name, image_name, state, target, want, spec, deploy_gen,
            start_gen, subnet, created_at)
        SELECT gen_random_uuid(), account_id, 'x' || n, 'x' || n, 'img' || n || ':1', state, 1, 'RUNNING', spec, 1, 1,
            '10.' || n / 250 || '.' || n % 250 || '.0/24', now()
        FROM services, generate_series(1, 3000) AS n;
    INSERT INTO containers (id, service_id, account_id, node_id, slot, name, state, spec, spec_digest, made_from,
            deploy_gen, want, start_gen, autorestart, networks, assigned_revision, created_at)
        SELECT gen_random_uuid(), s.id, s.account_id, n.id, 1, s.name || '-1', 'Stopped',
            '{"image": "a:b", "image_id": "i", "image_digest": null, "hostname": "h", "mounts": []}',
            'd', 'd', 1, 'STOP', 1, 'OFF', '[]', 0, now()
        FROM services s, nodes n WHERE s.name <> 'web';
    INSERT INTO ports (node_id, protocol, port, container_id)
        SELECT node_id, 'tcp', row_number() OVER (), id FROM containers WHERE state = 'Stopped';
    INSERT INTO links (from_service, name, to_service)
        SELECT a.id, 'l', b.id FROM services a JOIN services b ON b.unique_name = 'x' || (substr(a.name, 2)::int + 1)
        WHERE a.name <> 'web';
    INSERT INTO actions (id, account_id, service_id, verb, object_uri, state, request, start_date, end_date)
        SELECT gen_random_uuid(), account_id, id, 'Service Start', '/api/v1/service/' || id || '/', 'Success', '{}',
            now(), now() FROM services WHERE name <> 'web';
    INSERT INTO volume_groups (id, account_id, service_id, name, path)
        SELECT gen_random_uuid(), account_id, id, name, '/d' FROM services WHERE name <> 'web';
    INSERT INTO volumes (id, account_id, group_id, node_id, slot)
        SELECT gen_random_uuid(), g.account_id, g.id, n.id, 1 FROM volume_groups g, nodes n;
    INSERT INTO stacks (id, account_id, name, created_at)
        SELECT gen_random_uuid(), account_id, 'k' || n, now() FROM services, generate_series(1, 3000) AS n
        WHERE services.name = 'web';
    ANALYZE
"""
"""Thousands of services, each with container, port, volume and action, and stacks, beside the one asked for."""


async def test_no_statement_reads_a_large_table_from_end_to_end(client: Client) -> None:
    service = await client.create(name="web")
    async with client.db.transaction() as conn:
        await conn.execute("SET LOCAL statement_timeout = '60s'")
        await conn.execute(FILL, timeout=60)
    async with client.db.read() as conn:
        container = await conn.fetchval("SELECT id FROM containers LIMIT 1")
        volume = await conn.fetchval("SELECT id FROM volumes LIMIT 1")
    await client.call("POST", f"{API}/image/", json={"name": "img7"})
    uri, seen = service["resource_uri"], list[tuple[str, tuple[Any, ...]]]()
    with logged(seen):
        for method, path, body in (
            ("POST", f"{API}/service/", {"image": "a", "name": "web", "linked_to_service": [{"to_service": "x7"}]}),
            ("GET", uri, None),
            ("PATCH", uri, {"target_num_containers": 2}),
            ("POST", f"{uri}start/", None),
            ("GET", f"{API}/service/?name=x9", None),
            ("GET", f"{API}/container/{container}/", None),
            ("POST", f"{API}/container/{container}/start/", None),
            ("GET", f"{API}/action/?object={uri}&include_related=true", None),
            ("GET", f"{API}/action/?object=/api/v1/container/{container}/&include_related=true", None),
            ("GET", f"{API}/volume/{volume}/", None),
            ("GET", f"{API}/image/img7/", None),
            ("GET", f"{API}/image/img7/tag/1/", None),
            ("POST", f"{API}/stack/", {"name": "s", "services": [{"name": "a", "image": "a"}]}),
            ("GET", f"{API}/stack/?name=s", None),
        ):
            answer = await client.call(method, path, json=body)
            assert answer.status_code < 300, (method, path, answer.text)
        stack = (await client.call("GET", f"{API}/stack/?name=s")).json()["objects"][0]["resource_uri"]
        for method, path in (("POST", f"{stack}start/"), ("GET", stack)):
            assert (await client.call(method, path)).status_code < 300
        actions = (await client.call("GET", f"{API}/action/?object={stack}")).json()["objects"]
        assert (await client.call("POST", f"{actions[0]['resource_uri']}cancel/")).status_code == 202
        for _ in range(10):
            await reconcile_due(client.db, INSTALLATION, Policy())
        assert (await client.call("DELETE", stack)).status_code == 202
        other = (await client.call("GET", f"{API}/service/?name=x9")).json()["objects"][0]["resource_uri"]
        answer = await client.call("DELETE", other)
        assert answer.status_code == 202, answer.text
    found = [problem for query, arguments in seen if (problem := await scanned(client.db, query, arguments))]
    assert not found, "\n\n".join(found)


async def scanned(db: Database, query: str, arguments: tuple[Any, ...]) -> str | None:
    """The statement with the table that its plan reads from end to end; None when there is none."""
    word = query.lstrip().split(" ", 1)[0].upper()
    if word not in {"SELECT", "WITH", "UPDATE", "DELETE", "INSERT"}:
        return None
    async with db.read() as conn, conn.transaction():
        rows = await conn.fetch(f"EXPLAIN {query}", *arguments)
    plan = "\n".join(row[0] for row in rows)
    tables = [table for table in LARGE if f"Seq Scan on {table} " in plan or plan.endswith(f"Seq Scan on {table}")]
    return f"{', '.join(tables)}: {query}\n{plan}" if tables else None


@pytest.mark.parametrize("overlay", [True, False])
async def test_what_nodes_there_are_is_told_without_walking_over_all(database_url: str, overlay: bool) -> None:
    """However many are of one kind, and none of the other."""
    db = await Database.open(database_url)
    async with db.transaction() as conn:
        await conn.execute(
            "INSERT INTO nodes (id, name, state, overlay) SELECT gen_random_uuid(), 'n' || n, 'Deployed', $1"
            " FROM generate_series(1, 3000) n",
            overlay,
        )
        await conn.execute("ANALYZE nodes")
        rows = await conn.fetch(f"EXPLAIN (ANALYZE, COSTS OFF) {nodes.SAMPLE}")
    await db.close()
    plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan" not in plan, plan
    assert "Rows Removed" not in plan, plan


async def test_who_holds_a_port_is_found_by_its_number(client: Client) -> None:
    """Not by going over the nodes, one after the other, or over all that they hold."""
    await client.create(name="web")
    async with client.db.transaction() as conn:
        await conn.execute("SET LOCAL statement_timeout = '60s'")
        await conn.execute(FILL, timeout=60)
        await conn.execute(
            "INSERT INTO nodes (id, name, state) SELECT gen_random_uuid(), 'm' || n, 'Deployed'"
            " FROM generate_series(1, 3000) n;"
            " UPDATE ports SET node_id = (SELECT id FROM nodes WHERE name = 'm' || port); ANALYZE"
        )
    seen = list[tuple[str, tuple[Any, ...]]]()
    with logged(seen):
        async with client.db.read() as conn:
            assert len(await ports.ports_taken(conn, [(Transport.TCP, 7), (Transport.UDP, 7)])) == 1
    query, arguments = seen[-1]
    async with client.db.read() as conn:
        plan = "\n".join(row[0] for row in await conn.fetch(f"EXPLAIN {query}", *arguments))
    assert "ports_number" in plan, plan


async def test_containers_are_found_by_name_and_by_the_begin_of_a_uuid_without_a_look_at_the_others(
    client: Client,
) -> None:
    await client.create(name="web")
    async with client.db.transaction() as conn:
        await conn.execute("SET LOCAL statement_timeout = '60s'")
        await conn.execute(FILL, timeout=60)
        found = str(await conn.fetchval("SELECT id FROM containers WHERE name = 'x9-1'"))
    for query in ("name=x9-1", "name=x9", "unique_name=x9-1", f"uuid__startswith={found[:10]}", f"uuid__in={found}"):
        seen = list[tuple[str, tuple[Any, ...]]]()
        with logged(seen):
            answer = await client.call("GET", f"{API}/container/?{query}")
        assert [each["uuid"] for each in answer.json()["objects"]] == [found], query
        assert answer.json()["meta"]["total_count"] == 1
        pages = [each for each in seen if "FROM containers WHERE account_id = $1" in each[0]]
        assert pages, query
        for text, arguments in pages:
            async with client.db.read() as conn:
                plan = "\n".join(row[0] for row in await conn.fetch(f"EXPLAIN ANALYZE {text}", *arguments))
            assert "Seq Scan on containers" not in plan, plan
            assert "Rows Removed" not in plan, plan
    for begin, many in (
        ("", 25),
        (found, 1),
        (found[:9], 1),
        (found[:8] + "x", 0),
        (found + "0", 0),
        (found.upper(), 0),
    ):
        answer = await client.call("GET", f"{API}/container/?uuid__startswith={begin}")
        assert len(answer.json()["objects"]) == many, begin
