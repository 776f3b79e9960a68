"""`POST redeploy/ {"tag": ...}` beside a redeployment that a PATCH began (spec 2.14 b, 2.16)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.client import API, Client, application
from tests.api.test_orders import settle
from tests.harness.passes import reconcile_due
from tests.orchestrator.world import INSTALLATION, POLICY, Node


async def running(client: Client) -> tuple[Node, str]:
    """A running service of one container, and the node that has it."""
    node = await Node.join(client.db)
    uri: str = (await client.create(name="web", image="tutum/hello-world:v1", target_num_containers=1))["resource_uri"]
    await client.call("POST", f"{uri}start/")
    await settle(client, node)
    return node, uri


async def images(client: Client) -> list[tuple[str, str]]:
    answer = await client.call("GET", f"{API}/container/")
    return [(each["image_name"], each["state"]) for each in answer.json()["objects"] if each["state"] != "Terminated"]


@pytest.mark.parametrize(
    "patch", [{"container_envvars": [{"key": "A", "value": "1"}]}, {"image": "tutum/hello-world:v2"}]
)
@pytest.mark.parametrize("looked_up", [False, True])
async def test_another_tag_takes_over_the_redeployment_of_a_patch(
    database_url: str, patch: dict[str, Any], looked_up: bool
) -> None:
    """It joined that, whose image was known or asked for already: the new one was never looked up."""
    async with application(database_url) as client:
        node, uri = await running(client)
        patched = await client.call("PATCH", uri, json=patch)
        assert patched.status_code == 202
        if looked_up:
            await reconcile_due(client.db, INSTALLATION, POLICY)
            await node.obey()
        answer = await client.call("POST", f"{uri}redeploy/?reuse_volumes=false", json={"tag": "v3"})
        assert (answer.status_code, answer.json()["state"]) == (202, "Redeploying")
        await settle(client, node)
        service = (await client.call("GET", uri)).json()
        assert (service["state"], service["image_name"]) == ("Running", "tutum/hello-world:v3")
        assert await images(client) == [("tutum/hello-world:v3", "Running")]
        for each in (patched, answer):
            action = await client.call("GET", each.headers["X-Tutum-Action-URI"])
            assert action.json()["state"] == "Success"


async def test_the_same_tag_joins_the_redeployment_of_a_patch(database_url: str) -> None:
    async with application(database_url) as client:
        node, uri = await running(client)
        await client.call("PATCH", uri, json={"container_envvars": [{"key": "A", "value": "1"}]})
        answer = await client.call("POST", f"{uri}redeploy/", json={"tag": "v1"})
        assert answer.status_code == 202
        await settle(client, node)
        assert (await client.call("GET", uri)).json()["state"] == "Running"
        async with client.db.read() as conn:
            assert await conn.fetchval("SELECT deploy_gen FROM services") == 2
            assert await conn.fetchval("SELECT count(*) FROM containers") == 2
