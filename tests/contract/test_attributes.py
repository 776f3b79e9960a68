"""Every attribute of a service, by name: its default, what it takes on create and by PATCH, and what it refuses.

The seed's tables (spec 2.2 and its sub-tables) and the later superset (2.3). What each does in a container is shown
in tests/e2e.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.client import API, Client, application

PORT = {"protocol": "tcp", "inner_port": 80}
SHOWN_PORT = {
    **PORT,
    "outer_port": None,
    "published": False,
    "port_name": "http",
    "endpoint_uri": None,
    "uri_protocol": None,
}

# name: (default, [(given, shown), ...], [refused, ...])
SETTABLE: dict[str, tuple[Any, list[tuple[Any, Any]], list[Any]]] = {
    "target_num_containers": (1, [(3, 3), (0, 0), ("2", 2)], [-1, 1.5, True, "x", 100_000]),
    "run_command": (None, [("/run.sh", "/run.sh"), (["a", "b c"], "a 'b c'"), ("", None)], [7, "'unbalanced"]),
    "entrypoint": (None, [("/usr/sbin/sshd", "/usr/sbin/sshd"), ("", None)], [7, '"unbalanced']),
    "container_ports": ([], [([PORT], [SHOWN_PORT]), ([], [])], ["x", [{}], [{**PORT, "inner_port": 70000}]]),
    "container_envvars": (
        [],
        [([{"key": "A", "value": "b"}], [{"key": "A", "value": "b"}]), ([{"key": "A", "value": 5}], None)],
        ["x", [{}], [{"key": "A"}], [{"value": "b"}], [{"key": "A=B", "value": ""}], [{"key": "", "value": ""}]],
    ),
    "linked_to_service": ([], [([], [])], ["x", [{}], [{"to_service": "/api/v1/service/none/"}]]),
    "autorestart": ("OFF", [("ALWAYS", "ALWAYS"), ("on-failure", "ON_FAILURE")], ["ON_SUCCESS", "NEVER", 1]),
    "autoreplace": ("OFF", [("ALWAYS", "ALWAYS"), ("ON_FAILURE", "ON_FAILURE")], ["ON_SUCCESS", "x"]),
    "autodestroy": ("OFF", [("ALWAYS", "ALWAYS"), ("ON_SUCCESS", "ON_SUCCESS")], ["x", []]),
    "roles": ([], [(["global"], ["global"])], [["admin"], "global"]),
    "sequential_deployment": (False, [(True, True), ("true", True)], ["x", 2]),
    "privileged": (False, [(True, True), ("false", False)], ["x", []]),
    "tags": (
        [],
        [([{"name": "a"}, "b"], [{"name": "a"}, {"name": "b"}])],
        ["x", [{"name": "a b"}], [{"name": "a\n"}], [{}]],
    ),
    "cpu_shares": (None, [(100, 100), (0, None)], [1, "x", -5]),
    "memory": (None, [(2048, 2048), (0, None)], [5, "x"]),
    "nickname": ("hello-world", [("my web", "my web")], [7]),
    "autoredeploy": (False, [(True, True)], ["x"]),
    "deployment_strategy": (
        "EMPTIEST_NODE",
        [("HIGH_AVAILABILITY", "HIGH_AVAILABILITY"), ("balance", "EMPTIEST_NODE")],
        ["x"],
    ),
    "lost_after": (None, [(60, 60)], [0, -1, "x", 10**9]),
    "single_writer": (False, [(True, True)], ["x"]),
    "net": ("bridge", [("host", "host")], ["none", 7]),
    "pid": ("none", [("host", "host")], ["x"]),
    "working_dir": (None, [("/srv", "/srv")], [7]),
    "user": (None, [("root", "root")], [7]),
    "hostname": (None, [("box", "box")], ["a b", "a\n", 7]),
    "domainname": (None, [("example.test", "example.test")], ["a b"]),
    "mac_address": (None, [("02:42:ac:11:65:43", "02:42:ac:11:65:43")], ["02:42"]),
    "cpuset": (None, [("0,1", "0,1"), ("0-3", "0-3")], ["a"]),
    "cgroup_parent": (None, [("m-executor", "m-executor")], ["a b"]),
    "tty": (False, [(True, True)], ["x"]),
    "stdin_open": (False, [(True, True)], ["x"]),
    "read_only": (False, [(True, True)], ["x"]),
    "dns": ([], [(["8.8.8.8"], ["8.8.8.8"]), ("8.8.4.4", ["8.8.4.4"])], [["name"], 7]),
    "dns_search": ([], [(["example.test"], ["example.test"]), ("a.test", ["a.test"])], [["a b"]]),
    "cap_add": ([], [(["ALL"], ["ALL"]), (["net_admin"], ["NET_ADMIN"])], [["a b"], "x"]),
    "cap_drop": ([], [(["NET_ADMIN"], ["NET_ADMIN"])], [[7]]),
    "devices": ([], [(["/dev/ttyUSB0:/dev/ttyUSB0"], ["/dev/ttyUSB0:/dev/ttyUSB0"])], [["x"]]),
    "extra_hosts": ([], [(["somehost:162.242.195.82"], ["somehost:162.242.195.82"])], [["x"]]),
    "security_opt": ([], [(["label:user:USER"], ["label:user:USER"])], [[""], "x"]),
    "labels": ({}, [({"com.example.a": "b", "n": 5}, {"com.example.a": "b", "n": "5"})], [{"tutela.x": "y"}, "x"]),
    "bindings": (
        [],
        [
            (
                [{"container_path": "/data"}],
                [{"host_path": None, "container_path": "/data", "rewritable": True, "volumes_from": None}],
            ),
            (
                [{"host_path": "/srv/www", "container_path": "/www", "rewritable": False}],
                [{"host_path": "/srv/www", "container_path": "/www", "rewritable": False, "volumes_from": None}],
            ),
        ],
        ["x", [{}], [{"container_path": "relative"}], [{"volumes_from": "web"}]],
    ),
}
READ_ONLY: dict[str, Any] = {
    "paused": None,
    "link_form": "bridge",
    "image_name": "tutum/hello-world:latest",
    "image_tag": "/api/v1/image/tutum/hello-world/tag/latest/",
    "name": "hello-world",
    "unique_name": "hello-world",
    "state": "Init",
    "deployed_datetime": None,
    "started_datetime": None,
    "stopped_datetime": None,
    "destroyed_datetime": None,
    "current_num_containers": 0,
    "running_num_containers": 0,
    "stopped_num_containers": 0,
    "containers": [],
    "linked_from_service": [],
    "synchronized": True,
    "public_dns": "127.0.0.1",
    "stack": None,
    "calculated_envvars": [],
}
SHAPED = {"uuid", "resource_uri", "actions", "link_variables"}
SEED = (
    "actions", "autodestroy", "autoreplace", "autorestart", "container_envvars", "container_ports", "containers",
    "cpu_shares", "current_num_containers", "deployed_datetime", "destroyed_datetime", "entrypoint", "image_name",
    "image_tag", "link_variables", "linked_from_service", "linked_to_service", "memory", "name", "privileged",
    "resource_uri", "roles", "run_command", "running_num_containers", "sequential_deployment", "started_datetime",
    "state", "stopped_datetime", "stopped_num_containers", "tags", "target_num_containers", "unique_name", "uuid",
)  # fmt: skip
"""The 33 attributes of the seed (spec 2.2)."""


def shown_by(name: str) -> str:
    """The test that shows the attribute."""
    if name in SETTABLE:
        return f"test_attributes.py::test_settable[{name}]"
    if name in READ_ONLY:
        return f"test_attributes.py::test_read_only[{name}]"
    return "test_attributes.py::test_no_attribute_is_without_a_test"


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    async with application(database_url) as client:
        yield client


async def patch(client: Client, service: dict[str, Any], body: dict[str, Any]) -> Any:
    return await client.call("PATCH", service["resource_uri"], json=body)


@pytest.mark.parametrize("name", list(SETTABLE))
async def test_settable(client: Client, name: str) -> None:
    default, taken, refused = SETTABLE[name]
    plain = await client.create()
    assert plain[name] == default
    for given, shown in taken:
        expected = shown if shown is not None or given in ("", 0) else [{"key": "A", "value": "5"}]
        created = await client.create(**{name: given})
        assert created[name] == expected, given
        answer = await patch(client, plain, {name: given})
        assert (answer.status_code, answer.json()[name]) == (200, expected), given
        again = await client.call("GET", plain["resource_uri"])
        assert again.json()[name] == expected
    reset = await patch(client, plain, {name: None})
    assert reset.json()[name] == default
    before = await client.count()
    for bad in refused:
        answer = await client.call("POST", f"{API}/service/", json={"image": "a", name: bad})
        assert answer.status_code == 400, bad
        assert next(iter(answer.json()["fields"])).startswith(name), bad
        answer = await patch(client, plain, {name: bad})
        assert answer.status_code == 400, bad
    assert await client.count() == before


@pytest.mark.parametrize("name", list(READ_ONLY))
async def test_read_only(client: Client, name: str) -> None:
    plain = await client.create()
    assert plain[name] == READ_ONLY[name]
    if name not in {"name", "stack"}:
        answer = await patch(client, plain, {name: "something else"})
        assert answer.status_code == 200
        assert answer.json()[name] == READ_ONLY[name]


async def test_memory_swap_needs_memory(client: Client) -> None:
    plain = await client.create(memory=64, memory_swap=128)
    assert (plain["memory"], plain["memory_swap"]) == (64, 128)
    for bad in ({"memory_swap": 128}, {"memory": 64, "memory_swap": 32}):
        answer = await client.call("POST", f"{API}/service/", json={"image": "a", **bad})
        assert list(answer.json()["fields"]) == ["memory_swap"]


async def test_no_attribute_is_without_a_test(client: Client) -> None:
    plain = await client.create()
    assert set(plain) == set(SETTABLE) | set(READ_ONLY) | SHAPED | {"memory_swap"}
    assert set(SEED) <= set(plain)
    assert len(SEED) == 33
    assert plain["resource_uri"] == f"{API}/service/{plain['uuid']}/"
    assert plain["actions"][0].startswith(f"{API}/action/")
    assert list(plain["link_variables"]) == ["HELLO_WORLD_TUTUM_API_URL"]
