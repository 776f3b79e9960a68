"""What operators do with nodes, and the answers to "why" (issue: many hosts)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.assignment import ContainerReport, NodeReport
from domain.container import Observed, Seen
from orchestrator.planning.view import Installation, Policy
from orchestrator.store import accounts, drains, nodes
from orchestrator.store.db import now
from tests.harness.passes import reconcile_due
from tests.orchestrator.world import record_one
from tests.resources.conftest import ENGINE, World

API = "/api/v1"
INSTALLATION = Installation(api_url="http://api.test", stream_url="ws://api.test")


async def passes(world: World, rounds: int = 12) -> None:
    for _ in range(rounds):
        await reconcile_due(world.db, INSTALLATION, Policy())


class Hands:
    """The agents of the nodes, by hand: they do what is wanted at once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seq = 0
        self.session: dict[str, int] = {}

    async def join(self, name: str) -> str:
        async with self.world.db.transaction() as conn:
            node_id, self.session[str(node_id)] = await nodes.register(conn, name, ENGINE)
        return str(node_id)

    async def obey(self, *node_ids: str) -> None:
        for node_id in node_ids:
            async with self.world.db.transaction() as conn:
                rows = await conn.fetch(
                    "SELECT id, want, start_gen FROM containers WHERE node_id = $1 AND terminated_at IS NULL",
                    UUID(node_id),
                )
                await conn.execute(
                    "UPDATE image_requests SET answered_at = now(), image ="
                    ' \'{"reference": "tutela/web:latest", "image_id": "sha256:1"}\' WHERE node_id = $1',
                    UUID(node_id),
                )
            state = {"RUN": Seen.RUNNING, "STOP": Seen.EXITED, "GONE": Seen.GONE}
            self.seq += 1
            await record_one(
                self.world.db,
                NodeReport(
                    node_id=UUID(node_id),
                    session=self.session[node_id],
                    seq=self.seq,
                    applied_revision=0,
                    engine=ENGINE,
                    containers=tuple(
                        ContainerReport(
                            container_id=row["id"],
                            observed=Observed(state=state[row["want"]], start_gen=row["start_gen"], exit_code=0),
                        )
                        for row in rows
                    ),
                ),
            )

    async def settle(self, *node_ids: str) -> None:
        for _ in range(6):
            async with self.world.db.transaction() as conn:
                await conn.execute("UPDATE services SET look_at = now() WHERE destroyed_at IS NULL")
            await passes(self.world, 4)
            await self.obey(*node_ids)
        await passes(self.world, 4)


async def service(world: World, **more: Any) -> str:
    body = {"image": "tutela/web:latest", "name": "web", **more}
    answer = await world.call("POST", f"{API}/service/", json=body)
    assert answer.status_code == 201, answer.text
    uri: str = answer.json()["resource_uri"]
    return uri


async def where(world: World, uri: str) -> dict[str, list[str]]:
    """Names of the service's containers that hold their slots, by node."""
    shown = (await world.call("GET", uri)).json()
    out: dict[str, list[str]] = {}
    for each in shown["containers"]:
        container = (await world.call("GET", each)).json()
        out.setdefault(container["node"].split("/")[-2], []).append(container["name"])
    return out


async def test_a_drain_is_an_action_that_ends_when_the_node_is_empty(world: World) -> None:
    hands = Hands(world)
    a, b = await hands.join("a"), await hands.join("b")
    uri = await service(world, target_num_containers=4)
    await world.call("POST", f"{uri}start/")
    await hands.settle(a, b)
    assert {node: len(names) for node, names in (await where(world, uri)).items()} == {a: 2, b: 2}
    answer = await world.call("POST", f"{API}/admin/node/{b}/drain/")
    assert (answer.status_code, answer.json()["cordoned"], answer.json()["draining"]) == (202, True, True)
    action = answer.headers["x-tutum-action-uri"]
    assert (await world.call("GET", action)).json()["state"] == "In progress"
    again = await world.call("POST", f"{API}/admin/node/{b}/drain/")
    assert (again.status_code, "being drained already" in again.json()["error"]) == (409, True)
    await hands.settle(a, b)
    assert {node: len(names) for node, names in (await where(world, uri)).items()} == {a: 4}
    ended = (await world.call("GET", action)).json()
    assert (ended["state"], ended["action"]) == ("Success", "Node Drain")
    shown = (await world.call("GET", f"{API}/node/{b}/")).json()
    assert (shown["cordoned"], shown["draining"], shown["current_num_containers"]) == (True, False, 0)
    async with world.db.read() as conn:
        assert [(node.name, node.live) for node in await nodes.everyone(conn)] == [("a", 4), ("b", 0)]


async def test_a_drain_of_an_empty_node_ends_at_once_and_uncordon_takes_it_back(world: World) -> None:
    hands = Hands(world)
    a = await hands.join("a")
    answer = await world.call("POST", f"{API}/admin/node/{a}/drain/")
    assert (await world.call("GET", answer.headers["x-tutum-action-uri"])).json()["state"] == "Success"
    uri = await service(world)
    await world.call("POST", f"{uri}start/")
    await hands.settle(a)
    why = (await world.call("GET", f"{uri}explain/")).json()
    assert [(slot["reason"], slot["placement"][0]["reason"]) for slot in why["slots"]] == [("no-node", "node-cordoned")]
    assert "uncordon the node" in why["slots"][0]["remedy"]
    (action,) = (await world.call("GET", f"{API}/action/?object={uri}&action=Service Start")).json()["objects"]
    assert (action["state"], "node a is cordoned" in action["message"]) == ("Failed", True)
    assert (await world.call("POST", f"{API}/admin/node/{a}/uncordon/")).json()["cordoned"] is False
    await world.call("POST", f"{uri}start/")
    await hands.settle(a)
    assert (await world.call("GET", uri)).json()["state"] == "Running"


async def test_a_drain_says_what_has_to_stay(world: World) -> None:
    hands = Hands(world)
    a, b = await hands.join("a"), await hands.join("b")
    uri = await service(world, bindings=[{"container_path": "/data"}], target_num_containers=2)
    await world.call("POST", f"{uri}start/")
    await hands.settle(a, b)
    (stays,) = (await where(world, uri))[b]
    answer = await world.call("POST", f"{API}/admin/node/{b}/drain/")
    ended = (await world.call("GET", answer.headers["x-tutum-action-uri"])).json()
    assert ended["state"] == "Failed"
    assert stays in ended["message"]
    await hands.settle(a, b)
    assert (await where(world, uri))[b] == [stays]


async def test_a_drain_can_be_canceled(world: World) -> None:
    hands = Hands(world)
    a = await hands.join("a")
    uri = await service(world)
    await world.call("POST", f"{uri}start/")
    await hands.settle(a)
    answer = await world.call("POST", f"{API}/admin/node/{a}/drain/")
    action = answer.headers["x-tutum-action-uri"]
    async with world.db.transaction() as conn:
        known = await accounts.by_name(conn, "admin")
        assert known is not None
        await conn.execute(
            "INSERT INTO api_keys (key_hash, account_id, name, scope) VALUES ($1, $2, 'lesser', 'member')",
            accounts.key_hash("lesser"),
            known.principal.account.id,
        )
    lesser = {"Authorization": "ApiKey admin:lesser"}
    assert (await world.call("POST", f"{action}cancel/", headers=lesser)).status_code == 409
    assert (await world.call("GET", f"{API}/node/{a}/")).json()["draining"]
    assert (await world.call("POST", f"{action}cancel/")).json()["state"] == "Canceled"
    shown = (await world.call("GET", f"{API}/node/{a}/")).json()
    assert (shown["draining"], shown["cordoned"]) == (False, True)
    await hands.settle(a)
    assert (await world.call("GET", uri)).json()["state"] == "Running"


async def test_a_silent_node_is_told_with_its_containers_and_replaced_after_its_time(world: World) -> None:
    hands = Hands(world)
    a, b = await hands.join("a"), await hands.join("b")
    uri = await service(world, target_num_containers=2, autoreplace="ALWAYS", lost_after=300)
    await world.call("POST", f"{uri}start/")
    await hands.settle(a, b)
    async with world.db.transaction() as conn:
        await conn.execute(
            "UPDATE nodes SET state = 'Unreachable', last_seen = now() - interval '20 s' WHERE id = $1", UUID(b)
        )
    await hands.settle(a)
    assert len((await where(world, uri))[b]) == 1
    why = (await world.call("GET", f"{uri}explain/")).json()
    (away,) = [slot for slot in why["slots"] if slot["node"] == "b"]
    assert (away["reason"], away["wanted"]) == ("node-unreachable", "running")
    assert "filled elsewhere from" in away["text"]
    ours = [(await world.call("GET", each)).json() for each in (await world.call("GET", uri)).json()["containers"]]
    (lost,) = [each for each in ours if each["node"].endswith(f"/{b}/")]
    assert lost["stale"] is True
    assert lost["last_seen"] is not None
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET last_seen = now() - interval '301 s' WHERE id = $1", UUID(b))
    await hands.settle(a)
    assert {node: len(names) for node, names in (await where(world, uri)).items()} == {a: 2}
    shown = (await world.call("GET", uri)).json()
    assert (shown["state"], shown["current_num_containers"], shown["running_num_containers"]) == ("Running", 2, 2)
    assert (await world.call("GET", lost["resource_uri"])).json()["state"] == "Terminating"
    async with world.db.transaction() as conn:
        await conn.execute("UPDATE nodes SET state = 'Deployed', last_seen = now() WHERE id = $1", UUID(b))
    await hands.settle(a, b)
    assert (await world.call("GET", lost["resource_uri"])).json()["state"] == "Terminated"


async def test_a_service_for_every_node_is_not_scaled_by_hand(world: World) -> None:
    hands = Hands(world)
    a, b = await hands.join("a"), await hands.join("b")
    uri = await service(world, deployment_strategy="EVERY_NODE")
    await world.call("POST", f"{uri}start/")
    await hands.settle(a, b)
    shown = (await world.call("GET", uri)).json()
    assert (shown["target_num_containers"], shown["running_num_containers"], shown["state"]) == (2, 2, "Running")
    for body, field in (
        ({"target_num_containers": 5}, "target_num_containers"),
        ({"deployment_strategy": "HIGH_AVAILABILITY"}, "deployment_strategy"),
    ):
        answer = await world.call("PATCH", uri, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert (await world.call("PATCH", uri, json={"target_num_containers": 2})).status_code in {200, 202}
    assert (await world.call("POST", f"{uri}scale/")).status_code == 400
    c = await hands.join("c")
    await hands.settle(a, b, c)
    assert (await world.call("GET", uri)).json()["running_num_containers"] == 3


async def test_reservations_are_counted_and_given_back(world: World) -> None:
    hands = Hands(world)
    a = await hands.join("a")
    uri = await service(world, memory=900, target_num_containers=3)
    await world.call("POST", f"{uri}start/")
    await hands.settle(a)
    shown = (await world.call("GET", uri)).json()
    assert (shown["state"], shown["running_num_containers"]) == ("Partly running", 2)
    (action,) = (await world.call("GET", f"{API}/action/?object={uri}&action=Service Start")).json()["objects"]
    assert (action["state"], "248 MB of memory" in action["message"]) == ("Failed", True)
    assert (await world.call("DELETE", uri)).status_code == 202
    await hands.settle(a)
    async with world.db.read() as conn:
        (node,) = await nodes.everyone(conn)
    assert (node.live, node.reserved_memory) == (0, 0)


@pytest.mark.parametrize(
    ("body", "field"), [({"name": "-x"}, "name"), ({"name": "a b"}, "name"), ({"public_ip": "host"}, "public_ip")]
)
async def test_a_bad_name_or_address_is_refused(world: World, body: dict[str, str], field: str) -> None:
    node = await world.node()
    answer = await world.call("PATCH", f"{API}/admin/node/{node}/", json=body)
    assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])


async def test_a_node_is_renamed_and_given_an_address(world: World) -> None:
    node, other = await world.node("a"), await world.node("b")
    answer = await world.call("PATCH", f"{API}/admin/node/{node}/", json={"name": "big.one", "public_ip": "192.0.2.7"})
    assert (answer.json()["name"], answer.json()["public_ip"]) == ("big.one", "192.0.2.7")
    taken = await world.call("PATCH", f"{API}/admin/node/{other}/", json={"name": "big.one"})
    assert (taken.status_code, taken.json()["error"]) == (409, "another node has that name")


async def test_starts_that_fail_make_a_node_come_last(world: World) -> None:
    hands = Hands(world)
    a, b = await hands.join("a"), await hands.join("b")
    for name in ("x", "y"):
        uri = await service(world, name=name, target_num_containers=6)
        await world.call("POST", f"{uri}start/")
    await passes(world)
    async with world.db.transaction() as conn:
        await conn.execute(
            "UPDATE image_requests SET answered_at = now(), image ="
            ' \'{"reference": "tutela/web:latest", "image_id": "sha256:1"}\''
        )
        await conn.execute("UPDATE services SET look_at = now()")
    await passes(world)
    async with world.db.read() as conn:
        rows = await conn.fetch("SELECT id, start_gen FROM containers WHERE node_id = $1", UUID(a))
    assert len(rows) == 6
    hands.seq += 1
    failed = tuple(
        ContainerReport(
            container_id=row["id"], observed=Observed(state=Seen.FAILED, start_gen=row["start_gen"], message="broken")
        )
        for row in rows
    )
    report = NodeReport(
        node_id=UUID(a), session=hands.session[a], seq=hands.seq, applied_revision=0, engine=ENGINE, containers=failed
    )
    await record_one(world.db, report)
    uri = await service(world, name="z", target_num_containers=2)
    await world.call("POST", f"{uri}start/")
    await passes(world)
    async with world.db.transaction() as conn:
        await conn.execute(
            "UPDATE image_requests SET answered_at = now(), image ="
            ' \'{"reference": "tutela/web:latest", "image_id": "sha256:1"}\''
        )
        await conn.execute("UPDATE services SET look_at = now()")
    await passes(world)
    assert list(await where(world, uri)) == [b]
    why = (await world.call("GET", f"{uri}explain/")).json()
    verdicts = {each["node"]: each for each in why["slots"][0]["placement"]}
    assert verdicts["b"]["taken"]
    assert "comes last: 6 starts failed there within 5 minutes, last broken" in verdicts["a"]["text"]


async def test_a_drain_that_cannot_be_done_ends_after_its_time(world: World) -> None:
    hands = Hands(world)
    a = await hands.join("a")
    uri = await service(world)
    await world.call("POST", f"{uri}start/")
    await hands.settle(a)
    action = (await world.call("POST", f"{API}/admin/node/{a}/drain/")).headers["x-tutum-action-uri"]
    await hands.settle(a)
    why = (await world.call("GET", f"{uri}explain/")).json()
    assert "web-1: there is no other node" in why["waits_for"]
    async with world.db.transaction() as conn:
        await drains.give_up(conn, 10, await now(conn))
        assert (await conn.fetchval("SELECT count(*) FROM nodes WHERE drain_action IS NOT NULL")) == 1
        await drains.give_up(conn, 10, await now(conn) + timedelta(minutes=11))
    ended = (await world.call("GET", action)).json()
    assert (ended["state"], "1 containers are still on node a" in ended["message"]) == ("Failed", True)
