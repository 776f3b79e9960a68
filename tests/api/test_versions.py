"""`ETag` and `If-Match`: a change is made of what was read, or refused and nothing is changed (I8)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.api import shown
from app.api.shown import Made
from app.openapi.table import OPERATIONS
from app.secretbox import SecretBox
from domain.access import Role
from orchestrator.store import accounts, users
from tests.api.client import API, Client, application


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


async def service(client: Client, **body: Any) -> tuple[str, str]:
    """Its URI and its tag."""
    uri = (await client.create(**body))["resource_uri"]
    return uri, (await client.call("GET", uri)).headers["etag"]


async def test_of_two_who_change_what_they_read_the_later_one_is_told(client: Client) -> None:
    uri, tag = await service(client, name="web", container_envvars=[{"key": "A", "value": "1"}])

    async def add(key: str) -> Any:
        present = (await client.call("GET", uri)).json()["container_envvars"]
        body = {"container_envvars": [*present, {"key": key, "value": "2"}]}
        await asyncio.sleep(0)
        return await client.call("PATCH", uri, json=body, headers={"If-Match": tag})

    answers = sorted([await add("B"), await add("C")], key=lambda each: int(each.status_code))
    assert [each.status_code for each in answers] == [200, 412]
    refused = answers[1].json()
    assert refused["code"] == "stale"
    new = (await client.call("GET", uri)).headers["etag"]
    assert f"its ETag is {new} now" in refused["error"]
    assert new != tag
    action = (await client.call("GET", answers[1].headers["x-tutum-action-uri"])).json()
    assert (action["action"], action["state"]) == ("Service Update", "Failed")
    shown = (await client.call("GET", uri)).json()["container_envvars"]
    assert [each["key"] for each in shown] == ["A", "B"]


async def test_an_answer_has_the_tag_of_its_own_change_though_another_came_before_it_was_sent(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, _ = await service(client)
    fresh = shown.fresh

    async def later(*args: Any) -> Any:
        monkeypatch.setattr(shown, "fresh", fresh)
        assert (await client.call("PATCH", uri, json={"nickname": "theirs"})).status_code == 200
        return await fresh(*args)

    monkeypatch.setattr(shown, "fresh", later)
    mine = await client.call("PATCH", uri, json={"target_num_containers": 2})
    assert mine.json()["nickname"] == "theirs"
    after = await client.call("PATCH", uri, json={"nickname": "mine"}, headers={"If-Match": mine.headers["etag"]})
    assert after.status_code == 412, after.text


async def test_two_at_once_with_one_tag_are_done_once(client: Client) -> None:
    uri, tag = await service(client)
    answers = await asyncio.gather(
        *(
            client.call("PATCH", uri, json={"target_num_containers": each}, headers={"If-Match": tag})
            for each in range(2, 8)
        )
    )
    assert sorted(each.status_code for each in answers) == [200, 412, 412, 412, 412, 412]


async def test_an_answer_to_a_change_has_the_tag_for_the_next_one(client: Client) -> None:
    answer = await client.call("POST", f"{API}/service/", json={"image": "a"})
    uri = answer.json()["resource_uri"]
    for count in (2, 3, 4):
        body = {"target_num_containers": count}
        answer = await client.call("PATCH", uri, json=body, headers={"If-Match": answer.headers["etag"]})
        assert answer.status_code == 200, answer.text
    answer = await client.call("DELETE", uri, headers={"If-Match": answer.headers["etag"]})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"target_num_containers": 2}),
        ("DELETE", "", None),
        ("POST", "start/", None),
        ("POST", "scale/", None),
        ("POST", "redeploy/", None),
        ("POST", "redeploy/", {"tag": "v2"}),
    ],
)
async def test_whatever_is_asked_of_a_service_can_be_of_one_version(
    client: Client, method: str, path: str, body: Any
) -> None:
    uri, tag = await service(client)
    await client.call("PATCH", uri, json={"nickname": "other"})
    before = (await client.call("GET", uri)).json()
    stale = await client.call(method, uri + path, json=body, headers={"If-Match": tag})
    assert stale.status_code == 412, stale.text
    after = (await client.call("GET", uri)).json()
    assert after | {"actions": None} == before | {"actions": None}
    new = (await client.call("GET", uri)).headers["etag"]
    ours = await client.call(method, uri + path, json=body, headers={"If-Match": f'"other", {new}'})
    assert ours.status_code != 412, ours.text


async def test_a_stack_has_the_versions_of_its_services(client: Client) -> None:
    made = await client.call("POST", f"{API}/stack/", json={"name": "s", "services": [{"name": "a", "image": "a"}]})
    uri, tag = made.json()["resource_uri"], made.headers["etag"]
    assert (await client.call("GET", uri)).headers["etag"] == tag
    member = made.json()["services"][0]
    await client.call("PATCH", member, json={"target_num_containers": 2})
    body = {"services": [{"name": "b", "image": "b"}]}
    for method, path, sent in (("PATCH", "", body), ("POST", "start/", None), ("DELETE", "", None)):
        refused = await client.call(method, uri + path, json=sent, headers={"If-Match": tag})
        assert (refused.status_code, refused.json()["code"]) == (412, "stale"), path
    assert len((await client.call("GET", uri)).json()["services"]) == 1
    export = await client.call("GET", f"{uri}export/")
    assert export.headers["etag"] == (await client.call("GET", uri)).headers["etag"]
    done = await client.call(
        "PATCH", uri, json=body, headers={"If-Match": (await client.call("GET", uri)).headers["etag"]}
    )
    assert done.status_code == 200, done.text
    assert done.headers["etag"] == (await client.call("GET", uri)).headers["etag"]


@pytest.mark.parametrize("given", ["*", " * ", 'W/"x", {tag}', "{tag} ,{tag}", "{tag},", ', "a",, {tag}'])
async def test_any_version_and_several(client: Client, given: str) -> None:
    uri, tag = await service(client)
    answer = await client.call("PATCH", uri, json={"nickname": "n"}, headers={"If-Match": given.format(tag=tag)})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("given", ["W/{tag}", '"other"', '""'])
async def test_another_version_is_refused(client: Client, given: str) -> None:
    uri, tag = await service(client)
    answer = await client.call("PATCH", uri, json={"nickname": "n"}, headers={"If-Match": given.format(tag=tag)})
    assert answer.status_code == 412, answer.text


@pytest.mark.parametrize("given", ["", ",", "x", "{bare}", '{tag} "y"', "*, {tag}"])
async def test_what_is_no_tag_is_refused_and_says_what_is(client: Client, given: str) -> None:
    uri, tag = await service(client)
    headers = {"If-Match": given.format(tag=tag, bare=tag.strip('"'))}
    answer = await client.call("PATCH", uri, json={"nickname": "n"}, headers=headers)
    assert answer.status_code == 400, answer.text
    assert "in its quotes" in answer.json()["fields"]["If-Match"]
    assert (await client.call("GET", uri)).headers["etag"] == tag


WITHOUT = [
    (method, path)
    for (method, path), row in OPERATIONS.items()
    if method != "GET" and not row.conditional(method, path) and not row.open
]


@pytest.mark.parametrize(("method", "path"), WITHOUT, ids=[" ".join(each) for each in WITHOUT])
async def test_what_has_no_versions_does_not_pass_over_one_that_is_expected(
    client: Client, method: str, path: str
) -> None:
    filled = path.replace("{uuid}", "8e03978e-40d5-43dd-bc93-6894a57f9324").replace("{name}", "n").replace("{", "")
    answer = await client.call(method, filled.replace("}", ""), headers={"If-Match": '"x"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "no_version"), answer.text


async def test_a_request_that_is_sent_again_is_answered_as_the_first_time(client: Client) -> None:
    uri, tag = await service(client)
    headers = {"If-Match": tag, "Idempotency-Key": "k"}
    first = await client.call("PATCH", uri, json={"nickname": "n"}, headers=headers)
    again = await client.call("PATCH", uri, json={"nickname": "n"}, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.headers["etag"] == first.headers["etag"] != tag


async def test_who_may_only_read_sees_the_same_tag_and_learns_nothing_of_values_by_it(client: Client) -> None:
    uri, tag = await service(client, container_envvars=[{"key": "PASSWORD", "value": "hunter2"}])
    async with client.db.transaction() as conn:
        account = await accounts.admin(conn)
        assert account is not None
        await users.add_key(conn, account.id, "reads", name="r", scope=Role.READ_ONLY, expires_in=None, by=None)
    seen = await client.http.get(uri, headers={"Authorization": "ApiKey admin:reads"})
    assert seen.headers["etag"] == tag
    assert "hunter2" not in seen.text
    # Neither by services of one's own with values that may be the same, nor by a digest that anybody can make.
    _, other = await service(client, container_envvars=[{"key": "PASSWORD", "value": "hunter2"}])
    assert other != tag
    client.app.state.secrets, client.app.state.made = SecretBox(b64encode(bytes(32)).decode()), Made()
    assert (await client.call("GET", uri)).headers["etag"] != tag
