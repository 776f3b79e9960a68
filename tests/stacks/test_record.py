"""Stacks over HTTP and a real Postgres, without an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.client import API, Client, application

SHOP = {
    "name": "shop",
    "services": [
        {"name": "web", "image": "tutum/hello-world", "links": ["db:mysql"], "ports": ["80:80"], "restart": "always"},
        {"name": "db", "image": "mysql:5.6", "environment": {"B": "2"}},
    ],
}


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


async def made(client: Client, **changes: Any) -> dict[str, Any]:
    answer = await client.call("POST", f"{API}/stack/", json={**SHOP, **changes})
    assert answer.status_code == 201, answer.text
    out: dict[str, Any] = answer.json()
    return out


async def get(client: Client, uri: str) -> dict[str, Any]:
    answer = await client.call("GET", uri)
    assert answer.status_code == 200, answer.text
    out: dict[str, Any] = answer.json()
    return out


async def test_a_created_stack_deploys_nothing(client: Client) -> None:
    stack = await made(client)
    assert (stack["name"], stack["nickname"], stack["state"]) == ("shop", "shop", "Not running")
    assert (stack["synchronized"], stack["deployed_datetime"], stack["destroyed_datetime"]) == (True, None, None)
    web, db = [await get(client, uri) for uri in stack["services"]]
    assert (web["name"], web["unique_name"], web["stack"], web["state"]) == (
        "web",
        "web",
        stack["resource_uri"],
        "Init",
    )
    assert web["linked_to_service"] == [
        {"name": "mysql", "from_service": web["resource_uri"], "to_service": db["resource_uri"]}
    ]
    assert (web["autorestart"], db["container_envvars"]) == ("ALWAYS", [{"key": "B", "value": "2"}])
    (action,) = (await get(client, f"{API}/action/?object={stack['resource_uri']}"))["objects"]
    assert (action["action"], action["state"]) == ("Stack Create", "Success")


@pytest.mark.parametrize("default", [None, ""])
async def test_a_nickname_stays_when_it_is_not_given_and_goes_when_it_is_null(
    client: Client, default: str | None
) -> None:
    stack = await made(client, nickname="the shop")
    for body, nickname in ({}, "the shop"), ({"nickname": default}, "shop"), ({"nickname": "x"}, "x"):
        answer = await client.call("PATCH", stack["resource_uri"], json=body)
        assert (answer.status_code, answer.json()["nickname"]) == (200, nickname)
    assert (await made(client, name="other", nickname=default))["nickname"] == "other"


async def test_an_event_of_a_stack_has_the_state_that_the_stack_is_in(client: Client) -> None:
    """And not the last operation's, which may have ended long ago (spec 4.12)."""
    stack = await made(client)
    uri = stack["resource_uri"]
    assert (await client.call("POST", f"{uri}start/")).status_code == 202
    async with client.db.transaction() as conn:
        await conn.execute("UPDATE actions SET state = 'Success', end_date = now() WHERE end_date IS NULL")
        await conn.execute("UPDATE services SET operation = NULL, want = 'RUNNING', state = 'Running'")
    assert (await client.call("PATCH", uri, json={"nickname": "x"})).status_code == 200
    async with client.db.read() as conn:
        rows = await conn.fetch("SELECT state FROM events WHERE type = 'stack' ORDER BY xid, id")
    assert [row["state"] for row in rows] == ["Not running", "Starting", "Running"]
    assert (await get(client, uri))["state"] == "Running"


async def test_names_are_unique_inside_a_stack_and_found_there_first(client: Client) -> None:
    await client.create(name="db")
    stack = await made(client)
    other = await made(client, name="other")
    for each in (stack, other):
        web, db = [await get(client, uri) for uri in each["services"]]
        assert db["unique_name"] == "db"
        assert web["linked_to_service"][0]["to_service"] == db["resource_uri"]
    answer = await client.call("POST", f"{API}/stack/", json=SHOP)
    assert answer.status_code == 409
    assert "shop" in answer.json()["error"]
    client_of_both = await client.create(name="c", linked_to_service=[{"to_service": "web.other", "name": "w"}])
    assert client_of_both["linked_to_service"][0]["to_service"] == other["services"][0]


async def test_a_name_that_services_of_two_other_stacks_have_is_refused(client: Client) -> None:
    """Spec 2.8: an ambiguous service name is 400, for links and for `volumes_from` of a stack's file."""
    for name in ("shop", "other"):
        await made(client, name=name)
    link = [{"to_service": "db", "name": "d"}]
    answer = await client.call("POST", f"{API}/service/", json={"image": "a", "linked_to_service": link})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["linked_to_service[0].to_service"])
    assert "name.stack" in answer.json()["error"]
    for key in ("links", "volumes_from"):
        body = {"name": "third", "services": [{"name": "a", "image": "a", key: ["db"]}]}
        answer = await client.call("POST", f"{API}/stack/", json=body)
        assert answer.status_code == 400, answer.text
        (complaint,) = answer.json()["fields"].values()
        assert "several services are called db" in complaint
    one = await made(client, name="third", services=[{"name": "a", "image": "a", "links": ["db.other"]}])
    assert len((await get(client, one["services"][0]))["linked_to_service"]) == 1
    outside = await client.create(name="db")
    found = await client.create(name="c", linked_to_service=link)
    assert found["linked_to_service"][0]["to_service"] == outside["resource_uri"]


async def test_links_may_go_round_in_a_circle(client: Client) -> None:
    services = [{"name": "a", "image": "a", "links": ["b"]}, {"name": "b", "image": "b", "links": ["a"]}]
    stack = await made(client, services=services)
    a, b = [await get(client, uri) for uri in stack["services"]]
    assert a["linked_from_service"][0]["from_service"] == b["resource_uri"]


async def test_every_complaint_is_collected_and_nothing_is_stored(client: Client) -> None:
    services: list[dict[str, Any]] = [
        {"name": "a", "image": "A B", "links": ["nobody"]},
        {"name": "b", "image": "b", "memory": 1},
        {"name": "c", "image": "c", "volumes_from": ["nobody"]},
    ]
    answer = await client.call("POST", f"{API}/stack/", json={"name": "bad", "services": services[:2]})
    assert answer.status_code == 400
    assert set(answer.json()["fields"]) == {"services[0].image", "services[1].memory"}
    services[0]["image"], services[1]["memory"] = "a", 64
    answer = await client.call("POST", f"{API}/stack/", json={"name": "bad", "services": services})
    assert set(answer.json()["fields"]) == {
        "services[0].linked_to_service[0].to_service",
        "services[2].bindings[0].volumes_from",
    }
    assert (await client.count("stacks"), await client.count("services")) == (0, 0)


async def test_update_makes_changes_and_leaves(client: Client) -> None:
    stack = await made(client)
    services = [{"name": "db", "environment": {"B": "3"}}, {"name": "cache", "image": "redis", "links": ["db"]}]
    answer = await client.call("PATCH", stack["resource_uri"], json={"services": services, "nickname": "My shop"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["nickname"] == "My shop"
    web, db, cache = [await get(client, uri) for uri in answer.json()["services"]]
    assert (web["name"], cache["name"], cache["state"]) == ("web", "cache", "Init")
    assert db["container_envvars"] == [{"key": "B", "value": "3"}]
    assert db["image_name"] == "mysql:5.6"
    refused = await client.call("PATCH", stack["resource_uri"], json={"name": "else"})
    assert refused.status_code == 400


async def test_export_and_create_again(client: Client) -> None:
    stack = await made(client)
    exported = await get(client, f"{stack['resource_uri']}export/")
    assert exported == {
        "web": {
            "image": "tutum/hello-world:latest",
            "links": ["db:mysql"],
            "ports": ["80:80"],
            "restart": "always",
        },
        "db": {"image": "mysql:5.6", "environment": {"B": "2"}},
    }
    services = [{"name": name, **keys} for name, keys in exported.items()]
    again = await made(client, name="again", services=services)
    assert await get(client, f"{again['resource_uri']}export/") == exported


async def test_an_operation_that_is_not_allowed_is_refused_and_recorded(client: Client) -> None:
    stack = await made(client)
    for verb in ("stop", "redeploy"):
        answer = await client.call("POST", f"{stack['resource_uri']}{verb}/")
        assert answer.status_code == 409
        assert "Stack is in state Not running" in answer.json()["error"]
        action = await get(client, answer.headers["x-tutum-action-uri"])
        assert (action["state"], action["object"]) == ("Failed", stack["resource_uri"])


async def test_start_shows_and_waits_in_order(client: Client) -> None:
    stack = await made(client)
    answer = await client.call("POST", f"{stack['resource_uri']}start/")
    assert (answer.status_code, answer.json()["state"]) == (202, "Starting")
    assert answer.json()["deployed_datetime"] is not None
    action = await get(client, answer.headers["x-tutum-action-uri"])
    assert (action["action"], action["state"]) == ("Stack Start", "In progress")
    assert {(await get(client, uri))["state"] for uri in stack["services"]} == {"Starting"}
    canceled = await client.call("POST", f"{action['resource_uri']}cancel/")
    assert canceled.json()["state"] == "Canceled"
    assert (await get(client, stack["resource_uri"]))["state"] == "Not running"


async def test_terminate_drops_links_from_outside_and_frees_the_name(client: Client) -> None:
    stack = await made(client)
    outside = await client.create(name="out", linked_to_service=[{"to_service": stack["services"][1], "name": "d"}])
    answer = await client.call("DELETE", stack["resource_uri"])
    assert (answer.status_code, answer.json()["state"]) == (202, "Terminating")
    assert (await get(client, outside["resource_uri"]))["linked_to_service"] == []
    again = await made(client)
    assert again["uuid"] != stack["uuid"]
    assert (await client.call("DELETE", stack["resource_uri"])).status_code == 409


async def test_a_stack_without_services_starts_and_ends_at_once(client: Client) -> None:
    stack = await made(client, services=[])
    answer = await client.call("POST", f"{stack['resource_uri']}start/")
    assert (await get(client, answer.headers["x-tutum-action-uri"]))["state"] == "Success"
    assert (await client.call("DELETE", stack["resource_uri"])).status_code == 202
    assert (await get(client, stack["resource_uri"]))["state"] == "Terminated"


async def test_lists_and_filters(client: Client) -> None:
    stacks = [await made(client, name=f"s{n}", services=[]) for n in range(3)]
    listed = (await get(client, f"{API}/stack/?name=s1"))["objects"]
    assert [each["uuid"] for each in listed] == [stacks[1]["uuid"]]
    found = await get(client, f"{API}/stack/?state=Not running&limit=2")
    assert (found["meta"]["total_count"], len(found["objects"])) == (3, 2)
    assert (await get(client, f"{API}/stack/?state=Running"))["meta"]["total_count"] == 0
    assert (await get(client, f"{API}/stack/?uuid__startswith={stacks[0]['uuid'][:8]}"))["meta"]["total_count"] == 1
    assert (await client.call("GET", f"{API}/stack/?state=Gone")).status_code == 400
    service = await client.create(name="alone")
    assert (await get(client, f"{API}/service/?stack__name=s1"))["objects"] == []
    assert service["stack"] is None


async def listed(client: Client, query: str = "") -> list[tuple[str, str]]:
    objects = (await get(client, f"{API}/stack/?{query}"))["objects"]
    return [(each["uuid"], each["state"]) for each in objects]


async def test_a_stack_that_lives_hides_those_before_it_in_look_ups_by_name(client: Client) -> None:
    """Spec 1.9: else re-creating it gives two hits, at which the command line stops."""
    first = await made(client, services=[])
    await client.call("DELETE", first["resource_uri"])
    over = (first["uuid"], "Terminated")
    assert await listed(client, "name=shop") == [over]
    second = await made(client, services=[])
    await made(client, name="workshop", services=[])
    there = (second["uuid"], "Not running")
    assert await listed(client, "name=shop") == [there]
    assert await listed(client, "name__startswith=sh") == [there]
    assert await listed(client, "name=shop&state=terminated") == [over]
    assert await listed(client, f"name=shop&uuid={first['uuid']}") == [over]
    assert over in await listed(client)
    assert (await get(client, f"{API}/stack/?name=shop"))["meta"]["total_count"] == 1


async def test_a_stack_shows_for_an_hour_after_its_last_service(client: Client) -> None:
    stack = await made(client)
    await client.call("DELETE", stack["resource_uri"])

    async def later(table: str, change: str) -> None:
        async with client.db.transaction() as conn:
            await conn.execute(f"UPDATE {table} SET {change}")  # noqa: S608 - a test's constants

    await later("stacks", "terminated_at = now() - interval '2 hours'")
    assert await listed(client) == [(stack["uuid"], "Terminating")]
    await later("services", "destroyed_at = now() - interval '50 minutes', state = 'Terminated'")
    assert await listed(client) == [(stack["uuid"], "Terminated")]
    await later("services", "destroyed_at = now() - interval '61 minutes'")
    assert await listed(client) == []


async def test_volumes_of_a_stack_may_go_together_but_not_from_under_others(client: Client) -> None:
    services = [{"name": "db", "image": "a", "volumes": ["/d"]}, {"name": "b", "image": "a", "volumes_from": ["db"]}]
    stack = await made(client, services=services)
    outside = await client.create(name="out", bindings=[{"volumes_from": stack["services"][0]}])
    refused = await client.call("DELETE", stack["resource_uri"])
    assert refused.status_code == 409
    assert "out" in refused.json()["error"]
    await client.call("DELETE", outside["resource_uri"])
    assert (await client.call("DELETE", stack["resource_uri"])).status_code == 202


async def test_an_operation_is_refused_while_a_service_of_it_is_at_something_else(client: Client) -> None:
    """It would be left as it is, and the action would say Success."""
    stack = await made(client)
    web, _ = stack["services"]
    async with client.db.transaction() as conn:
        await conn.execute("UPDATE services SET want = 'RUNNING', target = 0")
    await client.call("PATCH", web, json={"target_num_containers": 2})
    for verb in ("stop", "redeploy"):
        answer = await client.call("POST", f"{stack['resource_uri']}{verb}/")
        assert answer.status_code == 409, answer.text
    (newest, *_) = (await get(client, f"{API}/action/?object={stack['resource_uri']}"))["objects"]
    assert newest["state"] == "Failed"


async def test_what_cannot_be_changed_names_its_place_in_the_stack(client: Client) -> None:
    stack = await made(client, services=[{"name": "a", "image": "a"},
                                         {"name": "b", "image": "b", "deployment_strategy": "EVERY_NODE"}])  # fmt: skip
    body = {"services": [{"name": "a", "image": "", "run_command": "x"}, {"name": "b", "target_num_containers": 3}]}
    answer = await client.call("PATCH", stack["resource_uri"], json=body)
    assert answer.status_code == 400
    body = {"services": [{"name": "a", "run_command": "x"}, {"name": "b", "target_num_containers": 3}]}
    answer = await client.call("PATCH", stack["resource_uri"], json=body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["services[1].target_num_containers"])
