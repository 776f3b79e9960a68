"""Operations on single containers, one right after the other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.client import API, Client, application
from tests.harness.passes import reconcile_due
from tests.orchestrator.world import INSTALLATION, POLICY, Node


async def settle(client: Client, node: Node) -> None:
    for _ in range(60):
        done = await reconcile_due(client.db, INSTALLATION, POLICY)
        if not await node.obey() and not done:
            return
    raise AssertionError("did not settle")


async def ends(client: Client, verb: str) -> list[tuple[str, bool]]:
    answer = await client.call("GET", f"{API}/action/?action=Container%20{verb}")
    objects: list[dict[str, Any]] = answer.json()["objects"]
    return [(each["state"], each["end_date"] is not None) for each in objects]


@pytest.mark.parametrize("verb", ["start", "redeploy"])
async def test_an_order_that_is_done_ends_when_the_next_one_comes_before_a_pass(database_url: str, verb: str) -> None:
    """The next one took its place, and its action was in progress for ever (seed 29999 of the simulator)."""
    async with application(database_url) as client:
        node = await Node.join(client.db)
        service = await client.create(name="web", target_num_containers=1)
        await client.call("POST", f"{service['resource_uri']}start/")
        await settle(client, node)
        (container,) = node.held
        assert (await client.call("POST", f"{API}/container/{container}/stop/")).status_code == 202
        assert await node.obey()
        assert await ends(client, "Stop") == [("In progress", False)]
        assert (await client.call("POST", f"{API}/container/{container}/{verb}/")).status_code == 202
        assert await ends(client, "Stop") == [("Success", True)]
        await settle(client, node)
        assert await ends(client, verb.capitalize()) == [("Success", True)]
