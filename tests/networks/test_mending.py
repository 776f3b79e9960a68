"""Managers of the swarm that die: another is promoted; without a quorum the survivor goes on alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.harness.hosts import Host, Hosts
from tests.harness.images import SLEEPER
from tests.harness.wait import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]


@pytest.fixture
def hosts(database_url: str) -> Iterator[Hosts]:
    made = Hosts(database_url, 4)
    try:
        made.start()
        made.formed()
        yield made
        print(made.server.log()[-6000:])
    finally:
        print(made.logs()[-30000:])
        made.close()


def managing(*hosts: Host) -> list[str]:
    return [host.name for host in hosts if host.swarm().get("ControlAvailable")]


@pytest.mark.long
def test_a_manager_that_dies_is_replaced_and_a_lost_quorum_is_mended(hosts: Hosts) -> None:
    one, two, three, four = hosts.hosts
    wait_for(
        lambda: managing(one, two, three, four) == ["h1", "h2", "h3"], timeout=60, what="three managers", every=0.2
    )
    web = hosts.service("web", two)
    link = [{"to_service": f"/api/v1/service/{web}/", "name": "db"}]
    one.die()
    began = time.monotonic()
    wait_for(lambda: managing(two, three, four) == ["h2", "h3", "h4"], timeout=90, what="h4 to be a manager", every=0.2)
    print(f"a manager was replaced {time.monotonic() - began:.1f} s after its death")
    client = hosts.service("client", four, image=SLEEPER, linked_to_service=link)
    hosts.reached(client, "db-1", "web-1")
    print(f"new networks {time.monotonic() - began:.1f} s after its death")
    # Two of three at once: nobody is left who may decide, until the record says that they are gone.
    three.die()
    four.die()
    began = time.monotonic()
    late = hosts.service("late", two, image=SLEEPER, linked_to_service=link)
    hosts.reached(late, "db-1", "web-1")
    print(f"without a quorum for {time.monotonic() - began:.1f} s")
    assert hosts.fetch(late, "web-1") == "web-1"
    # Back: in the same swarm, whoever managed what before.
    three.rise()
    hosts.deployed(three)
    began = time.monotonic()
    back = hosts.service("back", three, image=SLEEPER, linked_to_service=link)
    hosts.reached(back, "db-1", "web-1")
    print(f"back after {time.monotonic() - began:.1f} s")
