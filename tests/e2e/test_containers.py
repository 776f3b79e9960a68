"""Operations on single containers, cancel and retry, by HTTP on a real engine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.scenario import SLOW, WEB, User, owned, until, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


def do(user: User, container: dict[str, Any], verb: str, wait: str = "Success") -> dict[str, Any]:
    """An operation on the container; the body of the answer, once its action has ended so."""
    uri = container["resource_uri"]
    answer = user.api.delete(uri) if verb == "terminate" else user.api.post(f"{uri}{verb}/")
    assert answer.status == 202, answer.text
    user.ended(answer, wait=wait)
    body: dict[str, Any] = answer.json
    return body


def test_stop_start_redeploy_and_terminate_one_of_two(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web", target=2)
    first, second = user.containers(uuid)
    assert do(user, first, "stop")["state"] == "Stopping"
    service = user.get(uuid)
    assert (service["state"], service["running_num_containers"], service["stopped_num_containers"]) == (
        "Partly running",
        1,
        1,
    )
    refused = user.api.post(f"{first['resource_uri']}stop/")
    assert refused.status == 409
    assert "Stopped" in refused.json["error"]
    assert "start" in refused.json["error"]
    assert do(user, first, "start")["state"] == "Starting"
    assert user.get(uuid)["state"] == "Running"
    assert do(user, second, "redeploy")["state"] == "Terminating"
    containers = user.containers(uuid)
    assert [each["name"] for each in containers] == ["web-1", "web-2"]
    assert containers[1]["uuid"] != second["uuid"]
    assert user.get(uuid)["state"] == "Running"
    assert do(user, containers[0], "terminate")["state"] == "Terminating"
    service = user.get(uuid)
    assert (service["state"], service["target_num_containers"], service["current_num_containers"]) == (
        "Partly running",
        2,
        1,
    )
    user.do(uuid, "start", wait="Success")
    assert len(owned(engine, running=True)) == 2


def test_a_container_of_a_stopped_service_is_started_alone(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web", target=2)
    user.do(uuid, "stop", wait="Success")
    do(user, user.containers(uuid)[1], "start")
    assert user.get(uuid)["state"] == "Partly running"
    assert [each["Names"][0].split(".")[0] for each in owned(engine, running=True)] == ["/web-2"]


def test_a_container_may_be_changed_only_between_operations(user: User) -> None:
    uuid = user.create("slow", target=2, run_command=SLOW)
    user.do(uuid, "start", wait="Success")
    container = user.containers(uuid)[0]
    answer = user.api.post(f"/api/v1/service/{uuid}/stop/")
    refused = user.api.post(f"{container['resource_uri']}stop/")
    assert refused.status == 409
    assert "stop" in refused.json["error"]
    user.ended(answer, wait="Success")


def test_a_crash_loop_can_be_ended_by_its_container(user: User) -> None:
    uuid = user.create("loop", run_command="sh -c 'exit 3'", autorestart="ALWAYS")
    user.do(uuid, "start", timeout=90)  # well if its moment of running was seen, else failed
    until(lambda: user.containers(uuid)[0]["restart_count"] >= 1, "it to loop")
    (container,) = user.containers(uuid)
    do(user, container, "stop")
    assert user.get(uuid)["state"] == "Stopped"


def test_cancel_of_a_start_that_cannot_end(user: User, silent: str) -> None:
    uuid = user.create("blocked", tags=[{"name": "nowhere"}])
    answer = user.api.post(f"/api/v1/service/{uuid}/start/")
    action = user.ended(answer)
    assert action["state"] == "Failed", "a service that fits no node fails at once"
    pull = user.create("pull", image=f"{silent}/none:1")
    answer = user.api.post(f"/api/v1/service/{pull}/start/")
    assert answer.json["state"] == "Starting"
    uri = answer.headers.get("X-Tutum-Action-URI") or answer.headers["x-tutum-action-uri"]
    assert user.api.get(uri).json["can_be_canceled"] is True
    canceled = user.api.post(f"{uri}cancel/")
    assert (canceled.status, canceled.json["state"]) == (202, "Canceled")
    service = user.get(pull)
    assert service["state"] == "Not running"
    again = user.api.post(f"{uri}cancel/")
    assert again.status == 409
    assert "Canceled" in again.json["error"]
    user.do(pull, "terminate", wait="Success")


def test_cancel_in_the_middle_of_a_redeployment_leaves_what_runs(user: User, engine: PrivateEngine) -> None:
    """The successor that was made beside the first, and never ran, goes with it."""
    uuid = user.run("web", target=3, run_command=SLOW)
    before = set(user.get(uuid)["containers"])
    answer = user.api.post(f"/api/v1/service/{uuid}/redeploy/")
    wait_for(lambda: set(user.get(uuid)["containers"]) - before or None, timeout=20, what="the first to be followed")
    uri = {key.lower(): value for key, value in answer.headers.items()}["x-tutum-action-uri"]
    assert user.api.post(f"{uri}cancel/").status == 202
    until(lambda: len(user.containers(uuid)) == 2, "the one under way to go")
    service = user.get(uuid)
    assert (service["state"], service["running_num_containers"]) == ("Partly running", 2)
    user.do(uuid, "start", wait="Success")
    assert user.get(uuid)["state"] == "Running"


def test_retry_repeats_an_ended_operation(user: User) -> None:
    uuid = user.run("web")
    stop = user.do(uuid, "stop", wait="Success")
    user.do(uuid, "start", wait="Success")
    assert stop["can_be_retried"] is True
    answer = user.api.post(f"{stop['resource_uri']}retry/")
    assert answer.status == 202
    assert answer.json["uuid"] != stop["uuid"]
    assert answer.json["action"] == "Service Stop"
    user.ended(answer, wait="Success")
    assert user.get(uuid)["state"] == "Stopped"


def test_a_container_shows_its_links(user: User) -> None:
    port = {"protocol": "tcp", "inner_port": 80}
    target = user.run("web", image=WEB, target=2, container_ports=[port])
    client = user.run("client", linked_to_service=[{"to_service": "web", "name": "DB"}])
    (container,) = user.containers(client)
    linked = {each["name"]: each for each in container["linked_to_container"]}
    assert sorted(linked) == ["DB_1", "DB_2"]
    assert linked["DB_1"]["endpoints"] == {"80/tcp": "tcp://web-1:80"}
    assert linked["DB_1"]["to_container"] in user.get(target)["containers"]


def test_a_policy_change_reaches_running_containers(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web")
    (engine_id,) = [each["Id"] for each in owned(engine)]
    user.patch(uuid, autorestart="ALWAYS")
    client = engine.client()
    until(
        lambda: client.inspect_container(engine_id)["HostConfig"]["RestartPolicy"]["Name"] == "always",
        "the engine's policy to follow",
    )
    assert user.containers(uuid)[0]["autorestart"] == "ALWAYS"
