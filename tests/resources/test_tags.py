"""Tags in use, and the nested endpoints (spec 2.10, 4.4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.resources.conftest import World

API = "/api/v1"


async def place(world: World, kind: str) -> str:
    if kind == "node":
        return f"{API}/node/{await world.node()}/"
    uri: str = (await world.create(name="web"))["resource_uri"]
    return uri


async def test_tags_in_use(world: World) -> None:
    await world.create(name="a", tags=[{"name": "production"}, {"name": "web"}])
    gone = await world.create(name="b", tags=["old"])
    await world.call("DELETE", gone["resource_uri"])
    await world.call("PATCH", f"{API}/node/{await world.node()}/", json={"tags": ["web", "ssd"]})
    answer = (await world.call("GET", f"{API}/tag/")).json()
    assert [each["name"] for each in answer["objects"]] == ["production", "ssd", "web"]
    assert all(each["origin"] == "user" for each in answer["objects"])
    for query, count in {"name=web": 1, "origin=tutum": 0, "origin=user": 3, "name__startswith=s": 1}.items():
        assert (await world.call("GET", f"{API}/tag/?{query}")).json()["meta"]["total_count"] == count, query
    other = await world.user("other", "k2")
    seen = (await world.call("GET", f"{API}/tag/", headers=other)).json()["objects"]
    assert [each["name"] for each in seen] == ["ssd", "web"]  # those of the nodes


@pytest.mark.parametrize("kind", ["service", "node"])
async def test_add_and_take_away(world: World, kind: str) -> None:
    uri = await place(world, kind)
    for body, expected in (
        ([{"name": "a"}], ["a"]),
        ({"tags": [{"name": "b"}, "a"]}, ["a", "b"]),
        ({"name": "c"}, ["a", "b", "c"]),
        (["d"], ["a", "b", "c", "d"]),
    ):
        answer = await world.call("POST", f"{uri}tags/", json=body)
        assert answer.status_code == 201
        assert answer.json()["objects"] == [{"name": name} for name in expected]
        assert (await world.actions())[0]["resource_uri"] == answer.headers["x-tutum-action-uri"]
    answer = await world.call("DELETE", f"{uri}tags/b/")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await world.actions())[0]["resource_uri"] == answer.headers["x-tutum-action-uri"]
    listed = (await world.call("GET", f"{uri}tags/?limit=2")).json()
    assert (listed["objects"], listed["meta"]["total_count"]) == ([{"name": "a"}, {"name": "c"}], 3)
    assert [each["name"] for each in (await world.call("GET", uri)).json()["tags"]] == ["a", "c", "d"]
    missing = await world.call("DELETE", f"{uri}tags/b/")
    assert missing.status_code == 404
    assert "x-tutum-action-uri" not in missing.headers


@pytest.mark.parametrize("kind", ["service", "node"])
@pytest.mark.parametrize(
    "body", [None, [], {}, [{"name": "a b"}], {"tags": []}, 5, [{}], [f"t{n}" for n in range(101)]]
)
async def test_bad_tags_change_nothing(world: World, kind: str, body: Any) -> None:
    uri = await place(world, kind)
    answer = await world.call("POST", f"{uri}tags/", json=body)
    assert answer.status_code == 400
    assert next(iter(answer.json()["fields"])).startswith("tags")
    assert (await world.call("GET", f"{uri}tags/")).json()["objects"] == []


async def test_no_more_than_a_hundred(world: World) -> None:
    uri = await place(world, "service")
    assert (await world.call("POST", f"{uri}tags/", json=[f"t{n}" for n in range(99)])).status_code == 201
    assert (await world.call("POST", f"{uri}tags/", json=["x", "y"])).status_code == 400
    assert (await world.call("POST", f"{uri}tags/", json=["x", "t1"])).status_code == 201
