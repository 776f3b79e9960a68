"""Triggers: create, list, take away (spec 4.10). Their calls are tested with the services."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.errors import NotFound
from domain.trigger import TriggerOperation
from orchestrator.store import triggers
from tests.resources.conftest import World

API = "/api/v1"


@pytest.mark.parametrize("kind", ["trigger", "webhook/handler"])
async def test_a_trigger_from_beginning_to_end(world: World, kind: str) -> None:
    service = await world.create(name="web")
    base = f"{service['resource_uri']}{kind}/"
    answer = await world.call("POST", base, json={"name": "ci", "operation": "scaleup"})
    assert answer.status_code == 201
    trigger = answer.json()
    uri = f"{service['resource_uri']}trigger/{trigger['uuid']}/"
    assert trigger == {
        "uuid": trigger["uuid"], "resource_uri": uri, "name": "ci", "operation": "SCALEUP", "url": f"{uri}call/",
    }  # fmt: skip
    assert UUID(trigger["uuid"]).version == 4
    assert (await world.call("GET", f"{base}{trigger['uuid']}/")).json() == trigger
    assert (await world.call("GET", base)).json()["objects"] == [trigger]
    gone = await world.call("DELETE", f"{base}{trigger['uuid']}/")
    assert (gone.status_code, gone.json()) == (200, trigger)
    assert (await world.call("DELETE", f"{base}{trigger['uuid']}/")).status_code == 404
    assert (await world.call("GET", base)).json()["objects"] == []
    recorded = [(each["action"], each["state"], each["object"]) for each in await world.actions()][:2]
    assert recorded == [
        ("Trigger Delete", "Success", service["resource_uri"]),
        ("Trigger Create", "Success", service["resource_uri"]),
    ]
    assert gone.headers["x-tutum-action-uri"] == (await world.actions())[0]["resource_uri"]


async def test_what_is_not_said_has_a_default(world: World) -> None:
    base = f"{(await world.create())['resource_uri']}trigger/"
    bodies: list[dict[str, Any]] = [{"content": b""}, {"json": {}}, {"json": {"name": "", "operation": None}}]
    for more in bodies:
        made = (await world.call("POST", base, **more)).json()
        assert made["operation"] == "REDEPLOY"
        assert made["name"].startswith("trigger-")
    assert (await world.call("GET", f"{base}?operation=redeploy&limit=2")).json()["meta"]["total_count"] == 3


async def test_a_list_makes_several(world: World) -> None:
    base = f"{(await world.create())['resource_uri']}webhook/handler/"
    answer = await world.call("POST", base, json=[{"name": "one"}, {"name": "two"}])
    assert answer.status_code == 201
    assert [each["name"] for each in answer.json()["objects"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"operation": "EXPLODE"}, ["operation"]),
        ({"name": 5}, ["name"]),
        ([{"name": "a"}, {"operation": "x"}], ["body[1].operation"]),
        ([], ["body"]),
        ("x", ["body"]),
    ],
)
async def test_a_bad_body_makes_none(world: World, body: Any, fields: list[str]) -> None:
    base = f"{(await world.create())['resource_uri']}trigger/"
    answer = await world.call("POST", base, json=body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, fields)
    assert await world.count("triggers") == 0
    assert (await world.actions())[0]["state"] == "Failed"


async def test_services_of_others_have_none_for_me(world: World) -> None:
    base = f"{(await world.create())['resource_uri']}trigger/"
    trigger = (await world.call("POST", base, json={})).json()
    other = await world.user("other", "k2")
    for method, path in (("GET", base), ("POST", base), ("GET", trigger["resource_uri"]),
                         ("DELETE", trigger["resource_uri"])):  # fmt: skip
        assert (await world.call(method, path, headers=other)).status_code == 404
    second = f"{(await world.create(name='b'))['resource_uri']}trigger/{trigger['uuid']}/"
    assert (await world.call("GET", second)).status_code == 404
    assert (await world.call("DELETE", second)).status_code == 404
    assert await world.count("triggers") == 1


async def test_who_calls_finds_it_without_an_account(world: World) -> None:
    service = await world.create()
    made = (await world.call("POST", f"{service['resource_uri']}trigger/", json={"operation": "SCALEUP"})).json()
    async with world.db.read() as conn:
        found = await triggers.get_by_id(conn, UUID(service["uuid"]), UUID(made["uuid"]))
        assert found.operation is TriggerOperation.SCALEUP
        with pytest.raises(NotFound):
            await triggers.get_by_id(conn, uuid4(), UUID(made["uuid"]))


async def test_its_secret_is_not_in_the_record(world: World) -> None:
    service = await world.create()
    made = (await world.call("POST", f"{service['resource_uri']}trigger/", json={"name": "ci"})).json()
    async with world.db.read() as conn:
        rows = await conn.fetch("SELECT row_to_json(a)::text AS text FROM actions a")
        events = await conn.fetch("SELECT row_to_json(e)::text AS text FROM events e")
    assert made["uuid"] not in str([row["text"] for row in (*rows, *events)])


async def test_a_trigger_of_a_service_that_is_terminated_is_none_any_more(world: World) -> None:
    service = await world.create(name="web")
    trigger = (await world.call("POST", f"{service['resource_uri']}trigger/", json={})).json()
    assert (await world.call("DELETE", service["resource_uri"])).status_code == 202
    before = len(await world.actions())
    assert (await world.http.post(trigger["url"])).status_code == 404
    assert len(await world.actions()) == before


async def test_a_trigger_of_a_user_who_may_only_read_does_nothing(world: World) -> None:
    eve = await world.user("eve", "secret")
    service = (await world.call("POST", f"{API}/service/", headers=eve, json={"image": "a"})).json()
    trigger = (await world.call("POST", f"{service['resource_uri']}trigger/", headers=eve, json={})).json()
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE accounts SET role = 'read-only' WHERE username = 'eve'")
    assert (await world.http.post(trigger["url"])).status_code == 404
