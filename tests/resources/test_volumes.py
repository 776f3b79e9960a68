"""Volumes and volume groups (spec 4.11)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.resources.conftest import World

API = "/api/v1"


async def test_volumes_and_groups_of_a_service(world: World) -> None:
    node, service = await world.node(), await world.create(name="mysql")
    container = await world.container(service["uuid"], node, path="/etc")
    (volume,) = (await world.call("GET", f"{API}/volume/")).json()["objects"]
    (group,) = (await world.call("GET", f"{API}/volumegroup/")).json()["objects"]
    assert volume == {
        "uuid": volume["uuid"],
        "resource_uri": f"{API}/volume/{volume['uuid']}/",
        "node": f"{API}/node/{node}/",
        "volume_group": group["resource_uri"],
        "containers": [f"{API}/container/{container}/"],
        "state": "Created",
    }
    assert group == {
        "uuid": group["uuid"],
        "resource_uri": f"{API}/volumegroup/{group['uuid']}/",
        "name": "mysql_etc",
        "services": [service["resource_uri"]],
        "volumes": [volume["resource_uri"]],
        "state": "Created",
    }
    for each in (volume, group):
        assert (await world.call("GET", each["resource_uri"])).json() == each


async def test_filters(world: World) -> None:
    node, service = await world.node(), await world.create(name="mysql")
    container = await world.container(service["uuid"], node, path="/data")
    await world.container((await world.create(name="other"))["uuid"], node, path="/data")
    (group,) = (await world.call("GET", f"{API}/volumegroup/?name=mysql_data")).json()["objects"]
    (volume,) = (await world.call("GET", f"{API}/volume/?volume_group={group['resource_uri']}")).json()["objects"]
    expected = {
        f"volume/?node={API}/node/{node}/": 2,
        f"volume/?node={uuid4()}": 0,
        f"volume/?containers={API}/container/{container}/": 1,
        "volume/?state=created": 2,
        "volume/?state=Terminated": 0,
        f"volume/?uuid__startswith={volume['uuid'][:8]}": 1,
        f"volumegroup/?services={service['resource_uri']}": 1,
        f"volumegroup/?volumes={volume['uuid']}": 1,
        "volumegroup/?name__startswith=mysql": 1,
    }
    for path, count in expected.items():
        assert (await world.call("GET", f"{API}/{path}")).json()["meta"]["total_count"] == count, path


@pytest.mark.parametrize("kind", ["volume", "volumegroup"])
async def test_what_is_not_there(world: World, kind: str) -> None:
    assert (await world.call("GET", f"{API}/{kind}/{uuid4()}/")).status_code == 404
    assert (await world.call("GET", f"{API}/{kind}/x/")).status_code == 404
    assert (await world.call("GET", f"{API}/{kind}/?foo=1")).status_code == 400
    answer = await world.call("POST", f"{API}/{kind}/", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_other_accounts_see_none(world: World) -> None:
    node, service = await world.node(), await world.create(name="mysql")
    await world.container(service["uuid"], node, path="/data")
    (volume,) = (await world.call("GET", f"{API}/volume/")).json()["objects"]
    other = await world.user("other", "k2")
    assert (await world.call("GET", f"{API}/volume/", headers=other)).json()["objects"] == []
    for path in (volume["resource_uri"], volume["volume_group"]):
        assert (await world.call("GET", path, headers=other)).status_code == 404
