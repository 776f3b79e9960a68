"""A refusal with 400 or 409 is a Failed action, and the answer's header names it (spec 1.11)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.api.test_orders import settle
from tests.orchestrator.world import Node
from tests.resources.conftest import World

API = "/api/v1"


async def refused(world: World, method: str, path: str, **more: Any) -> tuple[int, str, str]:
    """The answer's code, and verb and object of the action that its headers name; it is all that was recorded."""
    before = {each["uuid"] for each in await world.actions()}
    answer = await world.call(method, path, **more)
    uri = answer.headers["X-Tutum-Action-URI"]
    assert answer.headers["X-DockerCloud-Action-URI"] == uri
    found = await world.call("GET", uri)
    assert found.status_code == 200, (path, answer.text)
    action = found.json()
    assert (action["state"], action["end_date"] is not None) == ("Failed", True)
    assert {each["uuid"] for each in await world.actions()} - before == {action["uuid"]}
    return answer.status_code, action["action"], action["object"]


async def test_a_service_is_not_changed(world: World) -> None:
    uri = (await world.create())["resource_uri"]
    redeploy = f"{uri}redeploy/"
    for method, path, more, verb in (
        ("PATCH", uri, {"content": b"{"}, "Service Update"),
        ("POST", redeploy, {"content": b"{"}, "Service Redeploy"),
        ("POST", redeploy, {"json": {"tag": 1}}, "Service Redeploy"),
        ("POST", f"{redeploy}?reuse_volumes=maybe", {}, "Service Redeploy"),
    ):
        assert await refused(world, method, path, **more) == (400, verb, uri)


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", ""), ("POST", "redeploy/"), ("POST", "tags/"), ("POST", "trigger/")]
)
async def test_what_was_not_done_to_anything_is_not_recorded(world: World, method: str, path: str) -> None:
    await world.create()
    theirs = await world.user("other", "k2")
    before = await world.actions()
    uri = (await world.call("POST", f"{API}/service/", json={"image": "a"}, headers=theirs)).json()["resource_uri"]
    for service in (f"{API}/service/{uuid4()}/", uri):
        answer = await world.call(method, f"{service}{path}", content=b"{")
        assert (answer.status_code, answer.headers.get("X-Tutum-Action-URI")) == (404, None)
    assert await world.actions() == before


async def test_a_flag_that_is_neither_true_nor_false(world: World) -> None:
    node, service = await world.node(), (await world.create())["uuid"]
    stack = (await world.call("POST", f"{API}/stack/", json={"name": "shop"})).json()["resource_uri"]
    container = f"{API}/container/{await world.container(service, node)}/"
    for method, uri, path, verb in (
        ("POST", container, "redeploy/?reuse_volumes=maybe", "Container Redeploy"),
        ("DELETE", container, "?reuse_volumes=maybe", "Container Terminate"),
        ("POST", stack, "redeploy/?reuse_volumes=maybe", "Stack Redeploy"),
        ("DELETE", f"{API}/node/{node}/", "?force=maybe", "Node Terminate"),
    ):
        assert await refused(world, method, f"{uri}{path}") == (400, verb, uri)


async def test_cancel_and_retry(world: World) -> None:
    node = await Node.join(world.db)
    uri = (await world.create())["resource_uri"]

    async def action_of(method: str, path: str) -> str:
        begun: str = (await world.call(method, path)).headers["X-Tutum-Action-URI"]
        return begun

    start = await action_of("POST", f"{uri}start/")
    assert await refused(world, "POST", f"{start}retry/") == (409, "Action Retry", start)
    await settle(world, node)
    assert await refused(world, "POST", f"{start}cancel/") == (409, "Action Cancel", start)
    update = await action_of("PATCH", f"{uri}?x")
    assert await refused(world, "POST", f"{update}retry/") == (409, "Action Retry", update)
    # What the repeated operation refuses is its own.
    assert await refused(world, "POST", f"{start}retry/") == (409, "Service Start", uri)
    end = await action_of("DELETE", uri)
    assert await refused(world, "POST", f"{end}cancel/") == (409, "Action Cancel", end)
    failed = await action_of("POST", f"{end}cancel/")
    assert await refused(world, "POST", f"{failed}retry/") == (409, "Action Retry", failed)
    unknown = await world.call("POST", f"{API}/action/{uuid4()}/cancel/")
    assert (unknown.status_code, unknown.headers.get("X-Tutum-Action-URI")) == (404, None)


async def test_a_termination_of_one_container_is_not_canceled_nor_a_stack_for_one_of_its_services(
    world: World,
) -> None:
    node = await Node.join(world.db)
    stack = {"name": "s", "services": [{"name": "a", "image": "a"}, {"name": "b", "image": "b"}]}
    made = (await world.call("POST", f"{API}/stack/", json=stack)).json()
    start = (await world.call("POST", f"{made['resource_uri']}start/")).headers["X-Tutum-Action-URI"]
    patched = await world.call("PATCH", made["services"][0], json={"target_num_containers": 2})
    canceled = await world.call("POST", f"{patched.headers['X-Tutum-Action-URI']}cancel/")
    assert canceled.json()["state"] == "Canceled"
    assert (await world.call("GET", start)).json()["state"] == "In progress", "the other service works for it"
    await settle(world, node)
    ended = (await world.call("GET", start)).json()
    assert ended["state"] == "Failed"
    (container, *_) = (await world.call("GET", f"{API}/container/?service={made['services'][1]}")).json()["objects"]
    end = (await world.call("DELETE", container["resource_uri"])).headers["X-Tutum-Action-URI"]
    assert await refused(world, "POST", f"{end}cancel/") == (409, "Action Cancel", end)


async def test_a_redeployment_with_fresh_volumes_is_not_repeated_from_its_record(world: World) -> None:
    node = await Node.join(world.db)
    uri = (await world.create())["resource_uri"]
    await world.call("POST", f"{uri}start/")
    await settle(world, node)
    for query, code in (("?reuse_volumes=false", 409), ("", 202)):
        done = (await world.call("POST", f"{uri}redeploy/{query}")).headers["X-Tutum-Action-URI"]
        await settle(world, node)
        assert (await world.call("POST", f"{done}retry/")).status_code == code
        await settle(world, node)


async def test_the_repetition_of_what_was_done_to_something_that_is_gone(world: World) -> None:
    stack = (await world.call("POST", f"{API}/stack/", json={"name": "shop"})).json()["resource_uri"]
    start = (await world.call("POST", f"{stack}start/")).headers["X-Tutum-Action-URI"]
    async with world.db.transaction() as conn:
        await conn.execute("DELETE FROM stacks")
    assert await refused(world, "POST", f"{start}retry/") == (409, "Action Retry", start)


async def test_a_call_of_a_trigger(world: World) -> None:
    uri = (await world.create())["resource_uri"]
    body = {"name": "ci", "operation": "scaleup"}
    trigger = (await world.call("POST", f"{uri}trigger/", json=body)).json()
    for path, content in (("", b"x" * (64 * 1024 + 1)), ("0/", b""), ("many/", b"")):
        assert await refused(world, "POST", f"{trigger['url']}{path}", content=content) == (400, "Service Scale", uri)
    async with world.db.read() as conn:
        assert (
            await conn.fetchval("SELECT count(*) FROM actions WHERE request::text LIKE $1", f"%{trigger['uuid']}%") == 0
        )
