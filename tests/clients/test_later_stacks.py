"""`tutum stack ...` of CLI 0.21.1, with stack files as its users write them."""

from __future__ import annotations

import json

import pytest

from tests.clients.cli import GONE, RUNNING, STILL, Cli, only, uuid_of
from tests.e2e.scenario import SLEEPER, WEB, User, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.engine, pytest.mark.postgres]

FILE = f"""
web:
  image: {WEB}
  links:
    - db:store
  ports:
    - "80"
  environment:
    COLOUR: red
    EMPTY:
  restart: on-failure
  target_num_containers: 2
db:
  image: {SLEEPER}
  environment:
    - A=1
  expose:
    - "5432"
  volumes:
    - /data
"""
ONE = f"one:\n  image: {SLEEPER}\n"


@pytest.fixture
def stackfile(later: Cli) -> str:
    (later.home / "tutum.yml").write_text(FILE)
    return str(later.home / "tutum.yml")


def stack(user: User, uuid: str) -> dict[str, object]:
    answer = user.api.get(f"/api/v1/stack/{uuid}/")
    assert answer.status == 200, answer.text
    body: dict[str, object] = answer.json
    return body


def comes_to(user: User, uuid: str, state: str) -> None:
    wait_for(lambda: stack(user, uuid)["state"] == state, timeout=60, what=f"stack to be {state}")


def services(user: User, uuid: str) -> dict[str, dict[str, object]]:
    found = [user.api.get(uri).json for uri in stack(user, uuid)["services"]]  # type: ignore[attr-defined]
    return {each["name"]: each for each in found}


def test_create(later: Cli, user: User, name: str) -> None:
    (later.home / "mine.yml").write_text(FILE.replace("  restart:", "  tags: front\n  restart:"))
    printed = later.ok("stack", "create", "-n", name, "-f", "mine.yml")
    uuid = uuid_of(printed)
    assert printed == uuid + "\n"
    made = stack(user, uuid)
    assert (made["name"], made["state"]) == (name, "Not running")
    parts = services(user, uuid)
    assert set(parts) == {"web", "db"}
    web, db = parts["web"], parts["db"]
    assert [(each["name"], each["to_service"]) for each in web["linked_to_service"]] == [  # type: ignore[attr-defined]
        ("store", db["resource_uri"])
    ]
    assert (web["autorestart"], web["target_num_containers"], web["state"]) == ("ON_FAILURE", 2, "Init")
    assert {each["key"]: each["value"] for each in web["container_envvars"]} == {  # type: ignore[attr-defined]
        "COLOUR": "red",
        "EMPTY": "",
    }
    assert [each["name"] for each in web["tags"]] == ["front"]  # type: ignore[attr-defined]
    assert web["stack"] == f"/api/v1/stack/{uuid}/"


def test_a_stack_named_after_the_folder(later: Cli, user: User, name: str) -> None:
    folder = later.home / name
    folder.mkdir()
    (folder / "tutum.yml").write_text(ONE)
    assert stack(user, uuid_of(later.ok("stack", "create", cwd=folder)))["name"] == name


def test_the_life_of_a_stack(later: Cli, user: User, name: str, stackfile: str) -> None:
    lines = later.ok("stack", "up", "--sync", "-n", name, "-f", stackfile, timeout=90).splitlines()
    uuid = lines[-1]
    assert lines[-2].rstrip(".") == "Success"
    comes_to(user, uuid, "Running")

    row = only(later.table("stack", "list"), NAME=name)
    assert (row["UUID"], row["STATUS"], row["DESTROYED"]) == (uuid[:8], RUNNING + "Running", "")
    assert row["DEPLOYED"].endswith("ago")
    assert uuid in later.ok("stack", "list", "-q").split()

    rows = later.table("service", "ps", "--stack", name)
    assert {(each["NAME"], each["STATUS"], each["STACK"]) for each in rows} == {
        ("web", RUNNING + "Running", name),
        ("db", RUNNING + "Running", name),
    }
    mine = [each for each in later.table("container", "ps") if each["STACK"] == name]
    assert sorted(each["NAME"] for each in mine) == ["db-1", "web-1", "web-2"]
    assert json.loads(later.ok("service", "inspect", f"db.{name}"))["stack"] == f"/api/v1/stack/{uuid}/"
    assert json.loads(later.ok("container", "inspect", f"web-2.{name}"))["name"] == "web-2"

    for identifier in (uuid, uuid[:8], name):
        assert json.loads(later.ok("stack", "inspect", identifier))["uuid"] == uuid

    assert later.ok("stack", "stop", name) == uuid + "\n"
    comes_to(user, uuid, "Stopped")
    assert only(later.table("stack", "list"), NAME=name)["STATUS"] == STILL + "Stopped"
    assert later.ok("stack", "start", name) == uuid + "\n"
    comes_to(user, uuid, "Running")
    before = {key: each["containers"] for key, each in services(user, uuid).items()}
    assert later.ok("stack", "redeploy", name) == uuid + "\n"
    comes_to(user, uuid, "Running")
    after = {key: each["containers"] for key, each in services(user, uuid).items()}
    assert all(before[key] != after[key] for key in before)
    assert later.ok("stack", "terminate", name) == uuid + "\n"
    comes_to(user, uuid, "Terminated")
    row = only(later.table("stack", "list"), NAME=name)
    assert row["STATUS"] == GONE + "Terminated"
    assert row["DESTROYED"].endswith("ago")


def test_up_is_also_a_command_of_its_own(later: Cli, user: User, name: str) -> None:
    (later.home / "tutum.yml").write_text(ONE)
    uuid = uuid_of(later.ok("up", "-n", name))
    comes_to(user, uuid, "Running")
    assert later.ok("stack", "redeploy", "--not-reuse-volumes", name) == uuid + "\n"


def test_export(later: Cli, name: str, stackfile: str) -> None:
    uuid = uuid_of(later.ok("stack", "create", "-n", name, "-f", stackfile))
    printed = later.ok("stack", "export", name)
    assert printed.startswith("None\n")  # the client prints the name of the file, and there is none
    assert f"image: {WEB}" in printed
    assert later.ok("stack", "export", "-f", "out.yml", uuid) == "out.yml\n"
    text = (later.home / "out.yml").read_text()
    assert {line for line in text.splitlines() if line and not line.startswith((" ", "-"))} == {"web:", "db:"}
    again = uuid_of(later.ok("stack", "create", "-n", f"{name}-again", "-f", "out.yml"))
    assert later.ok("stack", "export", again) == printed


def test_update(later: Cli, user: User, name: str, stackfile: str) -> None:
    uuid = uuid_of(later.ok("stack", "create", "-n", name, "-f", stackfile))
    (later.home / "new.yml").write_text(FILE.replace("COLOUR: red", "COLOUR: blue") + ONE)
    assert later.ok("stack", "update", "-f", "new.yml", name) == uuid + "\n"
    parts = services(user, uuid)
    assert set(parts) == {"web", "db", "one"}
    assert {"key": "COLOUR", "value": "blue"} in parts["web"]["container_envvars"]  # type: ignore[operator]


def test_refusals(later: Cli, name: str, stackfile: str) -> None:
    assert later.refused("stack", "inspect", "nothing") == "Cannot find a stack with the identifier 'nothing'\n"
    (later.home / "bad.yml").write_text(f"a:\n  image: {SLEEPER}\n  colour: red\n")
    said = later.refused("stack", "create", "-n", name, "-f", "bad.yml")
    assert said.startswith("Status 400 ")
    assert "colour" in said
    later.ok("stack", "create", "-n", name, "-f", stackfile)
    assert later.refused("stack", "create", "-n", name, "-f", stackfile).startswith("Status 409 ")
