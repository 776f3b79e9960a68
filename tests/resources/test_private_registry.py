"""A private image from its registration to a running container, on a real engine and a real registry (spec 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scenario import User, owned
from tests.harness.engine import PrivateEngine
from tests.harness.registry import PASSWORD, USER, Registry
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


@pytest.fixture
def guarded(engine: PrivateEngine) -> Iterator[Registry]:
    serving = Registry(engine.host_address, 5001, auth=True)
    try:
        serving.start()
        yield serving
    finally:
        serving.close()


def files(folder: Path) -> bytes:
    """All that the server left on the disk."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_private_image_runs_once_it_is_registered(user: User, engine: PrivateEngine, guarded: Registry) -> None:
    image = guarded.push(engine, "team/app", greeting="one")
    name = f"{guarded.address}/team/app"
    uuid = user.create("app", image=name, target=2)
    refused = user.do(uuid, "start", wait="Failed")
    assert "does not let us pull it" in refused["message"]

    answer = user.api.post("/api/v1/image/", json={"name": name, "username": USER, "password": PASSWORD})
    assert answer.status == 201, answer.text
    user.do(uuid, "start", wait="Success")
    assert {each["ImageID"] for each in owned(engine, running=True)} == {image}
    tag = user.api.get(user.get(uuid)["image_tag"]).json
    assert tag["layer"]["docker_id"] == image
    assert {"key": "GREETING", "value": "one"} in tag["layer"]["envvars"]
    assert user.api.get(f"/api/v1/image/{name}/").json["in_use"] is True

    newer = guarded.push(engine, "team/app", greeting="two")
    user.do(uuid, "redeploy", wait="Success")
    assert {each["ImageID"] for each in owned(engine, running=True)} == {newer}

    # Without the login the next deployment fails, and what runs stays.
    assert user.api.delete(f"/api/v1/image/{name}/").status == 204
    guarded.push(engine, "team/app", greeting="three")
    user.do(uuid, "redeploy", wait="Failed")
    assert {each["ImageID"] for each in owned(engine, running=True)} == {newer}

    left = files(user.server.state_dir)
    assert b"ledger" in b" ".join(path.name.encode() for path in user.server.state_dir.rglob("*"))
    assert PASSWORD.encode() not in left


def test_the_command_line_sets_a_password(user: User) -> None:
    import base64
    import subprocess
    import sys

    environment = user.server.environment
    done = subprocess.run(
        [sys.executable, "-P", "-m", "app.cli", "password", "--stdin"],
        input="correct:horse battery\n",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "battery" not in done.stdout + done.stderr
    header = {"Authorization": "Basic " + base64.b64encode(b"admin:correct:horse battery").decode()}
    answer = user.api.get("/api/v1/auth/", auth=False, headers=header)
    assert (answer.status, answer.json["objects"][0]["username"]) == (200, "admin")
    short = subprocess.run(
        [sys.executable, "-P", "-m", "app.cli", "password", "--stdin"],
        input="short\n",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert short.returncode == 1
    assert "8 characters" in short.stderr
