"""Crash policies on real exits: every row of the table in spec 2.18."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.scenario import User, until, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e

ENDS = "sh -c 'trap \"exit $CODE\" TERM; sleep 1; exit $CODE'"

STAYS, GOES = "Stopped", "Not running"
OFF, FAIL, WELL, ALWAYS = "OFF", "ON_FAILURE", "ON_SUCCESS", "ALWAYS"

SETTLING = [
    # autorestart, autoreplace, autodestroy, exit code, what is left
    (OFF, OFF, OFF, 0, STAYS),
    (OFF, OFF, OFF, 1, STAYS),
    (OFF, OFF, FAIL, 0, STAYS),
    (OFF, OFF, FAIL, 1, GOES),
    (OFF, OFF, WELL, 0, GOES),
    (OFF, OFF, WELL, 1, STAYS),
    (OFF, OFF, ALWAYS, 0, GOES),
    (OFF, OFF, ALWAYS, 1, GOES),
    (FAIL, OFF, OFF, 0, STAYS),
    (FAIL, OFF, WELL, 0, GOES),
    (FAIL, OFF, ALWAYS, 0, GOES),
    (FAIL, OFF, FAIL, 0, STAYS),
    (OFF, FAIL, OFF, 0, STAYS),
    (OFF, FAIL, ALWAYS, 0, GOES),
    (FAIL, FAIL, ALWAYS, 0, GOES),
    (FAIL, FAIL, OFF, 0, STAYS),
    (FAIL, FAIL, FAIL, 0, STAYS),
    (FAIL, FAIL, WELL, 0, GOES),
    # Budgets: three replacements, and three restarts before each, then what autodestroy says.
    (OFF, FAIL, OFF, 1, STAYS),
    (OFF, ALWAYS, OFF, 0, STAYS),
    (OFF, ALWAYS, OFF, 1, STAYS),
    (OFF, FAIL, ALWAYS, 1, GOES),
]
RESTARTING = [
    (FAIL, OFF, OFF, 1),
    (FAIL, OFF, WELL, 1),
    (FAIL, OFF, FAIL, 1),
    (ALWAYS, OFF, OFF, 0),
    (ALWAYS, OFF, OFF, 1),
    (ALWAYS, FAIL, OFF, 0),
]


@pytest.fixture
def user(server: TutelaProcess) -> User:
    return User(server)


def policies(row: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("autorestart", "autoreplace", "autodestroy"), row[:3], strict=True))


def launch(user: User, name: str, row: tuple[Any, ...]) -> str:
    env = [{"key": "CODE", "value": str(row[3])}]
    uuid = user.create(name, run_command=ENDS, container_envvars=env, **policies(row))
    assert user.api.post(f"/api/v1/service/{uuid}/start/").status == 202
    return uuid


def test_the_rows_that_come_to_rest(user: User) -> None:
    launched = {launch(user, f"row{number}", row): row for number, row in enumerate(SETTLING)}
    for uuid, row in launched.items():
        limit = [each for each in user.api.get(f"/api/v1/action/?object=/api/v1/service/{uuid}/").json["objects"]]
        assert limit, row

    def rest(uuid: str, wanted: str) -> bool:
        service = user.get(uuid)
        return bool(service["state"] == wanted and service["running_num_containers"] == 0)

    for uuid, row in launched.items():
        # A replacement takes the place of its predecessor within moments, so rest is what stays for a while.
        until(lambda uuid=uuid, row=row: rest(uuid, row[4]), f"{row} to come to rest", timeout=90)  # type: ignore[misc]
    for uuid, row in launched.items():
        until(lambda uuid=uuid, row=row: rest(uuid, row[4]), f"{row} to stay at rest", timeout=60)  # type: ignore[misc]
    replaced = next(uuid for uuid, row in launched.items() if row == (OFF, FAIL, OFF, 1, STAYS))
    until(lambda: replacements(user, replaced) == 3, "three replacements", timeout=60)
    until(lambda: rest(replaced, STAYS), "it to stop after them")


def replacements(user: User, uuid: str) -> int:
    found = user.api.get("/api/v1/action/?action=Container Redeploy&limit=100".replace(" ", "%20")).json["objects"]
    rows = {each["uuid"] for each in user.api.get(f"/api/v1/container/?service={uuid}&limit=100").json["objects"]}
    return sum(1 for each in found if not each["is_user_action"] and each["object"].split("/")[-2] in rows)


def test_the_rows_that_restart(user: User) -> None:
    launched = {launch(user, f"row{number}", row): row for number, row in enumerate(RESTARTING)}

    def restarts(uuid: str) -> int:
        (container,) = user.containers(uuid)
        return int(container["restart_count"])

    for uuid, row in launched.items():
        until(lambda uuid=uuid: restarts(uuid) >= 2, f"{row} to restart twice", timeout=60)  # type: ignore[misc]
        assert user.get(uuid)["state"] not in {"Scaling", "Redeploying", "Stopping"}


def test_restarts_come_before_replacements(user: User) -> None:
    uuid = launch(user, "both", (FAIL, FAIL, OFF, 1))
    (first,) = user.containers(uuid) or [wait_for(lambda: user.containers(uuid) or None, timeout=10, what="it")[0]]

    def successor() -> dict[str, Any] | None:
        found = [each for each in user.containers(uuid) if each["uuid"] != first["uuid"]]
        return found[0] if found else None

    second = wait_for(successor, timeout=60, what="the replacement")
    assert second["name"] == first["name"]
    ended = user.api.get(first["resource_uri"]).json
    assert ended["restart_count"] == 3
    actions = user.api.get(f"/api/v1/action/?object={first['resource_uri']}").json["objects"]
    assert [(each["action"], each["is_user_action"]) for each in actions] == [("Container Redeploy", False)]
    assert "autoreplace is ON_FAILURE" in actions[0]["message"]


def test_a_users_stop_is_no_crash(user: User, engine: PrivateEngine) -> None:
    uuid = user.run("web", autoreplace="ALWAYS", autodestroy="ALWAYS")
    (container,) = user.containers(uuid)
    user.do(uuid, "stop", wait="Success")
    service = user.get(uuid)
    assert (service["state"], service["stopped_num_containers"]) == ("Stopped", 1)
    assert service["containers"] == [container["resource_uri"]]
