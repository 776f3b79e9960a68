"""Every attribute that is passed on to Docker arrives in the container (spec 2.2, 2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.scenario import User, owned
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e

GIVEN: dict[str, Any] = {
    "entrypoint": "sh -c",
    "run_command": "'sleep 1000'",
    "cpu_shares": 512,
    "memory": 64,
    "memory_swap": 128,
    "hostname": "box",
    "domainname": "example.test",
    "mac_address": "02:42:0a:0b:0c:0d",
    "cpuset": "0",
    "dns": ["127.0.0.9"],
    "dns_search": "example.test",
    "cap_add": ["NET_ADMIN"],
    "cap_drop": ["MKNOD"],
    "devices": ["/dev/null:/dev/hole:rw"],
    "extra_hosts": ["far:10.1.2.3"],
    "security_opt": ["seccomp=unconfined"],
    "labels": {"com.example.a": "b"},
    "working_dir": "/tmp",
    "user": "0",
    "tty": True,
    "stdin_open": True,
    "read_only": True,
    "container_envvars": [{"key": "WHO", "value": "I am $TUTUM_CONTAINER_HOSTNAME of ${TUTUM_SERVICE_HOSTNAME}"}],
}


def test_what_was_asked_for_is_what_the_engine_has(server: TutelaProcess, engine: PrivateEngine) -> None:
    user = User(server)
    uuid = user.run("box", **GIVEN)
    (entry,) = owned(engine, running=True)
    found = engine.client().inspect_container(entry["Id"])
    config, host = found["Config"], found["HostConfig"]
    assert (config["Entrypoint"], config["Cmd"]) == (["sh", "-c"], ["sleep 1000"])
    assert (config["Hostname"], config["Domainname"], config["WorkingDir"]) == ("box", "example.test", "/tmp")
    assert (config["User"], config["Tty"], config["OpenStdin"]) == ("0", True, True)
    assert config["Labels"]["com.example.a"] == "b"
    assert "WHO=I am box-1 of box" in config["Env"]
    assert found["NetworkSettings"]["Networks"][f"tutela-{uuid}"]["MacAddress"] == "02:42:0a:0b:0c:0d"
    assert (host["CpuShares"], host["Memory"], host["MemorySwap"]) == (512, 64 << 20, 128 << 20)
    assert host["CpusetCpus"] == "0"
    assert (host["Dns"], host["DnsSearch"], host["ExtraHosts"]) == (["127.0.0.9"], ["example.test"], ["far:10.1.2.3"])
    assert (host["CapAdd"], host["CapDrop"], host["ReadonlyRootfs"]) == (["NET_ADMIN"], ["MKNOD"], True)
    assert set(host["SecurityOpt"]) == {"seccomp=unconfined", "no-new-privileges"}
    device = {"PathOnHost": "/dev/null", "PathInContainer": "/dev/hole", "CgroupPermissions": "rw"}
    assert host["Devices"] == [device]
    shown = user.get(uuid)
    (container,) = user.containers(uuid)
    for key in GIVEN.keys() - {"dns_search", "container_envvars", "entrypoint", "run_command"}:
        assert shown[key] == GIVEN[key], key
        assert container[key] == GIVEN[key], key
    assert shown["container_envvars"] == GIVEN["container_envvars"]


def test_the_hosts_network_and_processes(server: TutelaProcess, engine: PrivateEngine) -> None:
    user = User(server)
    user.run("bare", net="host", pid="host")
    (entry,) = owned(engine, running=True)
    host = engine.client().inspect_container(entry["Id"])["HostConfig"]
    assert (host["NetworkMode"], host["PidMode"], host["Privileged"]) == ("host", "host", False)


def test_privileged_is_asked_of_the_engine(server: TutelaProcess, engine: PrivateEngine) -> None:
    user = User(server)
    uuid = user.create("strong", privileged=True)
    user.do(uuid, "start")  # a machine without all capabilities refuses it, and the action says so
    (entry,) = owned(engine)
    assert engine.client().inspect_container(entry["Id"])["HostConfig"]["Privileged"] is True


def test_sequential_containers_know_the_ones_before_them(server: TutelaProcess, engine: PrivateEngine) -> None:
    user = User(server)
    uuid = user.run(
        "row", target=2, sequential_deployment=True, container_ports=[{"protocol": "tcp", "inner_port": 80}]
    )
    user.patch(uuid, target_num_containers=3, wait="Success")
    first, second, third = user.containers(uuid)

    def siblings(container: dict[str, Any]) -> set[str]:
        return {each["key"] for each in container["container_envvars"] if each["key"].endswith("_PORT")}

    assert siblings(first) == set()
    assert siblings(second) == {"ROW_1_PORT", "ROW_1_PORT_80_TCP_PORT"}
    assert siblings(third) == {"ROW_1_PORT", "ROW_1_PORT_80_TCP_PORT", "ROW_2_PORT", "ROW_2_PORT_80_TCP_PORT"}
    assert [each["name"] for each in third["linked_to_container"]] == ["row-1", "row-2"]
