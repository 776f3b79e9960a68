"""The main job by HTTP only: a service becomes real containers and stays true."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.e2e.scenario import SLEEPER, WEB, User, owned, until, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


def running_names(engine: PrivateEngine) -> list[str]:
    return sorted(each["Names"][0] for each in owned(engine, running=True))


def exec_in(engine: PrivateEngine, engine_id: str, command: list[str]) -> str:
    client = engine.client()
    handle = client.exec_create(engine_id, command)
    output: bytes = client.exec_start(handle["Id"])
    return output.decode()


def answers(engine: PrivateEngine, engine_id: str, host: str, answer: str) -> None:
    """Until the container is answered so by that name: a container runs a moment before the server in it listens."""
    ask = ["wget", "-qO-", f"http://{host}/"]
    wait_for(lambda: answer in exec_in(engine, engine_id, ask), timeout=30, what=f"{host} to answer {answer}")


def by_slot(engine: PrivateEngine, service: str) -> dict[str, str]:
    # By the begin of the name: what follows the slot is a part of an id, which may spell another service's name.
    found = [each for each in owned(engine, running=True) if each["Names"][0].startswith(f"/{service}-")]
    return {each["Names"][0].lstrip("/").split(".")[0]: each["Id"] for each in found}


def test_paths_as_clients_spell_them(user: User) -> None:
    uuid = user.create("web")
    for path in ("//api/v1/service/", "/api/v1/service", f"/api//v1/service//{uuid}"):
        assert user.api.get(path).status == 200


def test_the_host_says_how_its_engine_is_set_up(user: User, engine: PrivateEngine) -> None:
    until(lambda: bool(user.api.get("/api/v1/node/").json["objects"]), "the agent to register", timeout=60)
    (node,) = user.api.get("/api/v1/node/").json["objects"]
    codes = {note["code"] for note in node["engine_notes"]}
    assert {"no-live-restore", "no-user-namespaces", "open-default-bridge"} <= codes
    assert engine.client().info()["LiveRestoreEnabled"] is False


def test_life_of_a_service(user: User, engine: PrivateEngine) -> None:
    uuid = user.create("web", target=2)
    assert user.get(uuid)["state"] == "Init"
    assert owned(engine) == []
    user.do(uuid, "start", wait="Success")
    service = user.get(uuid)
    assert (service["state"], service["current_num_containers"], service["running_num_containers"]) == ("Running", 2, 2)
    assert len(owned(engine, running=True)) == 2
    user.patch(uuid, target_num_containers=4, wait="Success")
    assert len(owned(engine, running=True)) == 4
    user.patch(uuid, target_num_containers=1, wait="Success")
    assert len(owned(engine)) == 1
    user.do(uuid, "stop", wait="Success")
    service = user.get(uuid)
    assert (service["state"], service["running_num_containers"], service["stopped_num_containers"]) == ("Stopped", 0, 1)
    before = owned(engine)[0]["Id"]
    user.do(uuid, "start", wait="Success")
    assert [each["Id"] for each in owned(engine, running=True)] == [before]
    user.do(uuid, "terminate", wait="Success")
    assert owned(engine) == []
    assert user.get(uuid)["state"] == "Terminated"
    until(lambda: not engine.client().networks(filters={"label": "tutela.cluster"}), "the service's network to go")


def test_redeploy_with_a_changed_environment_replaces_every_container(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web", target=2)
    before = {each["Id"] for each in owned(engine)}
    user.patch(uuid, container_envvars=[{"key": "COLOUR", "value": "green"}], wait="Success")
    after = {each["Id"] for each in owned(engine, running=True)}
    assert len(after) == 2
    assert not before & after
    for each in after:
        assert "COLOUR=green" in engine.client().inspect_container(each)["Config"]["Env"]


def test_what_is_removed_or_stopped_behind_its_back_is_put_right(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web", target=2, autorestart="ALWAYS")
    client = engine.client()
    names = running_names(engine)
    first, second = owned(engine)
    client.remove_container(first["Id"], force=True)
    until(lambda: running_names(engine) == names, "the removed container to be back")
    client.stop(second["Id"], timeout=1)
    until(lambda: running_names(engine) == names, "the stopped container to run again")
    client.pause(second["Id"])
    until(lambda: client.inspect_container(second["Id"])["State"]["Status"] == "running", "it to be unpaused")
    user.is_in(uuid, "Running")


def test_a_crash_is_restarted_by_policy_only(user: User, engine: PrivateEngine) -> None:
    always = user.run("always", autorestart="ALWAYS")
    off = user.run("off")
    for name in ("always-1", "off-1"):
        (engine_id,) = [each["Id"] for each in owned(engine) if each["Names"][0].startswith(f"/{name}.")]
        os.kill(engine.pid_of(engine_id), signal.SIGKILL)
    service = user.is_in(off, "Stopped")
    assert service["stopped_num_containers"] == 1
    (container,) = user.containers(off)
    assert container["exit_code"] == 137
    assert container["state"] == "Stopped"
    user.is_in(always, "Running")


def test_foreign_containers_are_never_touched(user: User, engine: PrivateEngine) -> None:
    client = engine.client()
    foreign = client.create_container(SLEEPER, command=["sleep", "1000"], name="web-1", labels={"some": "label"})
    client.start(foreign["Id"])
    before = client.inspect_container(foreign["Id"])
    try:
        uuid = user.run("web", target=2, autorestart="ALWAYS")
        user.do(uuid, "terminate", wait="Success")
        assert client.inspect_container(foreign["Id"]) == before
    finally:
        client.remove_container(foreign["Id"], force=True)


def test_links_give_variables_and_names_over_a_network_of_its_own(user: User, engine: PrivateEngine) -> None:
    port = {"protocol": "tcp", "inner_port": 80}
    target = user.run("web", image=WEB, target=2, container_ports=[port])
    client = user.run("client", linked_to_service=[{"to_service": f"/api/v1/service/{target}/", "name": "DB"}])
    stranger = user.run("stranger")
    ids = {name: by_slot(engine, name)[f"{name}-1"] for name in ("client", "stranger")}
    environment = dict(line.partition("=")[::2] for line in exec_in(engine, ids["client"], ["env"]).splitlines())
    assert environment["DB_1_PORT_80_TCP"] == "tcp://web-1:80"
    assert environment["DB_2_PORT_80_TCP_ADDR"] == "web-2"
    assert environment["DB_PORT"] == "tcp://web-1:80"
    assert environment["DB_ENV_GREETING"] == "hello"
    assert environment["DB_TUTUM_API_URL"] == f"{environment['TUTUM_REST_HOST']}/api/v1/service/{target}/"
    names = (("web-1", "web-1"), ("web-2", "web-2"), ("web", "web-"), ("db", "web-"), ("web_2", "web-2"))
    for host, answer in (*names, ("db-1", "web-1"), ("db_2", "web-2")):
        answers(engine, ids["client"], host, answer)
    assert "bad address" in exec_in(engine, ids["stranger"], ["wget", "-qO-", "http://web-1/"])
    attribute = user.get(target)["link_variables"]
    assert attribute["WEB_1_PORT_80_TCP"] == "tcp://web-1:80"
    assert user.get(target)["linked_from_service"][0]["from_service"] == f"/api/v1/service/{client}/"
    user.do(stranger, "terminate", wait="Success")


def test_links_follow_the_target(user: User, engine: PrivateEngine) -> None:
    port = {"protocol": "tcp", "inner_port": 80}
    target = user.run("web", image=WEB, container_ports=[port])
    client = user.run("client", linked_to_service=[{"to_service": "web", "name": "db"}])
    (before,) = by_slot(engine, "client").values()

    def variables() -> set[str]:
        (container,) = user.containers(client)
        return {each["key"] for each in container["container_envvars"] if each["key"].endswith("_PORT_80_TCP_ADDR")}

    def heard(host: str, answer: str) -> None:
        answers(engine, by_slot(engine, "client")["client-1"], host, answer)

    assert variables() == {"DB_PORT_80_TCP_ADDR", "DB_1_PORT_80_TCP_ADDR"}
    user.patch(target, target_num_containers=3, wait="Success")
    assert "WEB_3_PORT_80_TCP" in user.get(target)["link_variables"]
    heard("db-3", "web-3")
    assert by_slot(engine, "client")["client-1"] == before
    user.do(client, "redeploy", wait="Success")
    assert variables() == {f"DB{index}_PORT_80_TCP_ADDR" for index in ("", "_1", "_2", "_3")}
    user.do(target, "redeploy", wait="Success")
    heard("db-2", "web-2")
    user.do(target, "stop", wait="Success")
    assert "WEB_1_PORT_80_TCP" not in user.get(target)["link_variables"]
    user.do(target, "start", wait="Success")
    heard("db_1", "web-1")
    assert set(user.get(target)["link_variables"]) >= {"WEB_1_PORT_80_TCP", "WEB_ENV_GREETING"}


def test_published_ports_are_reached_from_outside(user: User, engine: PrivateEngine) -> None:
    import urllib.request

    port = {"protocol": "tcp", "inner_port": 80, "published": True}
    uuid = user.run("web", image=WEB, target=2, container_ports=[port])
    numbers = [each["outer_port"] for row in user.containers(uuid) for each in row["container_ports"]]
    assert len(set(numbers)) == 2

    def read(number: int) -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://{engine.address}:{number}/", timeout=5) as answer:
                body: bytes = answer.read()
                return body
        except OSError:  # its server does not listen yet
            return None

    for number in numbers:
        body = wait_for(lambda number=number: read(number), timeout=60, what="an answer")  # type: ignore[misc]
        assert b"web-" in body


def test_logs_of_a_service_are_joined(user: User) -> None:
    uuid = user.run("talker", target=2, run_command="sh -c 'echo hello from $HOSTNAME; exec sleep 1000'")

    def both() -> str | None:
        text: str = user.api.get(f"/api/v1/service/{uuid}/logs/").json["logs"]
        return text if text.count("hello from") == 2 else None

    text = wait_for(both, timeout=60, what="both lines of log")
    assert "[talker-1] " in text
    assert "hello from talker-2\n" in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": "127.0.0.1:1/none:1"}, "cannot be reached"),
        ({"run_command": "/no/such/program"}, "not found"),
    ],
)
def test_a_start_that_cannot_be_says_why(
    user: User, engine: PrivateEngine, change: dict[str, Any], reason: str
) -> None:
    uuid = user.create("broken", **change)
    action = user.do(uuid, "start", wait="Failed", timeout=90)
    assert reason in action["message"]
    assert user.get(uuid)["running_num_containers"] == 0
    assert [each for each in owned(engine, running=True)] == []


def test_stop_beats_a_crash_loop(user: User) -> None:
    uuid = user.create("loop", run_command="sh -c 'exit 3'", autorestart="ALWAYS")
    action = user.do(uuid, "start", timeout=90)
    assert action["state"] == "Failed" or user.get(uuid)["state"] in {"Running", "Partly running", "Stopped"}
    if user.get(uuid)["state"] in {"Running", "Partly running"}:
        answer = user.api.post(f"/api/v1/service/{uuid}/stop/")
        if answer.status == 202:
            user.ended(answer, wait="Success")
        else:  # since the look it has ended once more
            assert "Service is in state Stopped" in answer.text
    user.do(uuid, "terminate", wait="Success")
