"""Pauses: of a service, of a node, of everything. They hold, they are told, they end."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from domain.pause import Pause
from domain.service import Verb
from orchestrator.planning.explain import Reason, explain
from orchestrator.planning.view import Policy
from orchestrator.store import schedule
from tests.admin.conftest import ADMIN, Office
from tests.admin.servers import control_plane
from tests.api.client import API
from tests.harness.passes import reconcile_due
from tests.harness.told import assignments_since
from tests.harness.wait import wait_for
from tests.orchestrator.world import INSTALLATION, POLICY, Node
from tests.planning.model import START, World, a_service
from tests.planning.test_nodes import A, fleet


async def passes(office: Office) -> int:
    count = 0
    while await reconcile_due(office.db, INSTALLATION, POLICY):
        count += 1
    return count


async def settle(office: Office, *nodes: Node) -> None:
    for _ in range(60):
        did = await passes(office)
        if not any([await node.obey() for node in nodes]) and not did:
            return
    raise AssertionError("did not settle")


async def post(office: Office, path: str, code: int = 202) -> dict[str, Any]:
    answer = await office.call("POST", path)
    assert answer.status_code == code, answer.text
    out: dict[str, Any] = answer.json()
    return out


async def get(office: Office, path: str) -> dict[str, Any]:
    out: dict[str, Any] = (await office.call("GET", path)).json()
    return out


async def started(office: Office, node: Node, name: str = "web", target: int = 1) -> str:
    service = await office.create(name=name, target_num_containers=target)
    await post(office, f"{service['resource_uri']}start/")
    await settle(office, node)
    uri: str = service["resource_uri"]
    return uri


async def test_a_paused_service_gets_no_passes_and_says_so(office: Office) -> None:
    node = await Node.join(office.db)
    uri, other = await started(office, node), await started(office, node, "other")
    row = await post(office, f"{ADMIN}/service/{uri.split('/')[-2]}/pause/")
    assert row["paused"]["by"] == "admin"
    for each in (uri, other):
        await office.call("PATCH", each, json={"target_num_containers": 3})
        await post(office, f"{each}scale/")
    await settle(office, node)
    assert (await get(office, uri))["current_num_containers"] == 1
    assert (await get(office, other))["running_num_containers"] == 3
    assert (await get(office, uri))["paused"]["by"] == "admin"
    why = await get(office, f"{uri}explain/")
    assert why["paused"] == row["paused"]
    assert [slot["reason"] for slot in why["slots"]] == ["running", "paused", "paused"]
    assert "paused by admin" in why["slots"][1]["text"]
    assert "resume" in why["slots"][1]["remedy"]
    assert why["slots"][1]["since"] == row["paused"]["since"]
    (listed,) = (await get(office, f"{ADMIN}/queue/?paused=true"))["objects"]
    assert (listed["name"], listed["user"], listed["resource_uri"]) == ("web", "admin", uri)
    assert (await post(office, f"{ADMIN}/service/{uri.split('/')[-2]}/resume/"))["paused"] is None
    await settle(office, node)
    assert (await get(office, uri))["running_num_containers"] == 3
    assert (await get(office, f"{ADMIN}/queue/"))["objects"] == []


async def test_a_paused_node_is_told_nothing_and_takes_nothing(office: Office) -> None:
    first, second = await Node.join(office.db, "a"), await Node.join(office.db, "b")
    uri = await started(office, first, target=1)
    at = f"{ADMIN}/node/{first.registration.node_id}"
    assert (await post(office, f"{at}/pause/"))["paused"]["by"] == "admin"
    held = dict(first.held)
    await office.call("PATCH", uri, json={"target_num_containers": 3})
    await post(office, f"{uri}scale/")
    await settle(office, first, second)
    (mine,) = held
    shown = await get(office, uri)
    assert shown["running_num_containers"] == 3
    assert first.held == held
    await post(office, f"{API}/container/{mine}/stop/")
    await settle(office, first, second)
    # Also to an agent that begins anew: not a word, and no empty set that would mean "remove all".
    again = await Node.join(office.db, "a")
    assert await again.fetch() == []
    assert again.revision == 0
    why = (await get(office, f"{uri}explain/"))["slots"]
    assert [slot["reason"] for slot in why] == ["paused", "running", "running"]
    assert "node a is paused by admin" in why[0]["text"]
    assert ("a", "node-paused") in [(each["node"], each["reason"]) for slot in why for each in slot["placement"]]
    assert (await get(office, f"{ADMIN}/reconciler/"))["paused_nodes"] == ["a"]
    assert (await post(office, f"{at}/resume/"))["paused"] is None
    await settle(office, again, second)
    assert (await get(office, f"{API}/container/{mine}/"))["state"] == "Stopped"


async def test_when_all_nodes_are_paused_a_deployment_waits_and_does_not_fail(office: Office) -> None:
    node = await Node.join(office.db)
    at = f"{ADMIN}/node/{node.registration.node_id}"
    await post(office, f"{at}/pause/")
    service = await office.create(name="web")
    await post(office, f"{service['resource_uri']}start/")
    await settle(office, node)
    (action,) = (await get(office, f"{API}/action/?action=Service%20Start"))["objects"]
    assert action["state"] == "In progress"
    (waiting,) = (await get(office, f"{ADMIN}/queue/?blocked=true"))["objects"]
    assert "paused" in waiting["waits_for"]
    assert waiting["waits_since"] is not None
    await post(office, f"{at}/resume/")
    await settle(office, node)
    assert (await get(office, service["resource_uri"]))["state"] == "Running"


async def test_while_all_is_paused_nothing_is_due(office: Office) -> None:
    node = await Node.join(office.db)
    service = await office.create(name="web")
    shown = await post(office, f"{ADMIN}/reconciler/pause/")
    assert (shown["paused"]["by"], shown["next_look_seconds"]) == ("admin", None)
    await post(office, f"{service['resource_uri']}start/")
    assert await passes(office) == 0
    why = await get(office, f"{service['resource_uri']}explain/")
    assert [slot["reason"] for slot in why["slots"]] == ["paused"]
    shown = await get(office, f"{ADMIN}/reconciler/")
    assert (shown["due"], shown["blocked"]) == (1, 0)
    async with office.db.read() as conn:
        assert await schedule.soonest(conn) is None
    await post(office, f"{ADMIN}/reconciler/look/", 409)
    assert (await post(office, f"{ADMIN}/reconciler/resume/"))["paused"] is None
    await settle(office, node)
    assert (await get(office, service["resource_uri"]))["state"] == "Running"


async def test_a_forced_look_is_a_pass(office: Office) -> None:
    node = await Node.join(office.db)
    uri = await started(office, node)
    assert await passes(office) == 0
    for path in (
        f"{ADMIN}/service/{uri.split('/')[-2]}/look/",
        f"{ADMIN}/node/{node.registration.node_id}/look/",
        f"{ADMIN}/reconciler/look/",
    ):
        await post(office, path)
        assert await passes(office) == 1


@pytest.mark.parametrize("what", ["reconciler", "service", "node"])
async def test_each_is_an_action_and_twice_is_refused_with_the_reason(office: Office, what: str) -> None:
    node = await Node.join(office.db)
    eve = await office.hire("eve")
    service = (await office.call("POST", f"{API}/service/", headers=eve, json={"image": "a"})).json()
    at = {
        "reconciler": f"{ADMIN}/reconciler/",
        "service": f"{ADMIN}/service/{service['uuid']}/",
        "node": f"{ADMIN}/node/{node.registration.node_id}/",
    }[what]
    await post(office, f"{at}resume/", 409)
    await post(office, f"{at}pause/")
    answer = await office.call("POST", f"{at}pause/")
    assert answer.status_code == 409
    assert "paused already" in answer.json()["error"]
    await post(office, f"{at}look/", 409)
    await post(office, f"{at}resume/")
    await post(office, f"{at}look/")
    name = what.capitalize()
    assert [(each["action"], each["state"]) for each in (await office.actions())[:6]] == [
        (f"{name} Look", "Success"), (f"{name} Resume", "Success"), (f"{name} Look", "Failed"),
        (f"{name} Pause", "Failed"), (f"{name} Pause", "Success"), (f"{name} Resume", "Failed"),
    ]  # fmt: skip
    if what == "service":
        assert (await office.call("GET", service["resource_uri"], headers=eve)).json()["paused"] is None
    if what != "reconciler":
        for verb in ("pause", "resume", "look"):
            await post(office, f"{ADMIN}/{what}/{uuid4()}/{verb}/", 404)


async def test_an_image_is_asked_of_another_node_when_the_one_that_was_asked_is_paused(office: Office) -> None:
    """It is told nothing while it is paused, and so it would never answer."""
    first, second = await Node.join(office.db, "a"), await Node.join(office.db, "b")
    service = await office.create(name="web")
    await post(office, f"{service['resource_uri']}start/")
    await passes(office)
    assert len((await assignments_since(office.db, first.registration, 0)).images) == 1
    await post(office, f"{ADMIN}/node/{first.registration.node_id}/pause/")
    await passes(office)
    assert len((await assignments_since(office.db, second.registration, 0)).images) == 1


async def test_what_is_terminated_is_not_paused(office: Office) -> None:
    node = await Node.join(office.db, "n1")
    await office.call("DELETE", f"{API}/node/{node.registration.node_id}/")
    await post(office, f"{ADMIN}/node/{node.registration.node_id}/pause/", 409)
    service = await office.create(name="web")
    await office.call("DELETE", service["resource_uri"])
    await settle(office)
    await post(office, f"{ADMIN}/service/{service['uuid']}/pause/", 409)


async def test_filters_of_the_queue(office: Office) -> None:
    node = await Node.join(office.db)
    await started(office, node)
    lonely = await office.create(name="lonely", tags=[{"name": "nowhere"}])
    await post(office, f"{lonely['resource_uri']}start/")
    names = {
        query: [each["name"] for each in (await get(office, f"{ADMIN}/queue/?{query}"))["objects"]]
        for query in ("", "due=true", "blocked=true", "paused=true", "name=lonely", "user=nobody")
    }
    assert names == {
        "": ["lonely"], "due=true": ["lonely"], "blocked=true": [], "paused=true": [], "name=lonely": ["lonely"],
        "user=nobody": [],
    }  # fmt: skip
    assert (await office.call("GET", f"{ADMIN}/queue/?state=x")).status_code == 400


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.REDEPLOY, Verb.TERMINATE])
def test_an_operation_that_a_pause_holds_up_is_told_of_each_container(verb: Verb) -> None:
    world = World(a_service(), nodes=fleet(A))
    world.operate(Verb.START)
    world.run()
    world.operate(verb)
    pause = Pause(since=START, by="root")
    stories = explain(world.view(), Policy(), {}, None, pause)
    assert {story.reason for story in stories} == {Reason.PAUSED}
    assert all("it runs" in story.text for story in stories)


def test_a_pause_is_the_reason_of_what_only_passes_move_on() -> None:
    world = World(a_service(), nodes=fleet(A))
    world.operate(Verb.START)
    pause = Pause(since=START, by="root")
    for story in explain(world.view(), Policy(), {}, None, pause):
        assert (story.reason, story.since) == (Reason.PAUSED, START)
        assert "root" in story.text
        assert "being looked up" in story.text
    world.run()
    assert {story.reason for story in explain(world.view(), Policy(), {}, None, pause)} == {Reason.RUNNING}


async def test_pauses_outlive_the_process_and_work_goes_on_at_once_after_them(database_url: str) -> None:
    """Real processes: paused in one, seen by the next; what was asked meanwhile is done when it is resumed."""
    with control_plane(database_url) as first:
        assert first.api.post(f"{ADMIN}/reconciler/pause/").status == 202
        service = first.api.post(f"{API}/service/", json={"image": "a", "name": "web"}).json["resource_uri"]
        first.api.post(f"{service}start/")
        key = first.api.credentials()
        first.kill()
        with control_plane(database_url) as second:
            second.state_dir.joinpath("admin-key.json").write_text(
                f'{{"user": "{key["user"]}", "api_key": "{key["api_key"]}"}}'
            )
            shown = second.api.get(f"{ADMIN}/reconciler/").json
            assert (shown["paused"]["by"], shown["due"]) == ("admin", 1)
            await asyncio.to_thread(second.api.post, f"{ADMIN}/reconciler/resume/")
            wait_for(
                lambda: second.api.get(f"{ADMIN}/queue/?blocked=true").json["objects"] or None,
                timeout=30,
                what="the pass that finds no node",
            )
