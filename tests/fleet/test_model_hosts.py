"""The hosts without engines that `./tutela bench scale` measures with are still hosts to the control plane."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench._ground import Hosts
from tests.harness.server import TutelaProcess, wait_for

HOSTS, CONTAINERS = 3, 10


@pytest.fixture
def server(database_url: str) -> Iterator[TutelaProcess]:
    """A control plane without an agent of its own."""
    process = TutelaProcess(
        docker_host="unix:///nowhere",
        dsn=database_url,
        env={"TUTELA_ROLES": "api,orchestrator", "TUTELA_NETWORK": "ports"},
    )
    try:
        process.start()
        yield process
    finally:
        process.close()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    made = Hosts(HOSTS, delay=0.05)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_model_hosts_run_what_is_asked_for_come_back_after_a_cut_and_let_go(
    server: TutelaProcess, hosts: Hosts
) -> None:
    hosts.join(server)
    wait_for(lambda: hosts.total("in_sync") == HOSTS, timeout=60, what="all hosts to be in sync", every=0.1)
    body = {"image": "busybox", "name": "many", "target_num_containers": CONTAINERS}
    path = server.api.post("/api/v1/service/", json=body).json["resource_uri"]
    assert server.api.post(f"{path}start/").status == 202
    wait_for(lambda: server.api.get(path).json["state"] == "Running", timeout=60, what="it to run", every=0.1)
    assert server.api.get(path).json["running_num_containers"] == CONTAINERS
    assert hosts.total("received") == CONTAINERS

    cut = min(each["at"] for each in hosts.all("cut"))
    wait_for(lambda: hosts.total("in_sync", cut) == HOSTS, timeout=60, what="all hosts to be back", every=0.1)
    assert server.api.get(path).json["running_num_containers"] == CONTAINERS

    assert server.api.delete(path).status == 202
    wait_for(lambda: server.api.get(path).json["state"] == "Terminated", timeout=60, what="it to be gone", every=0.1)
