"""A stack on a real engine: link order, link variables, one bad service, cancel."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.scenario import SLEEPER, WEB, User, owned, until
from tests.e2e.test_main_job import answers, by_slot, exec_in
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e
CHAIN: list[dict[str, Any]] = [
    {"name": "web", "image": SLEEPER, "links": ["api"]},
    {"name": "api", "image": WEB, "links": ["db"], "target_num_containers": 2},
    {"name": "db", "image": WEB, "environment": {"PASS": "x"}},
]


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


def make(user: User, services: list[dict[str, Any]], name: str = "shop") -> str:
    answer = user.api.post("/api/v1/stack/", json={"name": name, "services": services})
    assert answer.status == 201, answer.text
    uri: str = answer.json["resource_uri"]
    return uri


def do(user: User, uri: str, verb: str, wait: str = "Success") -> dict[str, Any]:
    answer = user.api.delete(uri) if verb == "terminate" else user.api.post(f"{uri}{verb}/")
    assert answer.status == 202, answer.text
    return user.ended(answer, wait=wait, timeout=90)


def test_the_life_of_a_stack(user: User, engine: PrivateEngine) -> None:
    uri = make(user, CHAIN)
    do(user, uri, "start")
    stack = user.api.get(uri).json
    assert (stack["state"], stack["synchronized"]) == ("Running", True)
    web, api, db = [user.api.get(each).json for each in stack["services"]]
    began = {each["name"]: engine_start(engine, each["name"]) for each in (web, api, db)}
    assert began["db"] < began["api"] < began["web"]
    environment = exec_in(engine, by_slot(engine, "web")["web-1"], ["env"])
    assert "API_1_PORT_80_TCP=tcp://api-1:80" in environment
    assert "TUTUM_STACK_NAME=shop" in environment
    assert "DB_ENV_PASS=x" in exec_in(engine, by_slot(engine, "api")["api-1"], ["env"])
    answers(engine, by_slot(engine, "web")["web-1"], "api-2", "api-2")
    do(user, uri, "stop")
    assert user.api.get(uri).json["state"] == "Stopped"
    assert owned(engine, running=True) == []
    do(user, uri, "start")
    before = {each["Id"] for each in owned(engine, running=True)}
    do(user, uri, "redeploy")
    assert not before & {each["Id"] for each in owned(engine, running=True)}
    answer = user.api.patch(uri, json={"services": [{"name": "api", "target_num_containers": 1}]})
    assert answer.status == 202
    user.ended(answer, wait="Success")
    assert len(owned(engine, running=True)) == 3
    do(user, uri, "terminate")
    assert owned(engine) == []
    assert user.api.get(uri).json["state"] == "Terminated"


def engine_start(engine: PrivateEngine, service: str) -> str:
    """When the service's last container was started, by the engine."""
    client = engine.client()
    return max(str(client.inspect_container(each)["State"]["StartedAt"]) for each in by_slot(engine, service).values())


def test_one_bad_service_fails_the_action_and_the_others_run(user: User, engine: PrivateEngine) -> None:
    # The engine refuses to start it: no moment at which it could be seen running.
    uri = make(user, [{"name": "good", "image": SLEEPER}, {"name": "bad", "image": SLEEPER, "devices": ["/dev/none"]}])
    action = do(user, uri, "start", wait="Failed")
    assert "bad-1" in action["message"]
    assert user.api.get(uri).json["state"] == "Partly running"
    assert len(owned(engine, running=True)) == 1
    do(user, uri, "terminate")


def test_cancel_of_a_stacks_start_lets_all_services_go(user: User, silent: str) -> None:
    waits = f"{silent}/none:1"
    uri = make(user, [{"name": "web", "image": SLEEPER, "links": ["db"]}, {"name": "db", "image": waits}])
    answer = user.api.post(f"{uri}start/")
    action = {key.lower(): value for key, value in answer.headers.items()}["x-tutum-action-uri"]
    assert user.api.post(f"{action}cancel/").json["state"] == "Canceled"
    until(lambda: user.api.get(uri).json["state"] == "Not running", "all services to be let go")
    assert user.api.post(f"{action}retry/").status == 202
