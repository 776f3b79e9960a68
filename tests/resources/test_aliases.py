"""docker-cloud's paths (spec 5.7)."""

from __future__ import annotations

import pytest

from tests.resources.conftest import World

API = "/api/v1"


@pytest.mark.parametrize("namespace", ["", "admin/"])
async def test_the_same_objects_under_other_paths(world: World, namespace: str) -> None:
    node = await world.node()
    answer = await world.call("POST", f"/api/app/v1/{namespace}service/", json={"image": "a", "name": "web"})
    assert answer.status_code == 201
    service = answer.json()
    assert service["resource_uri"] == f"{API}/service/{service['uuid']}/"
    assert answer.headers["x-dockercloud-action-uri"] == answer.headers["x-tutum-action-uri"]
    for alias, plain in (
        (f"app/v1/{namespace}service/", "service/"),
        (f"app/v1/{namespace}service/{service['uuid']}", f"service/{service['uuid']}/"),
        (f"app/v1/{namespace}service/{service['uuid']}//trigger/", f"service/{service['uuid']}/trigger/"),
        (f"app/v1/{namespace}container/?limit=1", "container/?limit=1"),
        (f"infra/v1/{namespace}node/{node}/", f"node/{node}/"),
        (f"infra/v1/{namespace}nodecluster/", "nodecluster/"),
        (f"infra/v1/{namespace}region/", "region/"),
        (f"audit/v1/{namespace}action/", "action/"),
        (f"repo/v1/{namespace}repository/", "repository/"),
    ):
        answer = await world.call("GET", f"/api/{alias}")
        assert answer.status_code == 200, alias
        assert answer.json() == (await world.call("GET", f"{API}/{plain}")).json()


async def test_pages_lead_on_under_plain_paths(world: World) -> None:
    for name in ("a", "b"):
        await world.create(name=name)
    answer = await world.call("GET", "/api/app/v1/admin/service/?limit=1")
    assert answer.json()["meta"]["next"] == f"{API}/service/?limit=1&offset=1"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/app/v1/nobody/service/", 404),
        ("/api/app/v1/admin/node/", 404),
        ("/api/infra/v1/service/", 404),
        ("/api/other/v1/service/", 404),
        ("/api/app/v2/service/", 404),
        ("/api/app/v1/", 404),
        ("/api/app/v1/a/b/service/", 404),
        ("/api/app/v1/ADMIN/service/", 404),
    ],
)
async def test_other_paths_lead_nowhere(world: World, path: str, status: int) -> None:
    answer = await world.call("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (status, "not_found")


async def test_a_foreign_namespace_is_told_only_to_users(world: World) -> None:
    assert (await world.http.get("/api/app/v1/nobody/service/")).status_code == 401
    assert (await world.http.get("/api/app/v1/admin/service/")).status_code == 401
