"""Triggers on a real engine: the address is the secret, calls wait for their turn (spec 4.10)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.scenario import SLOW, User, owned, until
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


def trigger(user: User, uuid: str, **body: Any) -> dict[str, Any]:
    answer = user.api.post(f"/api/v1/service/{uuid}/trigger/", json=body)
    assert answer.status == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def newest(user: User, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = user.api.get(f"/api/v1/action/?object=/api/v1/service/{uuid}/").json["objects"][0]
    return found


def environment(engine: PrivateEngine) -> list[str]:
    (entry,) = owned(engine, running=True)
    found: list[str] = engine.client().inspect_container(entry["Id"])["Config"]["Env"]
    return found


def test_a_call_without_credentials_redeploys_with_the_body(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web")
    made = trigger(user, uuid, name="push", operation="redeploy")
    assert (made["name"], made["operation"]) == ("push", "REDEPLOY")
    before = owned(engine)[0]["Id"]
    headers = {"Content-Type": "text/plain"}
    answer = user.api.post(made["url"], auth=False, headers=headers, json={"push": 1})
    assert (answer.status, answer.json["uuid"]) == (202, made["uuid"])
    action = user.ended(answer, wait="Success")
    assert (action["action"], action["is_user_action"]) == ("Service Redeploy", False)
    assert made["uuid"] not in str(action)
    assert owned(engine, running=True)[0]["Id"] != before
    assert 'TUTUM_TRIGGER_BODY={"push": 1}' in environment(engine)
    wrong = made["url"].replace(made["uuid"], uuid)
    assert user.api.post(wrong, auth=False).status == 404
    assert user.api.delete(made["resource_uri"]).status == 200
    assert user.api.post(made["url"], auth=False).status == 404


def test_calls_wait_for_what_is_under_way_and_come_in_turn(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web", run_command=SLOW)
    more = trigger(user, uuid, operation="SCALEUP")
    again = trigger(user, uuid)
    first = user.api.post(again["url"], auth=False)
    waiting = [user.api.post(f"{more['url']}2/", auth=False), user.api.post(more["url"], auth=False)]
    assert [answer.status for answer in (first, *waiting)] == [202, 202, 202]
    uri = {key.lower(): value for key, value in waiting[0].headers.items()}["x-tutum-action-uri"]
    assert user.api.get(uri).json["state"] == "Pending"
    for answer in (first, *waiting):
        user.ended(answer, wait="Success")
    service = user.get(uuid)
    assert (service["target_num_containers"], service["running_num_containers"]) == (4, 4)


def test_a_call_that_is_not_possible_says_so(user: User) -> None:
    uuid = user.create("web")
    made = trigger(user, uuid)
    refused = user.api.post(made["url"], auth=False)
    assert refused.status == 409
    assert "Init" in refused.json["error"]
    assert user.api.post(f"{made['url']}0/", auth=False).status == 400
    up = trigger(user, uuid, operation="SCALEUP")
    assert user.api.post(f"{up['url']}5000/", auth=False).status == 400
    assert user.api.post(f"{up['url']}3/", auth=False).status == 202
    until(lambda: user.get(uuid)["target_num_containers"] == 4, "the target to be stored")
    assert newest(user, uuid)["state"] == "Success"


def test_too_many_calls_are_slowed_down(user: User) -> None:
    uuid = user.create("web")
    made = trigger(user, uuid)
    answers = [user.api.post(made["url"], auth=False) for _ in range(31)]
    assert {each.status for each in answers[:10]} == {409}
    assert [int(each.headers["retry-after"]) > 0 for each in answers if each.status == 429][:1] == [True]
