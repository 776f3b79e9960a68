"""How many containers are decoded where few of a service's, or none, are of interest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from orchestrator import making
from orchestrator.planning.steps import CreateContainer
from orchestrator.store import containers
from tests.api.client import API, Client, application
from tests.api.test_orders import settle
from tests.orchestrator.world import Node

BODY = {"name": "web", "image": "a:1", "target_num_containers": 6}


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """The containers that are made from rows."""
    seen, of_row = list[UUID](), containers.of_row

    def watched(row: Any) -> Any:
        seen.append(row["id"])
        return of_row(row)

    monkeypatch.setattr(containers, "of_row", watched)
    return seen


async def started(client: Client) -> tuple[str, str, Node, Node]:
    """A stack with a service of six containers, its one service, and the two nodes that have three each."""
    one, other = await Node.join(client.db, "one"), await Node.join(client.db, "other")
    answer = await client.call("POST", f"{API}/stack/", json={"name": "shop", "services": [BODY]})
    stack, (service,) = answer.json()["resource_uri"], answer.json()["services"]
    assert (await client.call("POST", f"{stack}start/")).status_code == 202
    await settled(client, one, other)
    assert (len(one.held), len(other.held)) == (3, 3)
    return stack, service, one, other


async def settled(client: Client, one: Node, other: Node) -> None:
    for _ in range(5):
        await settle(client, one)
        await settle(client, other)


async def test_a_stack_is_shown_without_a_container_being_read(client: Client, decoded: list[UUID]) -> None:
    stack, _, one, _ = await started(client)
    first, *_ = one.held

    async def shown() -> bool:
        decoded.clear()
        answer = await client.call("GET", stack)
        assert answer.status_code == 200, answer.text
        assert decoded == []
        return bool(answer.json()["synchronized"])

    async def change(what: str) -> None:
        async with client.db.transaction() as conn:
            await conn.execute(f"UPDATE containers SET {what} WHERE id = $1", first)  # noqa: S608 - one of those below

    assert await shown()
    await change("deploy_gen = deploy_gen - 1")
    assert not await shown()
    await change("leaving = true")
    assert await shown()
    await change("leaving = false, deploy_gen = deploy_gen + 1, made_from = 'another'")
    assert not await shown()
    await change("terminated_at = now()")
    assert await shown()


async def test_a_node_is_taken_out_by_its_own_containers(client: Client, decoded: list[UUID]) -> None:
    _, service, one, other = await started(client)
    decoded.clear()
    answer = await client.call("DELETE", f"{API}/node/{other.registration.node_id}/?force=true")
    assert answer.status_code == 202, answer.text
    assert set(decoded) == set(other.held)
    left = (await client.call("GET", f"{API}/container/?service={service}")).json()["objects"]
    # What is wanted is followed, and then forgotten, by the next pass.
    states = {each["uuid"]: each["state"] for each in left}
    assert {each for each, state in states.items() if state == "Terminating"} == {str(each) for each in other.held}
    assert {each for each, state in states.items() if state == "Running"} == {str(each) for each in one.held}
    for _ in range(5):
        await settle(client, one)
    left = (await client.call("GET", f"{API}/container/?service={service}&state=Running")).json()["objects"]
    assert {each["uuid"] for each in left} == {str(each) for each in one.held}, "without being asked for"
    assert len(left) == 6


async def test_mounts_of_another_service_are_read_from_its_containers_on_the_node(
    client: Client, decoded: list[UUID]
) -> None:
    _, service, one, _ = await started(client)
    node = one.registration.node_id
    step = CreateContainer(slot=9, node_id=node, cause="a test", successor_of=None, verdicts=())
    async with client.db.read() as conn:
        decoded.clear()
        mounts = await making._of_service(conn, UUID(service.rstrip("/").rsplit("/", 1)[1]), step)
    assert mounts == ()
    assert set(decoded) == set(one.held)
