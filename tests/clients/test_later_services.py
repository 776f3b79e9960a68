"""`tutum service ...` of CLI 0.21.1."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.clients.cli import GONE, RUNNING, STILL, Cli, only, read_table, uuid_of
from tests.clients.conftest import Shop
from tests.e2e.scenario import SLEEPER, WEB, User, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.postgres]
Sleeping = Callable[..., str]
ADVICE = (
    "{uuid}\nService must be redeployed to have its configuration changes applied.\n"
    "To redeploy execute: $ tutum service redeploy {name}\n"
)


def variables(user: User, uuid: str) -> dict[str, str]:
    """What the user set."""
    return {each["key"]: each["value"] for each in user.get(uuid)["container_envvars"]}


def test_create(later: Cli, user: User, name: str) -> None:
    words = ["-n", name, "-t", "2", "-p", "80", "-p", "8053:53/udp", "--expose", "9000", "-e", "A=1", "-e", "B=x=y"]
    words += ["--tag", "blue", "--tag", "eu", "--autorestart", "ON_FAILURE", "--sequential", "--memory", "64"]
    words += ["--cpushares", "512", "-r", "sleep 100", "--entrypoint", "sh -c", "--deployment-strategy", "EVERY_NODE"]
    printed = later.ok("service", "create", *words, SLEEPER)
    service = user.get(uuid_of(printed))
    assert printed == service["uuid"] + "\n"
    assert service["state"] == "Init"
    assert service["name"] == name
    assert service["target_num_containers"] == 2
    ports = {(each["inner_port"], each["protocol"]): each for each in service["container_ports"]}
    assert {key: (each["published"], each["outer_port"]) for key, each in ports.items()} == {
        (80, "tcp"): (True, None),
        (53, "udp"): (True, 8053),
        (9000, "tcp"): (False, None),
    }
    assert variables(user, service["uuid"]) == {"A": "1", "B": "x=y"}
    assert [each["name"] for each in service["tags"]] == ["blue", "eu"]
    assert (service["autorestart"], service["sequential_deployment"]) == ("ON_FAILURE", True)
    assert (service["memory"], service["cpu_shares"]) == (64, 512)
    assert (service["run_command"], service["entrypoint"]) == ("sleep 100", "sh -c")
    assert service["deployment_strategy"] == "EVERY_NODE"


def test_create_with_links_volumes_and_a_file_of_variables(later: Cli, user: User, name: str) -> None:
    (later.home / "vars").write_text("# ours\nC=3\n\nD=4\n")
    first = uuid_of(later.ok("service", "create", "-n", name, "-v", "/data", SLEEPER))
    words = ["-n", f"{name}b", "--link-service", f"{name}:db", "--volumes-from", name, "--env-file", "vars"]
    second = user.get(uuid_of(later.ok("service", "create", *words, "-v", "/host:/in:ro", SLEEPER)))
    assert [(each["name"], each["to_service"]) for each in second["linked_to_service"]] == [
        ("db", f"/api/v1/service/{first}/")
    ]
    assert variables(user, second["uuid"]) == {"C": "3", "D": "4"}
    (bound,) = [each for each in second["bindings"] if each["host_path"]]
    assert (bound["host_path"], bound["container_path"], bound["rewritable"]) == ("/host", "/in", False)
    (taken,) = [each for each in second["bindings"] if not each["host_path"]]
    assert taken["volumes_from"] == f"/api/v1/service/{first}/"


def test_run_with_sync(later: Cli, user: User, name: str) -> None:
    printed = later.ok("service", "run", "--sync", "-n", name, "-t", "2", WEB)
    lines = printed.splitlines()
    assert lines[-2].rstrip(".") == "Success"
    assert set(line.rstrip(".") for line in lines[:-1]) <= {"Pending", "In progress", "Success"}
    service = user.get(lines[-1])
    assert (service["state"], service["running_num_containers"]) == ("Running", 2)


def test_run_is_also_a_command_of_its_own(later: Cli, user: User, name: str) -> None:
    uuid = uuid_of(later.ok("run", "-n", name, SLEEPER))
    user.is_in(uuid, "Running")


def test_ps(later: Cli, shop: Shop) -> None:
    row = only(later.table("service", "ps"), NAME=shop.name)
    assert row["UUID"] == shop.uuid[:8]
    assert row["STATUS"] == RUNNING + "Running"
    assert row["#CONTAINERS"] == "2"
    assert row["IMAGE"] == WEB
    assert row["DEPLOYED"].endswith("ago")
    assert row["PUBLIC DNS"], "the node's address, where there is no public domain"
    assert row["STACK"] == ""
    assert set(row) == {"NAME", "UUID", "STATUS", "#CONTAINERS", "IMAGE", "DEPLOYED", "PUBLIC DNS", "STACK"}


def test_ps_by_state(later: Cli, shop: Shop, name: str) -> None:
    uuid = uuid_of(later.ok("service", "create", "-n", name, SLEEPER))
    assert shop.uuid in later.ok("service", "ps", "-q", "-s", "Running").split()
    initial = later.table("service", "ps", "-s", "Init")
    assert only(initial, NAME=name)["STATUS"] == STILL + "Init"
    assert uuid not in later.ok("service", "ps", "-q", "-s", "Running").split()


def test_ps_shows_more_than_a_page(later: Cli, user: User, name: str) -> None:
    made = {user.create(f"{name}-{number}") for number in range(30)}
    listed = later.ok("service", "ps", "-q").splitlines()
    assert made <= set(listed)
    assert len(listed) == len(set(listed))
    for uuid in made:
        user.do(uuid, "terminate")


def test_inspect(later: Cli, shop: Shop) -> None:
    for identifier in (shop.name, shop.uuid, shop.uuid[:8]):
        body = json.loads(later.ok("service", "inspect", identifier))
        assert (body["uuid"], body["name"], body["state"]) == (shop.uuid, shop.name, "Running")
        assert sorted(body["containers"]) == sorted(f"/api/v1/container/{each}/" for each in shop.containers)


def test_an_unknown_service(later: Cli) -> None:
    assert later.refused("service", "inspect", "nobody") == "Cannot find a service with the identifier 'nobody'\n"
    unknown = "00000000-0000-4000-8000-000000000000"
    assert later.refused("service", "stop", unknown) == f"Cannot find a service with the identifier '{unknown}'\n"


def test_scale_with_sync_then_to_the_same_number(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    printed = later.ok("service", "scale", "--sync", name, "3")
    assert printed.splitlines()[-1] == uuid
    assert user.get(uuid)["running_num_containers"] == 3
    assert later.ok("service", "scale", name, "3") == uuid + "\n"
    assert later.ok("service", "scale", name, "1") == uuid + "\n"
    wait_for(lambda: user.get(uuid)["current_num_containers"] == 1, timeout=30, what="one container")


def test_set(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    words = ["--autorestart", "ALWAYS", "--tag", "green", "--autoredeploy", "--role", "global", "--sequential", "true"]
    assert later.ok("service", "set", *words, name) == ADVICE.format(uuid=uuid, name=name)
    service = user.get(uuid)
    assert (service["autorestart"], service["autoredeploy"], service["sequential_deployment"]) == ("ALWAYS", True, True)
    assert [each["name"] for each in service["tags"]] == ["green"]
    assert service["roles"] == ["global"]


def test_a_change_that_waits_for_the_next_start_is_marked(
    later: Cli, user: User, name: str, sleeping: Sleeping
) -> None:
    uuid = sleeping()
    user.do(uuid, "stop", wait="Success")
    assert later.ok("service", "set", "-e", "A=1", name) == ADVICE.format(uuid=uuid, name=name)
    printed = later.ok("service", "ps")
    row = only(read_table(printed), NAME=name)
    assert row["STATUS"] == STILL + "Stopped(*)"
    assert "(*) Please note that this service needs to be redeployed" in printed


def test_set_with_redeploy(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    before = user.get(uuid)["containers"]
    words = ["--image", WEB, "-e", "COLOUR=red", "-p", "80", "-t", "2", "--redeploy"]
    assert later.ok("service", "set", *words, name) == f"Redeploying Service ...\n{uuid}\n"
    wait_for(lambda: user.get(uuid)["synchronized"], timeout=60, what="the new definition")
    service = user.is_in(uuid, "Running")
    assert (service["image_name"], service["running_num_containers"]) == (WEB, 2)
    assert not set(before) & set(service["containers"])


def test_env(later: Cli, user: User, name: str) -> None:
    uuid = user.create(name, image=WEB)
    advice = ADVICE.format(uuid=uuid, name=name)
    assert later.ok("service", "env", "add", "-e", "A=1", name) == advice
    assert later.ok("service", "env", "add", "-e", "B=2", name) == advice
    assert variables(user, uuid) == {"A": "1", "B": "2"}
    rows = later.table("service", "env", "list", "--user", name)
    assert {(row["ORIGIN"], row["KEY"], row["VALUE"]) for row in rows} == {("user", "A", "1"), ("user", "B", "2")}
    assert later.ok("service", "env", "update", "-e", "A=one", name) == advice
    assert variables(user, uuid) == {"A": "one", "B": "2"}
    assert later.ok("service", "env", "remove", "-n", "B", name) == advice
    assert variables(user, uuid) == {"A": "one"}
    assert later.ok("service", "env", "set", "-e", "Z=26", name) == advice
    assert sorted(later.ok("service", "env", "list", "-q", "--user", name).split()) == ["Z=26"]
    assert "already exist" in later.refused("service", "env", "add", "-e", "Z=1", name).replace("alreasy", "already")
    assert "does not exist" in later.refused("service", "env", "update", "-e", "Y=1", name)
    assert "not a user defined" in later.refused("service", "env", "remove", "-n", "Y", name)


def test_env_list_of_all_origins(later: Cli, shop: Shop) -> None:
    rows = later.table("service", "env", "list", shop.name)
    assert only(rows, KEY="SHELF") == {"ORIGIN": "user", "KEY": "SHELF", "VALUE": "books"}
    assert only(rows, KEY="GREETING") == {"ORIGIN": "image", "KEY": "GREETING", "VALUE": "hello"}
    assert {row["ORIGIN"] for row in rows} == {"user", "image", "tutum"}
    assert "GREETING=hello" in later.ok("service", "env", "list", "-q", "--image", shop.name).splitlines()
    assert later.table("service", "env", "list", "--tutum", shop.name)


def test_env_with_redeploy(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    printed = later.ok("service", "env", "add", "-e", "A=1", "--redeploy", "--sync", name, timeout=90)
    lines = printed.splitlines()
    assert "Redeploying Service ..." in lines
    assert lines[-1] == uuid
    (container,) = user.containers(uuid)
    assert {"key": "A", "value": "1"} in container["container_envvars"]


def test_redeploy_stop_start_terminate(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    before = user.get(uuid)["containers"]
    assert later.ok("service", "redeploy", name) == uuid + "\n"
    user.is_in(uuid, "Running")
    middle = user.get(uuid)["containers"]
    assert middle != before
    assert later.ok("service", "redeploy", "--not-reuse-volumes", name) == uuid + "\n"
    user.is_in(uuid, "Running")
    assert user.get(uuid)["containers"] != middle
    assert later.ok("service", "stop", name) == uuid + "\n"
    user.is_in(uuid, "Stopped")
    assert only(later.table("service", "ps"), NAME=name)["STATUS"] == STILL + "Stopped"
    assert later.ok("service", "start", name) == uuid + "\n"
    user.is_in(uuid, "Running")
    assert later.ok("service", "terminate", name) == uuid + "\n"
    user.is_in(uuid, "Terminated")
    assert only(later.table("service", "ps"), NAME=name)["STATUS"] == GONE + "Terminated"


def test_terminate_with_sync_and_the_name_again(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    first = sleeping()
    assert later.ok("service", "terminate", "--sync", name).splitlines()[-1] == first
    assert user.get(first)["state"] == "Terminated"
    second = uuid_of(later.ok("service", "create", "-n", name, SLEEPER))
    assert json.loads(later.ok("service", "inspect", name))["uuid"] == second


def test_an_operation_out_of_place(later: Cli, user: User, name: str) -> None:
    user.create(name)
    said = later.refused("service", "stop", name)
    assert said.startswith("Status 409 (POST ")
    assert "Service is in state Init" in said


def test_logs(later: Cli, shop: Shop) -> None:
    result = later.run("service", "logs", shop.name)
    assert result.code == 0, str(result)
    assert sorted(result.out.splitlines()) == ["shop-1 | open for books", "shop-2 | open for books"]
    assert sorted(result.err.splitlines()) == ["shop-1 | late", "shop-2 | late"]


def test_the_last_lines_of_logs(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    user.logged(sleeping(run_command='sh -c "echo one; echo two; echo größer; exec sleep 1000"'), 3)
    assert later.ok("service", "logs", "-t", "2", name).splitlines() == [f"{name}-1 | two", f"{name}-1 | größer"]


def test_logs_that_follow(later: Cli, name: str, sleeping: Sleeping) -> None:
    sleeping(run_command='sh -c "while :; do echo tick; sleep 1; done"')
    with later.running("service", "logs", "-f", name) as command:
        wait_for(lambda: command.text.count(f"{name}-1 | tick\n") >= 3, timeout=20, what="three lines")
