"""Hosts that come and go by an operator's word: a join in one command, a second agent, a drain under load, a removal.

Three engines as hosts, agents as processes. The tests go on from one to the next, as a fleet does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domain.action import ActionState
from domain.node import NodeState
from tests.harness.hosts import Hosts, Turn
from tests.harness.images import SLEEPER
from tests.harness.postgres import TestPostgres
from tests.harness.wait import bar, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
SPREAD: dict[str, Any] = {"deployment_strategy": "HIGH_AVAILABILITY", "autorestart": "ALWAYS", "image": SLEEPER}


@pytest.fixture(scope="module")
async def fleet_dsn(postgres: TestPostgres) -> str:
    return await postgres.fresh()


@pytest.fixture(scope="module")
def hosts(fleet_dsn: str) -> Iterator[Hosts]:
    made = Hosts(fleet_dsn, 3, network="ports")
    try:
        made.engines()
        made.server.start()
        made.join(*made.hosts[:2])
        yield made
    finally:
        made.close()


def test_a_fresh_host_joins_with_one_command(hosts: Hosts) -> None:
    three = hosts.hosts[2]
    slow, token = hosts.slowness(), hosts.token()
    began = time.monotonic()
    done = three.command("agent", "join", hosts.door, token, "--name", three.name)
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"joined by one command in {took:.1f} s:\n{done.stdout}")
    assert took <= bar(10, slow)
    hosts.deployed(three)
    hosts.tag(three)
    again = three.command("agent", "join", hosts.door, token, "--name", three.name)
    assert again.returncode == 0
    assert "is node h3 already" in again.stdout
    assert three.command("agent", "down").returncode == 0
    three.start_agent()
    hosts.deployed(three)


@contextlib.contextmanager
def another_door(hosts: Hosts) -> Iterator[str]:
    """The agents' door at a second port, passed through as TCP."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = listener.accept()[0], socket.create_connection((hosts.lan.address, hosts.server.agent_port))
                open_now.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    open_now: list[socket.socket] = []
    with socket.create_server((hosts.lan.address, 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"wss://{hosts.lan.address}:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for each in open_now:
        each.close()


def test_a_join_with_another_door_makes_the_same_node_dial_it(hosts: Hosts) -> None:
    """As when the control plane moved; the token is read for whom it trusts, so that a used one does."""
    three, token = hosts.hosts[2], hosts.token()
    wait_for(lambda: '"event": "connected"' in three.log(), timeout=30, what="the agent of the test before")
    node, old = hosts.node(three)["uuid"], three.agent_pid
    with another_door(hosts) as moved:
        done = three.command("agent", "join", moved, token)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"is node h3 already\nit dials {moved} first" in done.stdout
        status = three.command("agent", "status")
        assert f"doors     {moved}, {hosts.door}\n" in status.stdout
        assert f"pid {old}" not in status.stdout
        connected = [
            json.loads(line)["url"]
            for line in (three.state / "agent" / "tutela.log").read_text().splitlines()
            if '"event": "connected"' in line
        ]
        assert connected[-1] == moved
        again = three.command("agent", "join", moved, token)
        assert "dials" not in again.stdout, "the door is known: the agent is left alone"
        assert hosts.node(three)["uuid"] == node
        assert three.command("agent", "down").returncode == 0
    three.kill_agent()  # it ended by the join
    three.start_agent()
    hosts.deployed(three)
    wait_for(lambda: three.log().count('"event": "connected"') == 2, timeout=30, what="it to use the door that is left")


def test_a_second_agent_for_an_engine_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    one = hosts.hosts[0]
    token = hosts.token()
    done = one.command("agent", "join", hosts.door, token, "--name", "twin", state=tmp_path)
    assert done.returncode == 1
    assert "the agent of node h1 serves this Docker engine" in done.stderr
    assert "Stop that one first, or let this one use another engine" in done.stderr
    same = one.command("agent", "run")
    assert same.returncode == 1
    assert "the agent runs already" in same.stderr
    assert {each["nickname"] for each in hosts.api.get("/api/v1/node/").json["objects"]} == {"h1", "h2", "h3"}
    hosts.deployed(one)


def least_running(turns: Sequence[Turn], before: Counter[str]) -> dict[str, int]:
    """The fewest containers of each service that ran at any moment."""
    now, least = Counter(before), dict(before)
    for turn in turns:
        now[turn.service] += 1 if turn.began else -1
        least[turn.service] = min(least.get(turn.service, 0), now[turn.service])
    return least


def most_of_a_slot(turns: Sequence[Turn], before: Counter[str]) -> Counter[str]:
    """How many containers of one name ran at once at the most."""
    now, most = Counter(before), Counter(before)
    for turn in turns:
        now[turn.name] += 1 if turn.began else -1
        most[turn.name] = max(most[turn.name], now[turn.name])
    return most


def labels(hosts: Hosts, label: str) -> Counter[str]:
    """What runs, counted by that label."""
    running = (each for host in hosts.hosts for each in host.engine.client().containers(filters={"label": label}))
    return Counter(each["Labels"][label] for each in running)


def test_a_drain_under_load_never_has_less_of_a_service_than_before(hosts: Hosts) -> None:
    one = hosts.hosts[0]
    web = hosts.service("web", None, target_num_containers=6, **SPREAD)
    solo = hosts.service("solo", one, target_num_containers=1, **SPREAD)
    writer = hosts.service("writer", one, target_num_containers=1, single_writer=True, **SPREAD)
    growing = hosts.service("growing", None, target_num_containers=3, **SPREAD)
    # Tags bound these two to the host while they were placed; what a service wants later counts for where it goes.
    for uuid in (solo, writer):
        assert hosts.api.patch(f"/api/v1/service/{uuid}/", json={"tags": [{"name": "all"}]}).status in {200, 202}
    before, names = labels(hosts, "tutela.service"), labels(hosts, "tutela.name")
    there = one.engine.client().containers(filters={"label": "tutela.service"})
    began = time.time()
    asked = hosts.api.post(f"/api/v1/admin/node/{hosts.node(one)['uuid']}/drain/")
    assert asked.status == 202
    assert hosts.api.patch(f"/api/v1/service/{growing}/", json={"target_num_containers": 6}).status == 202

    def ended() -> Any:
        found = hosts.api.get(asked.headers["x-tutum-action-uri"]).json
        return found if found["end_date"] else None

    action = wait_for(ended, timeout=90, what="the drain to end", every=0.1)
    print(f"{len(there)} containers were moved within {time.time() - began:.1f} s")
    assert (action["action"], action["state"]) == ("Node Drain", ActionState.SUCCESS.value)
    assert labels(hosts, "tutela.service").keys() == before.keys()
    assert one.engine.client().containers(all=True, filters={"label": "tutela.service"}) == []
    hosts.running(growing, 6)
    turns = hosts.turns(began)
    least = least_running(turns, before)
    print(f"fewest running, before: {[(least[uuid], before[uuid]) for uuid in (web, solo, growing)]}")
    for uuid in (web, solo, growing):
        assert least[uuid] >= before[uuid]
        hosts.running(uuid)
    assert most_of_a_slot(turns, names)["writer-1"] == 1
    ends = [each for each in turns if not each.began and each.service in {web, solo, growing}]
    assert {each.host for each in ends} == {one.name}
    margins = [min(each.at - other.at for other in turns if other.began and other.name == each.name) for each in ends]
    print(f"a replacement ran at least {min(margins):.2f} s before the old one stopped")
    assert min(margins) > 0
    assert hosts.node(one)["cordoned"]
    assert hosts.api.post(f"/api/v1/admin/node/{hosts.node(one)['uuid']}/uncordon/").status == 202
    hosts.terminate(web, solo, writer, growing)


def test_a_node_that_is_taken_out_is_cut_off_and_does_not_come_back(hosts: Hosts) -> None:
    three = hosts.hosts[2]
    hosts.service("left", three, image=SLEEPER)
    spread = hosts.service("spread", None, target_num_containers=3, **SPREAD)
    slow, uri = hosts.slowness(), hosts.node(three)["resource_uri"]
    left = {each["Id"] for each in three.engine.client().containers(filters={"label": "tutela.service"})}
    assert len(left) == 2
    began = time.monotonic()
    assert hosts.api.delete(f"{uri}?force=true").status == 202
    wait_for(lambda: "was taken out of the installation" in three.log(), timeout=30, what="its agent to be told")
    took = time.monotonic() - began
    print(f"the session ended {took:.2f} s after the node was taken out")
    assert took <= bar(1, slow)
    said = three.log().count("was taken out of the installation")
    three.kill_agent()
    three.start_agent()
    wait_for(
        lambda: three.log().count("was taken out of the installation") > said,
        timeout=30,
        what="its agent to be refused",
    )
    assert hosts.api.get(uri).json["state"] == NodeState.TERMINATED.value
    assert {each["Id"] for each in three.engine.client().containers()} == left

    # What is wanted elsewhere as well is made anew there, without being asked for.
    def elsewhere() -> bool:
        found = hosts.api.get("/api/v1/container/?service__name=spread&state=Running&limit=100").json["objects"]
        return len(found) == 3 and uri not in {each["node"] for each in found}

    wait_for(elsewhere, timeout=30, what=f"its successor: {hosts.explain(spread)}")
    hosts.terminate(spread)
