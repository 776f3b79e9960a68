"""Nodes: what users may do to them, and what only a cloud does (spec 4.5, 4.6, 4.7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.settings import Settings
from domain.assignment import NodeReport
from domain.engine_notes import EngineSetup
from orchestrator.store import fleet, nodes, quarantines, reports
from tests.resources.conftest import ENGINE, World

API = "/api/v1"


async def shown(world: World, node: str) -> dict[str, Any]:
    found: dict[str, Any] = (await world.call("GET", f"{API}/node/{node}/")).json()
    return found


async def test_patch_sets_tags_and_nickname(world: World) -> None:
    node = await world.node()
    assert (await shown(world, node))["nickname"] == "n1"
    answer = await world.call(
        "PATCH",
        f"{API}/node/{node}/",
        json={
            "tags": [{"name": "a"}, "b", {"name": "a", "origin": "user"}],
            "nickname": "big",
            "availability_zone": "",
        },
    )
    assert answer.status_code == 200
    assert (answer.json()["tags"], answer.json()["nickname"]) == ([{"name": "a"}, {"name": "b"}], "big")
    assert await shown(world, node) == answer.json()
    (action,) = await world.actions()
    assert (action["action"], action["state"], action["object"]) == ("Node Update", "Success", f"{API}/node/{node}/")
    assert answer.headers["x-tutum-action-uri"] == action["resource_uri"]
    assert (await world.call("PATCH", f"{API}/node/{node}/", json={"tags": []})).json()["tags"] == []
    assert (await world.call("PATCH", f"{API}/node/{node}/", json={"nickname": None})).json()["nickname"] == "n1"
    assert (await world.call("PATCH", f"{API}/node/{node}/", content=b"")).status_code == 200


async def fqdn(world: World, node: str) -> str:
    """The node's outside name, by which it is found too."""
    name: str = (await shown(world, node))["external_fqdn"]
    (listed,) = (await world.call("GET", f"{API}/node/?external_fqdn={name}")).json()["objects"]
    assert (listed["uuid"], listed["external_fqdn"]) == (node, name)
    return name


async def test_the_outside_name_is_the_address_where_no_names_are_served(world: World) -> None:
    node, _ = await world.node(), await world.node("n2")
    assert await fqdn(world, node) == "n1"
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET address = '10.0.0.1' WHERE id = $1", UUID(node))
    assert await fqdn(world, node) == "10.0.0.1"
    answer = await world.call("PATCH", f"{API}/admin/node/{node}/", json={"public_ip": "192.0.2.7"})
    assert answer.json()["external_fqdn"] == await fqdn(world, node) == "192.0.2.7"
    assert (answer.json()["name"], answer.json()["nickname"]) == ("n1", "n1")


async def test_the_outside_name_is_the_callers_in_the_domain(world: World) -> None:
    world.app.state.settings = Settings(public_domain="example.test")
    node, _ = await world.node(), await world.node("n2")
    assert await fqdn(world, node) == f"{node[:8]}-admin.node.example.test"
    headers = await world.user("bob", "k")
    theirs = (await world.call("GET", f"{API}/node/{node}/", headers=headers)).json()
    assert theirs["external_fqdn"] == f"{node[:8]}-bob.node.example.test"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tags": ["a b"]}, "tags[0]"),
        ({"tags": ["a\n"]}, "tags[0]"),
        ({"tags": "a"}, "tags"),
        ({"nickname": 5}, "nickname"),
        ([], "body"),
    ],
)
async def test_a_bad_patch_changes_nothing_and_is_recorded(world: World, body: Any, field: str) -> None:
    node = await world.node()
    before = await shown(world, node)
    answer = await world.call("PATCH", f"{API}/node/{node}/", json=body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert await shown(world, node) == before
    (action,) = await world.actions()
    assert (action["action"], action["state"]) == ("Node Update", "Failed")


async def test_what_a_self_hosted_node_does_not_do(world: World) -> None:
    node = await world.node()
    answers = [
        await world.call("POST", f"{API}/node/{node}/{verb}/") for verb in ("health-check", "deploy", "docker-upgrade")
    ]
    assert [answer.status_code for answer in answers] == [202, 409, 400]
    assert answers[0].json()["uuid"] == node
    assert [each["state"] for each in await world.actions()] == ["Failed", "Failed", "Success"]
    for verb in ("health-check", "deploy", "docker-upgrade"):
        assert (await world.call("POST", f"{API}/node/{uuid4()}/{verb}/")).status_code == 404
    answer = await world.call("POST", f"{API}/node/", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_notes_on_the_engine_are_shown_once_its_agent_has_said(world: World) -> None:
    node = await world.node()
    assert (await shown(world, node))["engine_notes"] is None
    async with world.db.transaction() as conn:
        # As a release wrote it that did not know of notes.
        await conn.execute("UPDATE nodes SET engine = engine - 'setup'")
    assert (await shown(world, node))["engine_notes"] is None
    said = replace(ENGINE, setup=EngineSetup(runc="1.3.3", live_restore=False))
    async with world.db.transaction() as conn:
        await nodes.register(conn, "n1", said)
    (note,) = (await shown(world, node))["engine_notes"]
    assert (note["code"], sorted(note)) == ("no-live-restore", ["code", "remedy", "says"])
    async with world.db.transaction() as conn:
        await fleet.control_plane_up(conn, uuid4(), "wss://127.0.0.1:8801", 10)
    health = (await world.call("GET", f"{API}/admin/health/")).json()
    assert (health["nodes"][0]["engine_notes"], health["status"]) == ([note], "ok")


async def test_the_host_itself_stays_while_it_is_up(world: World) -> None:
    node = await world.node("local")
    answer = await world.call("DELETE", f"{API}/node/{node}/?force=true")
    assert answer.status_code == 409
    assert "runs on" in answer.json()["error"]
    assert (await shown(world, node))["state"] == "Deployed"


async def test_an_empty_node_goes(world: World) -> None:
    node = await world.node()
    answer = await world.call("DELETE", f"{API}/node/{node}/")
    assert (answer.status_code, answer.json()["state"]) == (202, "Terminated")
    assert (await world.call("GET", f"{API}/node/")).json()["objects"] == []
    assert (await world.call("DELETE", f"{API}/node/{node}/")).status_code == 409
    assert (await world.call("PATCH", f"{API}/node/{node}/", json={"tags": []})).status_code == 409


async def test_a_node_with_containers_goes_only_by_force(world: World) -> None:
    node, service = await world.node(), await world.create(name="web")
    container = await world.container(service["uuid"], node, path="/data")
    answer = await world.call("DELETE", f"{API}/node/{node}/")
    assert answer.status_code == 409
    assert "1 containers and 1 volumes" in answer.json()["error"]
    async with world.db.transaction() as conn:
        session = (await quarantines.telling(conn, [UUID(node)]))[UUID(node)].session
    assert (await world.call("DELETE", f"{API}/node/{node}/?force=true")).status_code == 202
    assert (await world.call("GET", f"{API}/container/{container}/")).json()["state"] == "Terminated"
    (volume,) = (await world.call("GET", f"{API}/volume/")).json()["objects"]
    assert volume["state"] == "Terminated"
    # It is listed as long as a listed container points at it.
    assert [each["uuid"] for each in (await world.call("GET", f"{API}/node/")).json()["objects"]] == [node]
    async with world.db.transaction() as conn:
        said = NodeReport(node_id=UUID(node), session=session, seq=1, applied_revision=1, engine=ENGINE)
        assert await reports.touch(conn, [said]) == {}
        assert await reports.over(conn, [said]) == {UUID(node)}  # its agent's session


async def test_volumes_alone_hold_a_node(world: World) -> None:
    node, service = await world.node(), await world.create(name="web")
    await world.end(await world.container(service["uuid"], node, path="/data"))
    assert (await world.call("DELETE", f"{API}/node/{node}/")).status_code == 409


@pytest.mark.parametrize("kind", ["provider", "region", "nodetype", "az", "nodecluster", "repository"])
async def test_there_is_no_cloud(world: World, kind: str) -> None:
    answer = await world.call("GET", f"{API}/{kind}/?name=x&limit=5")
    assert (answer.status_code, answer.json()["objects"], answer.json()["meta"]["limit"]) == (200, [], 5)
    assert (await world.call("GET", f"{API}/{kind}/digitalocean/512mb/")).status_code == 404
    assert (await world.call("GET", f"{API}/{kind}/?foo=1")).status_code == 400
    answer = await world.call("POST", f"{API}/{kind}/", json={})
    assert answer.status_code == (400 if kind == "nodecluster" else 405)
    assert "token" in answer.json()["error"] or answer.headers["allow"] == "GET, HEAD"


async def test_a_token_is_told_once_and_only_its_hash_is_kept(world: World) -> None:
    answer = await world.call("POST", f"{API}/token/", json={"uses": 2, "expires_in": 120})
    assert answer.status_code == 201
    made = answer.json()
    assert made["command"] == f"./tutela agent join wss://127.0.0.1:8801 {made['token']}"
    (action,) = await world.actions()
    assert (action["state"], action["resource_uri"]) == ("Success", answer.headers["x-tutum-action-uri"])
    secret = made["token"].rpartition("-")[2]
    async with world.db.read() as conn:
        kept = [str(row) for table in ("join_tokens", "actions") for row in await conn.fetch(f"SELECT * FROM {table}")]  # noqa: S608
    assert not any(secret in row for row in kept)
    assert "uses_left=2" in kept[0]


async def test_tokens_are_for_admins_and_within_bounds(world: World) -> None:
    for body, field in (({"uses": 0}, "uses"), ({"expires_in": 10}, "expires_in"), ([], "body")):
        answer = await world.call("POST", f"{API}/token/", json=body)
        assert answer.status_code == 400
        assert field in answer.json()["fields"]
    headers = await world.user("eve", "key")
    answer = await world.call("POST", f"{API}/token/", headers=headers)
    assert answer.status_code == 403
    assert "admin" in answer.json()["error"]


async def test_registries_are_those_of_the_images(world: World) -> None:
    await world.create(name="a", image="registry.example.com:5000/team/app:v1")
    await world.create(name="b", image="localhost:5000/app")
    objects = (await world.call("GET", f"{API}/registry/")).json()["objects"]
    assert [(each["host"], each["is_ssl"]) for each in objects] == [
        ("docker.io", True), ("localhost:5000", False), ("registry.example.com:5000", True),
    ]  # fmt: skip
    for each in objects:
        assert (await world.call("GET", each["resource_uri"])).json() == each
        listed = (await world.call("GET", f"{API}/registry/?uuid={each['uuid']}")).json()["objects"]
        assert listed == [each]
    assert (await world.call("GET", f"{API}/registry/?host=docker.io&is_tutum_registry=false")).json()["objects"]
    assert (await world.call("GET", f"{API}/registry/none/")).status_code == 404
    assert (await world.call("POST", f"{API}/registry/", json={})).status_code == 405
