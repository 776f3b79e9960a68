"""How many statements a request makes, on a real Postgres: reads never more for more objects, hosts or links.

BEGIN and COMMIT are not counted. The table is in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.api.shown import Made
from domain.access import Role
from orchestrator.store import accounts
from tests.api.client import API, KEY, Client, application
from tests.api.test_cost import logged

FILL = """
    INSERT INTO nodes (id, name, state, overlay)
        SELECT gen_random_uuid(), 'n' || n, 'Deployed', n % 2 = 0 FROM generate_series(1, 10) AS n;
    INSERT INTO containers (id, service_id, account_id, node_id, slot, name, state, spec, spec_digest, made_from,
            deploy_gen, want, start_gen, autorestart, networks, assigned_revision, created_at)
        SELECT gen_random_uuid(), s.id, s.account_id, n.id, 1, s.name || '-1', 'Running',
            '{"image": "a:b", "image_id": "i", "image_digest": null, "hostname": "h", "mounts": []}',
            'd', 'd', 1, 'RUN', 1, 'OFF', '[]', 0, now()
        FROM services s JOIN nodes n ON n.name = 'n' || substr(s.name, 2)::int % 10 + 1
"""


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


async def statements(client: Client, method: str, path: str, body: Any = None, expected: int = 200) -> int:
    """How many the request makes."""
    seen = list[tuple[str, tuple[Any, ...]]]()
    with logged(seen):
        answer = await client.call(method, path, json=body)
    assert answer.status_code == expected, answer.text
    return len(seen)


async def fill(client: Client, count: int) -> str:
    """So many services, each with a link to the first and a container; the URI of the last."""
    uri = (await client.create(name="s0"))["resource_uri"]
    for number in range(1, count):
        links = [{"to_service": uri, "name": "first"}]
        last = await client.create(name=f"s{number}", linked_to_service=links)
    async with client.db.transaction() as conn:
        await conn.execute(FILL)
    found: str = last["resource_uri"]
    return found


async def test_reads(client: Client) -> None:
    uri = await fill(client, 100)
    assert await statements(client, "GET", f"{API}/provider/") == 1, "who asks"
    assert await statements(client, "GET", uri) == 2, "who asks with the version, all of it"
    assert await statements(client, "GET", uri) == 1, "who asks with the version"
    for limit in (1, 25, 100):
        path = f"{API}/service/?limit={limit}"
        client.app.state.made = Made()
        assert await statements(client, "GET", path) == 2, "who asks with the page, all of it"
        assert await statements(client, "GET", path) == 1, "who asks with the page"
    container = (await client.call("GET", f"{API}/container/?limit=1&offset=1")).json()["objects"][0]["resource_uri"]
    assert await statements(client, "GET", container) == 6
    for limit, counted in ((1, 1), (25, 1), (100, 0)):
        assert await statements(client, "GET", f"{API}/container/?limit={limit}") == 6 + counted


async def test_changes(client: Client) -> None:
    """Who asks, its lock, its containers and the clock; the action, the audit, the service, the look, the quota where
    it may grow; all of it for the answer."""
    uri = await fill(client, 3)
    await client.call("PATCH", uri, json={"nickname": "warm"})
    assert await statements(client, "POST", f"{API}/service/", {"image": "a", "name": "web"}, 201) == 9
    assert await statements(client, "PATCH", uri, {"target_num_containers": 2}) == 10
    assert await statements(client, "PATCH", uri, {"autorestart": "ALWAYS"}) == 9
    assert await statements(client, "POST", f"{uri}start/", None, 202) == 10


async def test_a_representation_is_made_once_and_never_old(client: Client) -> None:
    """Whatever it is derived from may change: the next answer shows it."""
    uri = await fill(client, 2)
    first = (await client.call("GET", f"{API}/service/?name=s0")).json()["objects"][0]["resource_uri"]

    async def change(statement: str, uri: str = uri) -> tuple[Any, Any]:
        """What is shown before and after."""
        before = (await client.call("GET", uri)).json()
        async with client.db.transaction() as conn:
            await conn.execute(statement)
        after = (await client.call("GET", uri)).json()
        listed = (await client.call("GET", f"{API}/service/?uuid={uri.split('/')[-2]}")).json()["objects"]
        assert listed == [after]
        assert before != after, statement
        return before, after

    await change("UPDATE services SET target = 7 WHERE name = 's1'")
    await change('UPDATE containers SET state = \'Running\', seen = \'{"state": "RUNNING", "start_gen": 1}\'')
    await change("UPDATE containers SET terminated_at = now() - interval '2 hours' WHERE name = 's1-1'")
    await change(
        "INSERT INTO actions (id, account_id, service_id, verb, object_uri, state, request, start_date)"
        " SELECT gen_random_uuid(), account_id, id, 'Service Start', '/x/', 'Success', '{}', now() FROM services"
    )
    await change("DELETE FROM actions WHERE object_uri = '/x/'")
    _, after = await change("UPDATE nodes SET overlay = true; UPDATE services SET want = 'RUNNING'")
    assert after["link_form"] == "overlay"
    _, after = await change("DELETE FROM links", first)
    assert after["linked_from_service"] == []


async def test_hosts_of_links(client: Client) -> None:
    """Of one host all is near; a second one, and whether it is in the overlay, shows at once."""
    uri = (await client.create(name="web"))["resource_uri"]
    insert = "INSERT INTO nodes (id, name, state, overlay) VALUES (gen_random_uuid(), $1, 'Deployed', $2)"
    shown = [(await client.call("GET", uri)).json()["link_form"]]
    for name, overlay in (("a", True), ("b", True), ("c", False)):
        async with client.db.transaction() as conn:
            await conn.execute(insert, name, overlay)
        shown.append((await client.call("GET", uri)).json()["link_form"])
    async with client.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET state = 'Terminated' WHERE name = 'c'")
    shown.append((await client.call("GET", uri)).json()["link_form"])
    assert shown == ["bridge", "bridge", "overlay", "ports", "overlay"]


async def test_who_may_only_read_sees_no_values_though_they_were_made_for_others(client: Client) -> None:
    body = {"name": "web", "container_envvars": [{"key": "A", "value": "secret"}]}
    uri = (await client.create(**body))["resource_uri"]
    async with client.db.transaction() as conn:
        account = await accounts.admin(conn)
        assert account is not None
        await conn.execute(
            "INSERT INTO api_keys (key_hash, account_id, name, scope) VALUES ($1, $2, 'reads', $3)",
            accounts.key_hash("reads"),
            account.id,
            Role.READ_ONLY.value,
        )
    for _ in range(2):
        for key, sees in ((KEY, True), ("reads", False)):
            answer = await client.http.get(uri, headers={"Authorization": f"ApiKey admin:{key}"})
            assert ("secret" in answer.text) is sees
    async with client.db.transaction() as conn:
        await conn.execute("DELETE FROM api_keys WHERE name = 'reads'")
    answer = await client.http.get(uri, headers={"Authorization": "ApiKey admin:reads"})
    assert answer.status_code == 401, "what is taken away ends at once"
