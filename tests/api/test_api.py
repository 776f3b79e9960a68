"""The HTTP face over a real Postgres, without an engine: authentication, errors, lists, records."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from app.limits import Limits
from app.settings import Settings
from orchestrator.store import accounts
from orchestrator.store.db import Database
from tests.api.client import API, KEY, Client, application


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"ApiKey admin:{KEY}", 200),
        (f"apikey admin:{KEY}", 200),
        (f"Basic {basic(f'admin:{KEY}')}", 200),
        (f'Basic "{basic(f"admin:{KEY}")}"', 200),
        ("ApiKey admin:wrong", 401),
        (f"ApiKey other:{KEY}", 401),
        ("Basic !!!", 401),
        ("Bearer x", 401),
        ("", 401),
    ],
)
async def test_credentials(client: Client, header: str, status: int) -> None:
    answer = await client.http.get(f"{API}/service/", headers={"Authorization": header})
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["code"] == "unauthorized"
        assert answer.headers["www-authenticate"] == "ApiKey"


OPEN = dict.fromkeys(("/health", "/healthz", "/readyz", "/openapi.json"), 200)
"""Paths without credentials. A trigger's call carries its secret in the path, so a made-up one is not found."""


async def test_every_route_but_these_needs_credentials(client: Client) -> None:
    seen = 0
    for router in client.app.state.routers:
        for route in router.routes:
            path = re.sub(r"{\w+(:\w+)?}", str(uuid4()), route.path.replace("{count}", "1"))
            expected = 404 if "/call/" in path else OPEN.get(path, 401)
            for method in route.methods - {"HEAD"}:
                answer = await client.http.request(method, path)
                seen += 1
                assert answer.status_code == expected, (method, path)
    assert seen >= 15


async def test_guessing_keys_is_slowed_down_but_never_the_owner(client: Client) -> None:
    client.app.state.limits = Limits.of(Settings(), lambda: 0.0)  # else a guess is free again after six seconds
    for _ in range(10):
        answer = await client.http.get(f"{API}/service/", headers={"Authorization": "ApiKey admin:guess"})
        assert answer.status_code == 401
    answer = await client.http.get(f"{API}/service/", headers={"Authorization": "ApiKey admin:guess"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert (await client.call("GET", f"{API}/service/")).status_code == 200


async def test_no_key_is_stored_readable(client: Client) -> None:
    async with client.db.read() as conn:
        rows = await conn.fetch("SELECT * FROM api_keys")
    assert KEY.encode() not in str([dict(row) for row in rows]).encode()


async def test_create_stores_without_deploying(client: Client) -> None:
    service = await client.create(name="my-new-app", target_num_containers=2)
    assert (service["state"], service["containers"], service["target_num_containers"]) == ("Init", [], 2)
    assert (await client.call("GET", service["resource_uri"])).json() == service
    assert await client.count("containers") == 0


@pytest.mark.parametrize("path", ["/api/v1/service", "/api/v1/service/", "/api//v1/service//", "/api/v1//service"])
async def test_slashes_as_clients_spell_them(client: Client, path: str) -> None:
    await client.create()
    answer = await client.call("GET", path)
    assert answer.status_code == 200
    assert answer.json()["meta"]["total_count"] == 1
    made = await client.call("POST", path, json={"image": "a"})
    assert made.status_code == 201


async def test_pages_keep_their_filters(client: Client) -> None:
    for n in range(5):
        await client.create(name=f"s{n}")
    answer = (await client.call("GET", f"{API}/service/?limit=2&state=init")).json()
    assert answer["meta"] == {
        "limit": 2,
        "offset": 0,
        "total_count": 5,
        "previous": None,
        "next": "/api/v1/service/?limit=2&offset=2&state=init",
    }
    names = [each["name"] for each in answer["objects"]]
    while answer["meta"]["next"]:
        answer = (await client.call("GET", answer["meta"]["next"])).json()
        names += [each["name"] for each in answer["objects"]]
    assert names == ["s0", "s1", "s2", "s3", "s4"]
    assert answer["meta"]["previous"] == "/api/v1/service/?limit=2&offset=2&state=init"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=web", {"web"}),
        ("name__in=web,db", {"web", "db"}),
        ("name__startswith=w", {"web"}),
        ("unique_name__contains=e", {"web"}),
        ("state=Init", {"web", "db"}),
        ("state=", {"web", "db"}),
        ("state=Running", set()),
        ("page=3", {"web", "db"}),
        ("limit=500", {"web", "db"}),
    ],
)
async def test_filters(client: Client, query: str, names: set[str]) -> None:
    for name in ("web", "db"):
        await client.create(name=name)
    answer = await client.call("GET", f"{API}/service/?{query}")
    assert {each["name"] for each in answer.json()["objects"]} == names


async def test_lookup_by_the_beginning_of_a_uuid(client: Client) -> None:
    service = await client.create()
    answer = await client.call("GET", f"{API}/service/?uuid__startswith={service['uuid'][:8]}")
    assert [each["uuid"] for each in answer.json()["objects"]] == [service["uuid"]]


@pytest.mark.parametrize(
    ("path", "field", "said"),
    [
        ("service/?nme=web", "nme", "is no filter here"),
        ("service/?name__like=web", "name__like", "is no filter here"),
        ("service/?state=Happy", "state", "one of Init, Starting, Running"),
        ("service/?" + "&name=a" * 21, "name", "a list takes 20"),
        ("service/?limit=0", "limit", "a whole number from 1"),
        ("service/?limit=x", "limit", "a whole number from 1"),
        ("service/?offset=-1", "offset", "a whole number from 0"),
        ("service/?uuid=xyz", "uuid", "must be a uuid, not xyz"),
        ("container/?service=nope", "service", "the URI of a service"),
        ("container/?colour=red", "colour", "is no filter here"),
        ("action/?start_date__gte=yesterday", "start_date__gte", "a date such as 2026-11-25"),
        (
            "action/?start_date__gte=1 Oct 99999999999999999 1:01",
            "start_date__gte",
            "a date such as 2026-11-25",
        ),
        ("node/?foo=1", "foo", "is no filter here"),
    ],
)
async def test_a_bad_query_is_refused_with_its_field_and_says_what_fits(
    client: Client, path: str, field: str, said: str
) -> None:
    answer = await client.call("GET", f"{API}/{path}")
    assert answer.status_code == 400
    assert said in answer.json()["fields"][field]


HOSTILE = [
    b"{",
    b"[]",
    b'"x"',
    b"nonsense",
    b"\xff\xfe",
    b'{"image": "a", "image": "b"}',
    b'{"image": NaN}',
    b'{"image": "a", "target_num_containers": 1e999}',
    b'{"image": "a", "target_num_containers": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"image": "a", "x": ' + b"[" * 40 + b"]" * 40 + b"}",
    b'{"image": "a\\u0000b"}',
    b'{"image": "a", "name": "\\ud800"}',
    b'{"image": "a", "nickname": "\\ud800"}',
    b'{"image": "a", "container_envvars": [{"key": "A", "value": "\\udfff"}]}',
    b'{"image": "a", "container_envvars": [{"key": "\\udfff", "value": ""}]}',
    b'{"image": "a", "linked_to_service": [{"to_service": "\\udfff"}]}',
    json.dumps({"image": "a", "container_envvars": [{"key": "A", "value": "x" * 1_000_000}]}).encode(),
    json.dumps({"image": "a", "container_envvars": [{"key": "A", "value": "a\x00b"}]}).encode(),
    json.dumps({"image": "a", "container_envvars": [{"key": f"K{n}", "value": ""} for n in range(10_000)]}).encode(),
    b'{"image": "a"}' + b" " * (2 * 1024 * 1024),
]


@pytest.mark.parametrize("raw", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_bodies_are_refused_and_change_nothing(client: Client, raw: bytes) -> None:
    answer = await client.call("POST", f"{API}/service/", content=raw, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]
    assert await client.count() == 0


async def test_a_body_without_a_length_is_limited_too(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    answer = await client.call("POST", f"{API}/service/", content=endless())
    assert answer.status_code == 413
    assert await client.count() == 0


@pytest.mark.parametrize("query", ["name=%00", "uuid__startswith=%00", "name=%ff", "state=%00", "name=" + "x" * 5000])
async def test_odd_bytes_in_a_query_are_no_error_of_ours(client: Client, query: str) -> None:
    assert (await client.call("GET", f"{API}/service/?{query}")).status_code in {200, 400}


async def test_links_that_lead_nowhere(client: Client) -> None:
    web = await client.create(name="web")
    for target, text in [
        (str(uuid4()), "there is no service"),
        ("nobody", "there is no service"),
        ("/api/v1/service/x/", "there is no service"),
    ]:
        answer = await client.call(
            "POST", f"{API}/service/", json={"image": "a", "linked_to_service": [{"to_service": target}]}
        )
        assert answer.status_code == 400
        assert text in answer.json()["fields"]["linked_to_service[0].to_service"]
    own = await client.call("PATCH", web["resource_uri"], json={"linked_to_service": [{"to_service": "web"}]})
    assert own.status_code == 400
    assert await client.count() == 1


@pytest.mark.parametrize(("one", "other"), [("db", "DB"), ("my-db", "my_db"), ("db", "db")])
async def test_two_links_whose_variables_would_be_the_same_are_refused(client: Client, one: str, other: str) -> None:
    db = await client.create(name="db")
    links = [{"to_service": db["resource_uri"], "name": name} for name in (one, other)]
    answer = await client.call("POST", f"{API}/service/", json={"image": "a", "linked_to_service": links})
    assert answer.status_code == 400
    assert "have one prefix" in answer.json()["fields"]["linked_to_service[1].name"]
    assert await client.count() == 1


async def test_links_are_shown_from_both_sides_and_go_with_their_target(client: Client) -> None:
    db = await client.create(name="db")
    web = await client.create(name="web", linked_to_service=[{"to_service": db["resource_uri"], "name": "DB"}])
    link = {"name": "DB", "from_service": web["resource_uri"], "to_service": db["resource_uri"]}
    assert web["linked_to_service"] == [link]
    assert (await client.call("GET", db["resource_uri"])).json()["linked_from_service"] == [link]
    assert (await client.call("DELETE", db["resource_uri"])).status_code == 202
    assert (await client.call("GET", web["resource_uri"])).json()["linked_to_service"] == []


async def test_an_accepted_operation_is_recorded_and_shown(client: Client) -> None:
    service = await client.create(name="web", container_envvars=[{"key": "SECRET", "value": "canary-7"}])
    answer = await client.call("POST", f"{service['resource_uri']}start/", headers={"User-Agent": "test/1"})
    assert answer.status_code == 202
    assert answer.json()["state"] == "Starting"
    uri = answer.headers["x-tutum-action-uri"]
    action = (await client.call("GET", uri)).json()
    assert action["action"] == "Service Start"
    assert (action["state"], action["object"]) == ("In progress", service["resource_uri"])
    assert (action["method"], action["path"], action["user_agent"]) == (
        "POST",
        f"{service['resource_uri']}start/",
        "test/1",
    )
    assert uri in (await client.call("GET", service["resource_uri"])).json()["actions"]
    listed = (await client.call("GET", f"{API}/action/?object={service['resource_uri']}")).json()["objects"]
    assert [each["action"] for each in listed] == ["Service Start", "Service Create"]
    assert "canary-7" not in json.dumps(listed)


async def test_a_refused_operation_says_why_and_leaves_a_failed_action(client: Client) -> None:
    service = await client.create()
    for verb in ("stop", "redeploy"):
        answer = await client.call("POST", f"{service['resource_uri']}{verb}/")
        assert answer.status_code == 409
        assert answer.json()["error"].startswith(f"Service is in state Init: {verb} is not allowed")
        action = (await client.call("GET", answer.headers["x-tutum-action-uri"])).json()
        assert action["state"] == "Failed"
    assert (await client.call("GET", service["resource_uri"])).json()["state"] == "Init"


async def test_nothing_is_allowed_while_starting_but_patch(client: Client) -> None:
    service = await client.create()
    uri = service["resource_uri"]
    assert (await client.call("POST", f"{uri}start/")).status_code == 202
    for verb in ("start", "stop", "redeploy", "scale"):
        assert (await client.call("POST", f"{uri}{verb}/")).status_code == 409
    assert (await client.call("DELETE", uri)).status_code == 409
    patched = await client.call("PATCH", uri, json={"target_num_containers": 3})
    assert patched.status_code == 202
    assert (patched.json()["state"], patched.json()["target_num_containers"]) == ("Starting", 3)
    tagged = await client.call("PATCH", uri, json={"tags": [{"name": "blue"}]})
    assert tagged.status_code == 200
    assert tagged.json()["tags"] == [{"name": "blue"}]


async def test_patch_without_effect_is_200_and_a_success(client: Client) -> None:
    service = await client.create()
    for body in ({}, {"target_num_containers": 1}, {"state": "Running"}):
        answer = await client.call("PATCH", service["resource_uri"], json=body)
        assert answer.status_code == 200
        action = (await client.call("GET", answer.headers["x-tutum-action-uri"])).json()
        assert action["state"] == "Success"


async def test_terminate_of_a_service_that_never_ran(client: Client) -> None:
    service = await client.create()
    answer = await client.call("DELETE", service["resource_uri"])
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["target_num_containers"]) == ("Terminating", 0)
    assert (await client.call("DELETE", service["resource_uri"])).status_code == 409


@pytest.mark.parametrize("kind", ["service", "container", "action", "node"])
async def test_unknown_objects(client: Client, kind: str) -> None:
    for ident in (str(uuid4()), "no-uuid"):
        answer = await client.call("GET", f"{API}/{kind}/{ident}/")
        assert answer.status_code == 404
        assert answer.json()["error"]


async def test_a_name_in_the_place_of_a_uuid_is_told_how_it_is_found(client: Client) -> None:
    made = await client.create(name="web")
    answer = await client.call("GET", f"{API}/service/web/")
    assert answer.status_code == 404
    path = answer.json()["error"].split("; ")[1].removesuffix(" finds it")
    assert [each["uuid"] for each in (await client.call("GET", path)).json()["objects"]] == [made["uuid"]]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "service/", "GET, HEAD, POST"),
        ("PUT", "service/{}/", "DELETE, GET, HEAD, PATCH"),
        ("GET", "service/{}/start/", "POST"),
        ("POST", "container/", "GET, HEAD"),
        ("PATCH", "container/{}/", "DELETE, GET, HEAD"),
        ("POST", "node/", "GET, HEAD"),
        ("DELETE", "action/{}/", "GET, HEAD"),
    ],
)
async def test_wrong_methods_say_which_are_right(client: Client, method: str, path: str, allow: str) -> None:
    answer = await client.call(method, f"{API}/{path.format(uuid4())}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == allow
    assert allow in answer.json()["error"]


async def test_unknown_paths(client: Client) -> None:
    for path in ("/", "/api/v1/", "/api/v1/nothing/", "/docs"):
        answer = await client.call("GET", path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"


async def test_bodies_are_taken_whatever_the_content_type(client: Client) -> None:
    answer = await client.call(
        "POST", f"{API}/service/", content=b'{"image": "a"}', headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 201
    uri = answer.json()["resource_uri"]
    for content in (b"", b"{}"):
        started = await client.call(
            "POST", f"{uri}start/", content=content, headers={"Content-Type": "application/json"}
        )
        assert started.status_code in {202, 409}
    assert (await client.call("GET", uri, content=b"{}")).status_code == 200


async def test_auth_shows_who_one_is(client: Client) -> None:
    answer = (await client.call("GET", f"{API}/auth/")).json()
    assert answer["objects"] == [{"username": "admin", "key": KEY}]


async def test_other_accounts_see_nothing(client: Client) -> None:
    service = await client.create()
    async with client.db.transaction() as conn:
        other = uuid4()
        await conn.execute("INSERT INTO accounts (id, username, role) VALUES ($1, 'eve', 'member')", other)
        await accounts.add_key(conn, other, "eves", "test")
    eve = {"Authorization": "ApiKey eve:eves"}
    for method, path in [
        ("GET", service["resource_uri"]),
        ("PATCH", service["resource_uri"]),
        ("DELETE", service["resource_uri"]),
        ("POST", f"{service['resource_uri']}start/"),
        ("GET", f"{service['resource_uri']}logs/"),
        ("GET", service["actions"][0]),
    ]:
        assert (await client.http.request(method, path, headers=eve)).status_code == 404, (method, path)
    for kind in ("service", "container", "action"):
        listed = (await client.http.get(f"{API}/{kind}/", headers=eve)).json()
        assert listed["objects"] == [] or kind == "action"
    body = {"image": "a", "linked_to_service": [{"to_service": service["resource_uri"]}]}
    answer = await client.http.post(f"{API}/service/", json=body, headers=eve)
    assert answer.status_code == 400


async def test_a_list_costs_the_same_number_of_statements_whatever_its_size(client: Client) -> None:
    async def statements() -> int:
        queries: list[object] = []
        original = Database.read

        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def counted(db: Database) -> AsyncIterator[Any]:
            async with original(db) as conn:
                with conn.query_logger(queries.append):
                    yield conn
                    await asyncio.sleep(0)  # the driver tells of a statement in the loop's next turn

        Database.read = counted  # type: ignore[method-assign, assignment]
        try:
            assert (await client.call("GET", f"{API}/service/?limit=100")).status_code == 200
        finally:
            Database.read = original  # type: ignore[method-assign]
        return len(queries)

    await client.create()
    few = await statements()
    for n in range(20):
        await client.create(name=f"s{n}")
    assert await statements() == few
    assert few <= 8


async def test_of_stacks_of_one_name_that_are_made_at_once_one_is_made(client: Client) -> None:
    for number in range(5):
        body = {"name": f"Shop{number}", "services": [{"name": "web", "image": "a"}]}
        answers = await asyncio.gather(*(client.call("POST", f"{API}/stack/", json=body) for _ in range(3)))
        assert sorted(each.status_code for each in answers) == [201, 409, 409]
        texts = {each.json()["error"] for each in answers if each.status_code == 409}
        assert all("update it, or choose another name" in text for text in texts), texts
