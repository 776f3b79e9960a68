"""Images from a registry: pulled when missing, newest at a redeploy, never needed for recovery."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.scenario import User, owned, until
from tests.harness.engine import PrivateEngine
from tests.harness.registry import Registry
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


def images_of(engine: PrivateEngine) -> set[str]:
    return {each["ImageID"] for each in owned(engine, running=True)}


def test_start_pulls_and_redeploy_takes_the_newest(user: User, engine: PrivateEngine, registry: Registry) -> None:
    first = registry.push(engine, "app", greeting="one")
    uuid = user.run("app", image=f"{registry.address}/app", target=2)
    assert images_of(engine) == {first}
    second = registry.push(engine, "app", greeting="two")
    user.patch(uuid, target_num_containers=3, wait="Success")
    assert images_of(engine) == {first}  # one deployment, one image, although the tag has moved
    user.do(uuid, "redeploy", wait="Success")
    assert images_of(engine) == {second}
    assert user.get(uuid)["link_variables"]["APP_ENV_GREETING"] == "two"


def test_a_redeploy_that_cannot_pull_touches_nothing(user: User, engine: PrivateEngine, registry: Registry) -> None:
    registry.push(engine, "kept", greeting="one")
    uuid = user.run("kept", image=f"{registry.address}/kept", target=2)
    before = {each["Id"] for each in owned(engine, running=True)}
    registry.stop()
    action = user.do(uuid, "redeploy", wait="Failed", timeout=90)
    assert "cannot be reached" in action["message"]
    assert {each["Id"] for each in owned(engine, running=True)} == before
    assert user.get(uuid)["state"] == "Running"
    why = user.api.get(f"/api/v1/service/{uuid}/explain/").json["slots"]
    said = "it runs as it was before the last operation, which failed: "
    assert all(each["text"].startswith(said) for each in why)


def test_recovery_and_scaling_need_no_registry(user: User, engine: PrivateEngine, registry: Registry) -> None:
    registry.push(engine, "alone", greeting="one")
    uuid = user.run("alone", image=f"{registry.address}/alone", target=2, autorestart="ALWAYS")
    registry.stop()
    first, second = owned(engine)
    engine.client().remove_container(first["Id"], force=True)
    os.kill(engine.pid_of(second["Id"]), signal.SIGKILL)
    until(lambda: len(owned(engine, running=True)) == 2, "both to run again without the registry")
    user.patch(uuid, target_num_containers=4, wait="Success")
    assert len(owned(engine, running=True)) == 4


def test_an_image_that_the_registry_does_not_have(user: User, registry: Registry) -> None:
    uuid = user.create("missing", image=f"{registry.address}/none:v9")
    action = user.do(uuid, "start", wait="Failed")
    assert "the registry does not have the image" in action["message"]
    assert user.get(uuid)["state"] == "Not running"
    (why,) = user.api.get(f"/api/v1/service/{uuid}/explain/").json["slots"]
    assert why["text"] == f"the last operation failed: {action['message']}"
