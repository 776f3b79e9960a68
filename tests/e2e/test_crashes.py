"""Whatever is killed, the wanted containers are there in the end: no duplicates, no orphans, nothing lost."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from tests.e2e.scenario import User, owned, until
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def user(own_server: TutelaProcess) -> User:
    return User(own_server)


@pytest.mark.parametrize("delay", [0.05, 0.4, 1.5])
def test_killed_in_the_middle_of_a_deployment(user: User, engine: PrivateEngine, delay: float) -> None:
    """10 services x 3 containers; kill -9 of the whole process; exact counts afterwards."""
    ids = [user.create(f"s{n}", target=3, autorestart="ALWAYS") for n in range(10)]
    for uuid in ids:
        assert user.api.post(f"/api/v1/service/{uuid}/start/").status == 202
    until_time(delay)
    user.server.kill()
    user.server.start()
    for uuid in ids:
        service = user.is_in(uuid, "Running", timeout=90)
        assert (service["current_num_containers"], service["running_num_containers"]) == (3, 3)
    found = owned(engine)
    labels = Counter(each["Labels"]["tutela.container"] for each in found)
    assert len(found) == 30
    assert max(labels.values()) == 1
    assert {each["State"] for each in found} == {"running"}


def until_time(seconds: float) -> None:
    import threading

    threading.Event().wait(seconds)


def test_nothing_accepted_is_lost_when_killed_right_after_the_answer(user: User) -> None:
    for n in range(5):
        uuid = user.create(f"kept{n}", target=1)
        answer = user.api.post(f"/api/v1/service/{uuid}/start/")
        assert answer.status == 202
        user.server.kill()
        user.server.start()
        assert user.is_in(uuid, "Running", timeout=60)["running_num_containers"] == 1


def test_a_restart_with_nothing_to_do_changes_nothing(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("quiet", target=3, autorestart="ALWAYS")
    before = {each["Id"]: engine.client().inspect_container(each["Id"])["State"]["StartedAt"] for each in owned(engine)}
    assert user.server.stop() == 0
    user.server.start()
    user.is_in(uuid, "Running")
    after = {each["Id"]: engine.client().inspect_container(each["Id"])["State"]["StartedAt"] for each in owned(engine)}
    assert after == before


def test_crashes_are_restarted_while_the_control_plane_is_away(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("alone", target=2, autorestart="ALWAYS")
    user.server.kill()
    for each in owned(engine):
        os.kill(engine.pid_of(each["Id"]), signal.SIGKILL)
    until(lambda: len(owned(engine, running=True)) == 2, "the crashed containers to run again")
    user.server.start()
    user.is_in(uuid, "Running")


def test_what_happened_meanwhile_is_put_right_at_the_start(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("meanwhile", target=3, autorestart="ALWAYS")
    user.server.kill()
    client = engine.client()
    first, second, _ = owned(engine)
    client.remove_container(first["Id"], force=True)
    client.stop(second["Id"], timeout=1)
    user.server.start()
    until(lambda: len(owned(engine, running=True)) == 3, "three containers to run")
    user.is_in(uuid, "Running")


def test_a_crash_loop_is_stopped_between_two_starts(user: User, engine: PrivateEngine) -> None:
    uuid = user.create("loop", autorestart="ALWAYS", run_command="sh -c 'exit 3'")
    user.do(uuid, "start")

    def between() -> bool:
        service = user.get(uuid)
        return (service["state"], service["stopped_num_containers"]) == ("Stopped", 0)

    until(between, "it to wait for its next start")
    user.do(uuid, "stop", wait="Success")
    user.is_in(uuid, "Stopped")
    (there,) = [each for each in owned(engine) if each["Labels"]["tutela.service"] == uuid]
    assert there["State"] == "exited"
    assert engine.client().inspect_container(there["Id"])["HostConfig"]["RestartPolicy"]["Name"] == "no"
