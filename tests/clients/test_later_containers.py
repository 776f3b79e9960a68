"""`tutum container ...` of CLI 0.21.1."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.clients.cli import RUNNING, STILL, Cli, only
from tests.clients.conftest import Shop
from tests.e2e.scenario import WEB, User, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.postgres]
Sleeping = Callable[..., str]


def container(user: User, uuid: str) -> dict[str, object]:
    answer = user.api.get(f"/api/v1/container/{uuid}/")
    assert answer.status == 200, answer.text
    body: dict[str, object] = answer.json
    return body


def comes_to(user: User, uuid: str, state: str) -> None:
    wait_for(lambda: container(user, uuid)["state"] == state, timeout=30, what=f"container to be {state}")


def the_one(user: User, service: str) -> str:
    (found,) = user.containers(service)
    return str(found["uuid"])


def test_ps(later: Cli, user: User, shop: Shop) -> None:
    rows = later.table("container", "ps", "--no-trunc")
    row = only(rows, NAME="shop-1")
    body = container(user, row["UUID"])
    (port,) = [each for each in body["container_ports"] if each["inner_port"] == 80]  # type: ignore[attr-defined]
    assert row["UUID"] in shop.containers
    assert row["STATUS"] == RUNNING + "Running"
    assert row["IMAGE"] == WEB
    assert row["RUN COMMAND"].startswith("sh -c ")
    assert row["EXIT CODE"] == ""
    assert row["DEPLOYED"].endswith("ago")
    assert body["public_dns"], "the node's address, where there is no public domain"
    assert row["PORTS"] == f"{body['public_dns']}:{port['outer_port']}->80/tcp"
    assert row["NODE"] == str(body["node"]).strip("/").rpartition("/")[2]
    short = only(later.table("container", "ps"), NAME="shop-1")
    assert (short["UUID"], short["NODE"]) == (row["UUID"][:8], row["NODE"][:8])
    assert len(short["RUN COMMAND"]) == 20


def test_ps_of_a_service_and_by_state(later: Cli, shop: Shop) -> None:
    assert sorted(later.ok("container", "ps", "-q", "--service", shop.name).split()) == sorted(shop.containers)
    assert set(shop.containers) <= set(later.ok("container", "ps", "-q", "-s", "Running").split())
    assert not set(shop.containers) & set(later.ok("container", "ps", "-q", "-s", "Stopped").split())


def test_inspect(later: Cli, shop: Shop) -> None:
    (uuid,) = later.ok("container", "ps", "-q", "--service", shop.name).split()[:1]
    body = json.loads(later.ok("container", "inspect", uuid))
    for identifier in (uuid[:8], body["name"]):
        assert json.loads(later.ok("container", "inspect", identifier))["uuid"] == uuid
    assert body["service"] == f"/api/v1/service/{shop.uuid}/"
    assert later.refused("container", "inspect", "x-9") == "Cannot find a container with the identifier 'x-9'\n"


def test_stop_start_redeploy_terminate(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    service = sleeping()
    first = the_one(user, service)
    assert later.ok("container", "stop", f"{name}-1") == first + "\n"
    comes_to(user, first, "Stopped")
    row = only(later.table("container", "ps"), NAME=f"{name}-1")
    assert (row["STATUS"], row["EXIT CODE"]) == (STILL + "Stopped", "0")
    assert later.ok("container", "start", f"{name}-1") == first + "\n"
    comes_to(user, first, "Running")
    printed = later.ok("container", "redeploy", f"{name}-1").strip()
    assert printed == first
    wait_for(
        lambda: [each["uuid"] != first and each["state"] == "Running" for each in user.containers(service)] == [True],
        timeout=30,
        what="another container",
    )
    second = the_one(user, service)
    assert later.ok("container", "terminate", "--sync", f"{name}-1").splitlines()[-1] == second
    assert container(user, second)["state"] == "Terminated"
    assert user.get(service)["target_num_containers"] == 1


def test_redeploy_without_the_volumes(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    first = the_one(user, sleeping())
    assert later.ok("container", "redeploy", "--not-reuse-volumes", first) == first + "\n"


def test_logs(later: Cli, shop: Shop) -> None:
    result = later.run("container", "logs", "shop-1")
    assert (result.code, result.out, result.err) == (0, "open for books\n", "late\n"), str(result)


def test_logs_that_follow(later: Cli, name: str, sleeping: Sleeping) -> None:
    sleeping(run_command='sh -c "while :; do echo tick; sleep 1; done"')
    with later.running("container", "logs", "-f", "-t", "1", f"{name}-1") as command:
        wait_for(lambda: command.text.count("tick\n") >= 3, timeout=20, what="three lines")


def test_exec_at_a_terminal(later: Cli, shop: Shop) -> None:
    result = later.run("container", "exec", "shop-1", "ls", "/", terminal=True, timeout=30)
    assert result.code == 0, str(result)
    assert {"bin", "etc", "www"} <= set(result.out.split()), str(result)
    assert result.err == "", str(result)


def test_exec_keeps_words_together(later: Cli, shop: Shop) -> None:
    result = later.run("exec", "shop-1", "sh", "-c", 'echo "a  b" $SHELF', terminal=True, timeout=30)
    assert (result.code, result.out.split("\r\n")[0]) == (0, "a  b books"), str(result)


def test_a_shell_at_a_terminal(later: Cli, shop: Shop) -> None:
    with later.running("container", "exec", "shop-1", terminal=True) as shell:
        shell.sees("# ")
        shell.types("echo 6$((3+4))\r")
        shell.sees("\r\n67\r\n")
        shell.types("exit\r")
        assert shell.ends() == 0, shell.text


def test_a_shell_that_reads_a_pipe(later: Cli, shop: Shop) -> None:
    """The client sends on after the server has closed; so its exit code is a matter of luck, as it was with Tutum."""
    result = later.run("container", "exec", "shop-1", keys="echo 6$((3+4))\n", timeout=30)
    assert "67" in result.out, str(result)
    assert result.code in {0, 3}, str(result)


def test_exec_in_a_container_that_does_not_run(later: Cli, user: User, name: str, sleeping: Sleeping) -> None:
    uuid = sleeping()
    user.do(uuid, "stop", wait="Success")
    result = later.run("container", "exec", f"{name}-1", "ls", terminal=True, timeout=30)
    assert result.code in {0, 3}, str(result)
    assert "bin" not in result.out.split(), str(result)
