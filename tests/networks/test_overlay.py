"""Overlay networks between three engines: names, what follows, what is not reachable."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from domain.swarm import RECOVER_SECONDS
from orchestrator.store.db import Database
from tests.harness.hosts import Hosts
from tests.harness.images import SLEEPER
from tests.harness.postgres import TestPostgres
from tests.harness.wait import bar, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
async def overlay_dsn(postgres: TestPostgres) -> str:
    return await postgres.fresh()


@pytest.fixture(scope="module")
def hosts(overlay_dsn: str) -> Iterator[Hosts]:
    made = Hosts(overlay_dsn, 3)
    try:
        made.start()
        made.formed()
        yield made
    except Exception:
        print(made.logs()[-20000:])
        raise
    finally:
        made.close()


def test_names_resolve_and_tcp_works_across_hosts(hosts: Hosts) -> None:
    one, two, three = hosts.hosts
    web = hosts.service("web", None, target_num_containers=3, deployment_strategy="HIGH_AVAILABILITY")
    link = [{"to_service": f"/api/v1/service/{web}/", "name": "db"}]
    client = hosts.service("client", one, image=SLEEPER, linked_to_service=link)
    stranger = hosts.service("stranger", two, image=SLEEPER)
    assert {hosts.container(web, slot)[0].name for slot in (1, 2, 3)} == {one.name, two.name, three.name}
    for name, answer in (
        ("web-1", "web-1"),
        ("web_2", "web-2"),
        ("web-3", "web-3"),
        ("db-2", "web-2"),
        ("db_3", "web-3"),
    ):
        took = hosts.reached(client, name, answer)
        print(f"{name} answered after {took:.2f} s")
    for name in ("web", "db"):
        wait_for(lambda name=name: hosts.fetch(client, name).startswith("web-"), timeout=30, what=f"{name} to answer")  # type: ignore[misc]
    # Not linked: neither the name nor the address.
    wait_for(lambda: "bad address" in hosts.fetch(stranger, "web-1"), timeout=30, what="no such name")
    where, container = hosts.container(web, 1)
    networks = where.engine.client().inspect_container(container)["NetworkSettings"]["Networks"]
    address = next(each["IPAddress"] for each in networks.values())
    assert "web-1" not in hosts.fetch(stranger, address)
    hosts.reached(client, address, "web-1")
    shown = hosts.api.get(f"/api/v1/service/{web}/").json
    assert (shown["link_form"], shown["link_variables"]["WEB_1_PORT"]) == ("overlay", "tcp://web-1:80")
    (story,) = hosts.explain(client)["slots"]
    assert {each["form"] for each in story["links"]} == {"overlay"}


async def test_tokens_are_nowhere_but_sealed_in_the_record(hosts: Hosts, overlay_dsn: str) -> None:
    tokens = hosts.hosts[0].engine.client().inspect_swarm()["JoinTokens"].values()
    db = await Database.open(overlay_dsn, size=1)
    try:
        async with db.read() as conn:
            rows = str([dict(row) for row in await conn.fetch("SELECT * FROM swarm")])
            rows += str([dict(row) for row in await conn.fetch("SELECT * FROM nodes")])
            assert await conn.fetchval("SELECT worker_token IS NOT NULL FROM swarm")
    finally:
        await db.close()
    labels = "".join(
        json.dumps([each["Labels"] for each in (*client.containers(all=True), *client.networks())])
        for client in (host.engine.client() for host in hosts.hosts)
    )
    ledgers = "".join(path.read_text() for host in hosts.hosts for path in host.state.rglob("*.json"))
    shown = "".join(json.dumps(hosts.node(host)) for host in hosts.hosts)
    for token in tokens:
        for where in (hosts.logs(), ledgers, shown, rows, labels):
            assert token not in where


def test_a_control_plane_that_hears_nobody_for_long_takes_no_network_away(hosts: Hosts) -> None:
    """After 20 s without any of its managers the swarm was taken for lost, and begun anew (decision 27)."""
    before = {host.name: host.swarm()["NodeID"] for host in hosts.hosts}
    assert all(before.values())
    door, began = ("-p", "tcp", "--dport", str(hosts.server.agent_port)), time.time()
    for host in hosts.hosts:
        host.engine.drop(*door)
    for host in hosts.hosts:
        wait_for(lambda host=host: hosts.node(host)["state"] == "Unreachable", timeout=30, what="silence")  # type: ignore[misc]
    wait_for(lambda: time.time() - began > RECOVER_SECONDS + 7, timeout=60, what="the swarm to seem lost")
    for host in hosts.hosts:
        host.engine.undrop(*door)
    for host in hosts.hosts:
        hosts.deployed(host)
    healed = time.time()
    wait_for(lambda: time.time() - healed > 3, timeout=10, what="orders to be carried out")
    assert {host.name: host.swarm()["NodeID"] for host in hosts.hosts} == before
    hosts.formed()


def test_names_follow_scaling_restarts_and_moves_within_a_second(hosts: Hosts) -> None:
    """From when the container runs: an engine takes about a second to put one on an overlay network."""
    one, two, three = hosts.hosts
    shop = hosts.service("shop", two, target_num_containers=1)
    link = [{"to_service": f"/api/v1/service/{shop}/", "name": "backend"}]
    client = hosts.service("buyer", one, image=SLEEPER, linked_to_service=link)
    hosts.reached(client, "backend-1", "shop-1")
    figures = {}
    # Scaling.
    assert hosts.api.patch(f"/api/v1/service/{shop}/", json={"target_num_containers": 2}).status == 202
    hosts.running(shop, 2)
    figures["scaled up"] = hosts.reached(client, "backend-2", "shop-2", timeout=30)
    # A container that dies and is started again, with whatever address it then has.
    where, container = hosts.container(shop, 2)
    where.engine.client().restart(container, timeout=0)
    figures["restarted"] = hosts.reached(client, "shop-2", "shop-2", timeout=30)
    # A move.
    tags = {"tags": [{"name": three.name}]}
    assert hosts.api.patch(f"/api/v1/service/{shop}/", json=tags).status in {200, 202}
    assert hosts.api.post(f"/api/v1/service/{shop}/redeploy/").status == 202
    wait_for(
        lambda: hosts.places(shop) == [three.name] * 2,
        timeout=90,
        what="the containers to be on h3",
        every=0.1,
    )
    hosts.running(shop, 2)
    for name in ("backend-1", "shop-2", "backend_2"):
        figures[f"moved, {name}"] = hosts.reached(client, name, f"shop-{name[-1]}", timeout=30)
    print({name: round(took, 2) for name, took in figures.items()})
    # Measured: 0.1 s each. The issue asks for a second; a busy machine gets a margin.
    assert max(figures.values()) < bar(3), figures
    # Scaling down.
    assert hosts.api.patch(f"/api/v1/service/{shop}/", json={"target_num_containers": 1}).status == 202
    hosts.running(shop, 1)
    wait_for(
        lambda: "bad address" in hosts.fetch(client, "backend-2"), timeout=30, what="backend-2 to be gone", every=0.1
    )


def test_a_network_goes_with_its_service(hosts: Hosts) -> None:
    brief = hosts.service("brief", hosts.hosts[2])
    name = f"tutela-{brief}-overlay"
    managing = hosts.hosts[0].engine.client()
    assert [each["Name"] for each in managing.networks(names=[name])] == [name]
    assert hosts.api.delete(f"/api/v1/service/{brief}/").status == 202
    wait_for(lambda: managing.networks(names=[name]) == [], timeout=30, what="the network to go", every=0.1)
