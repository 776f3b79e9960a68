"""Managed volumes on a real engine: kept over a redeployment, gone with the service, shared by volumes_from."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.scenario import SLOW, User, owned, until
from tests.e2e.test_main_job import by_slot, exec_in
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e
DATA = [{"container_path": "/data", "host_path": None, "rewritable": True}]


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


def volumes(engine: PrivateEngine) -> list[str]:
    found = engine.client().volumes()["Volumes"] or []
    return sorted(each["Name"] for each in found if each["Name"].startswith("tutela-"))


def write(engine: PrivateEngine, service: str, text: str) -> None:
    for name, engine_id in by_slot(engine, service).items():
        exec_in(engine, engine_id, ["sh", "-c", f"echo {text} {name} > /data/file"])


def read(engine: PrivateEngine, service: str) -> dict[str, str]:
    found = by_slot(engine, service)
    return {name: exec_in(engine, each, ["cat", "/data/file"]).strip() for name, each in found.items()}


def test_volumes_outlive_a_redeployment_and_go_with_the_service(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("db", target=2, bindings=DATA)
    write(engine, "db", "kept")
    before = {each["Id"] for each in owned(engine)}
    user.patch(uuid, container_envvars=[{"key": "A", "value": "1"}], wait="Success")
    assert not before & {each["Id"] for each in owned(engine)}
    assert read(engine, "db") == {"db-1": "kept db-1", "db-2": "kept db-2"}
    (container, _) = user.containers(uuid)
    (binding,) = container["bindings"]
    assert binding["volume"].startswith("/api/v1/volume/")
    assert (binding["container_path"], binding["host_path"], binding["rewritable"]) == ("/data", None, True)
    fresh = user.api.post(f"/api/v1/service/{uuid}/redeploy/?reuse_volumes=False")
    user.ended(fresh, wait="Success")
    assert "kept" not in str(read(engine, "db"))
    assert len(volumes(engine)) == 2
    user.patch(uuid, target_num_containers=1, wait="Success")
    assert len(volumes(engine)) == 1
    user.do(uuid, "terminate", wait="Success")
    assert volumes(engine) == []


def test_volumes_from_another_service_which_then_may_not_go(user: User, engine: PrivateEngine) -> None:
    db = user.run("db", bindings=DATA)
    write(engine, "db", "shared")
    backup = user.run("backup", bindings=[{"volumes_from": f"/api/v1/service/{db}/", "rewritable": False}])
    assert read(engine, "backup") == {"backup-1": "shared db-1"}
    refused = user.api.delete(f"/api/v1/service/{db}/")
    assert refused.status == 409
    assert "backup" in refused.json["error"]
    user.do(backup, "terminate", wait="Success")
    assert len(volumes(engine)) == 1
    user.do(db, "terminate", wait="Success")
    assert volumes(engine) == []


def test_a_replaced_container_keeps_its_volume(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("db", bindings=DATA)
    write(engine, "db", "kept")
    (container,) = user.containers(uuid)
    user.ended(user.api.post(f"{container['resource_uri']}redeploy/"), wait="Success")
    assert read(engine, "db") == {"db-1": "kept db-1"}
    (container,) = user.containers(uuid)
    user.ended(user.api.delete(container["resource_uri"]), wait="Success")
    until(lambda: volumes(engine) == [], "the data of a terminated container to go")


def test_volumes_of_a_slot_without_a_container_go_too(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("db", target=2, bindings=DATA, autoreplace="ALWAYS")
    # Its second container ends and is to be replaced, but no node has the tag for the next one.
    user.patch(uuid, tags=[{"name": "nowhere"}])
    os.kill(engine.pid_of(by_slot(engine, "db")["db-2"]), signal.SIGKILL)
    until(lambda: [*by_slot(engine, "db")] == ["db-1"], "the slot to be empty")
    assert len(volumes(engine)) == 2
    user.do(uuid, "terminate", wait="Success")
    until(lambda: volumes(engine) == [], "all volumes to go")
    assert user.is_in(uuid, "Terminated")["current_num_containers"] == 0


def test_the_volume_that_a_redeployment_keeps_goes_with_a_service_that_ends_meanwhile(
    user: User, engine: PrivateEngine
) -> None:
    uuid = user.run("db", bindings=DATA, run_command=SLOW)
    (container,) = user.containers(uuid)
    redeployed = user.api.post(f"{container['resource_uri']}redeploy/")
    user.do(uuid, "terminate", wait="Success")
    user.ended(redeployed)
    assert owned(engine) == []
    assert volumes(engine) == []


def test_a_path_of_the_host_is_mounted_when_it_is_there_and_may_be(
    user: User, engine: PrivateEngine, tmp_path: Path
) -> None:
    shared, link, missing = tmp_path / "shared", tmp_path / "link", tmp_path / "missing"
    shared.mkdir()
    link.symlink_to("/etc")
    user.run("host", bindings=[{"container_path": "/data", "host_path": str(shared), "rewritable": False}])
    (engine_id,) = by_slot(engine, "host").values()
    assert "Read-only" in exec_in(engine, engine_id, ["sh", "-c", "echo x > /data/file"])
    # What only the host can tell: a link that leads to what is nobody's. And nothing is made as root.
    for path, why in ((link, "inside /etc, which no container may have"), (missing, "does not exist")):
        uuid = user.create(path.name, bindings=[{"container_path": "/data", "host_path": str(path)}])
        assert why in user.do(uuid, "start", wait="Failed")["message"]
    assert not missing.exists()


def test_a_binding_to_a_service_that_is_not_there_is_refused(user: User) -> None:
    body = {"image": "a", "bindings": [{"volumes_from": "/api/v1/service/00000000-0000-4000-8000-000000000000/"}]}
    refused = user.api.post("/api/v1/service/", json=body)
    assert refused.status == 400
    assert list(refused.json["fields"]) == ["bindings[0].volumes_from"]
