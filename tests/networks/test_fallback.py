"""Where no overlay is possible or wanted: published ports, with a reason; and the way from there into the overlay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.harness.hosts import Hosts
from tests.harness.images import SLEEPER
from tests.harness.wait import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
PORT = {"protocol": "tcp", "inner_port": 80, "published": True}


@contextlib.contextmanager
def fleet(dsn: str, count: int, network: str, *, live_restore: bool = False) -> Iterator[Hosts]:
    made = Hosts(dsn, count, network=network, live_restore=live_restore)
    try:
        yield made
    except BaseException:
        print(made.logs()[-20000:])
        raise
    finally:
        made.close()


def test_ports_are_the_seeds_form_and_work(database_url: str) -> None:
    with fleet(database_url, 2, "ports") as hosts:
        hosts.start()
        one, two = hosts.hosts
        web = hosts.service("web", two, container_ports=[PORT])
        hidden = hosts.service("hidden", two, image=SLEEPER, container_ports=[{"protocol": "tcp", "inner_port": 80}])
        links = [
            {"to_service": f"/api/v1/service/{each}/", "name": name} for each, name in ((web, "db"), (hidden, "no"))
        ]
        far = hosts.service("far", one, image=SLEEPER, linked_to_service=links)
        near = hosts.service("near", two, image=SLEEPER, linked_to_service=links)
        env = hosts.variables(far)
        assert env["DB_1_PORT_80_TCP_ADDR"] == two.engine.address
        port = int(env["DB_1_PORT_80_TCP_PORT"])
        assert port != 80
        hosts.reached(far, two.engine.address, "web-1", port=port)
        assert not any(key.startswith("NO_") and "PORT" in key for key in env)
        assert hosts.variables(near)["DB_1_PORT_80_TCP"] == "tcp://web-1:80"
        hosts.reached(near, "db", "web-1")
        shown = hosts.api.get(f"/api/v1/service/{web}/").json
        assert shown["link_form"] == "ports"
        assert shown["link_variables"]["WEB_1_PORT"] == f"tcp://{two.engine.address}:{port}"
        (story,) = hosts.explain(far)["slots"]
        assert {(each["name"], each["form"]) for each in story["links"]} == {("db", "ports"), ("no", "ports")}
        assert [host.swarm()["LocalNodeState"] for host in hosts.hosts] == ["inactive"] * 2


def test_an_engine_in_somebody_elses_swarm_is_left_alone_until_it_leaves_that(database_url: str) -> None:
    with fleet(database_url, 3, "overlay") as hosts:
        one, two, theirs = hosts.hosts
        hosts.engines()
        theirs.engine.client().init_swarm(advertise_addr=theirs.engine.address)
        before = theirs.swarm()
        hosts.server.start()
        for host in hosts.hosts:
            hosts.join(host)
        hosts.formed(one, two)
        # Before its agent has told what it sees, the note says that.
        why = "in a swarm that is not this installation's"
        wait_for(lambda: why in hosts.node(theirs)["network_note"], timeout=30, what="the reason")
        assert hosts.node(theirs)["network"] == "bridge"
        web = hosts.service("web", one, container_ports=[PORT])
        link = [{"to_service": f"/api/v1/service/{web}/", "name": "db"}]
        friend = hosts.service("friend", two, image=SLEEPER, linked_to_service=link)
        odd = hosts.service("odd", theirs, image=SLEEPER, linked_to_service=link)
        assert hosts.variables(friend)["DB_1_PORT"] == "tcp://web-1:80"
        env = hosts.variables(odd)
        assert env["DB_1_PORT_80_TCP_ADDR"] == one.engine.address
        hosts.reached(odd, one.engine.address, "web-1", port=int(env["DB_1_PORT_80_TCP_PORT"]))
        (story,) = hosts.explain(odd)["slots"]
        assert (story["network"], [each["form"] for each in story["links"]]) == ("bridge", ["ports"])
        assert "not this installation's" in story["network_note"]
        after = theirs.swarm()
        assert (after["NodeID"], after["LocalNodeState"]) == (before["NodeID"], "active")
        # Its operator takes it out: it joins, and what runs there is moved in place.
        where = hosts.container(odd)
        theirs.engine.client().leave_swarm(force=True)
        hosts.formed(theirs)
        took = hosts.reached(odd, "db", "web-1")
        print(f"on the overlay {took:.1f} s after its host was")
        assert hosts.container(odd) == where
        theirs.engine.client().restart(where[1], timeout=0)
        hosts.reached(odd, "db-1", "web-1")


def test_engines_with_live_restore_stay_out_of_a_swarm_and_say_why(database_url: str) -> None:
    with fleet(database_url, 2, "overlay", live_restore=True) as hosts:
        hosts.start()
        one, two = hosts.hosts
        wait_for(lambda: "live-restore" in hosts.node(one)["network_note"], timeout=30, what="the price", every=0.1)
        web = hosts.service("web", two, container_ports=[PORT])
        link = [{"to_service": f"/api/v1/service/{web}/", "name": "db"}]
        client = hosts.service("client", one, image=SLEEPER, linked_to_service=link)
        env = hosts.variables(client)
        hosts.reached(client, env["DB_PORT_80_TCP_ADDR"], "web-1", port=int(env["DB_PORT_80_TCP_PORT"]))
        assert [host.swarm()["LocalNodeState"] for host in hosts.hosts] == ["inactive"] * 2
