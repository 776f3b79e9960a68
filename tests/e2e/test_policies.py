"""Crash policies on real exits: every row of the table in spec 2.18, all at once on one server."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import sweep
from tests.e2e.conftest import cancel
from tests.e2e.scenario import User, until, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e

ENDS = "sh -c 'trap \"exit $CODE\" TERM; sleep 1; exit $CODE'"

STAYS, GOES = "Stopped", "Not running"
OFF, FAIL, WELL, ALWAYS = "OFF", "ON_FAILURE", "ON_SUCCESS", "ALWAYS"

Row = tuple[str, str, str, int]
"""autorestart, autoreplace, autodestroy, exit code."""

SETTLING: dict[Row, str] = {
    (OFF, OFF, OFF, 0): STAYS,
    (OFF, OFF, OFF, 1): STAYS,
    (OFF, OFF, FAIL, 0): STAYS,
    (OFF, OFF, FAIL, 1): GOES,
    (OFF, OFF, WELL, 0): GOES,
    (OFF, OFF, WELL, 1): STAYS,
    (OFF, OFF, ALWAYS, 0): GOES,
    (OFF, OFF, ALWAYS, 1): GOES,
    (FAIL, OFF, OFF, 0): STAYS,
    (FAIL, OFF, WELL, 0): GOES,
    (FAIL, OFF, ALWAYS, 0): GOES,
    (FAIL, OFF, FAIL, 0): STAYS,
    (OFF, FAIL, OFF, 0): STAYS,
    (OFF, FAIL, ALWAYS, 0): GOES,
    (FAIL, FAIL, ALWAYS, 0): GOES,
    (FAIL, FAIL, OFF, 0): STAYS,
    (FAIL, FAIL, FAIL, 0): STAYS,
    (FAIL, FAIL, WELL, 0): GOES,
}
REPLACED: dict[Row, str] = {
    # Three replacements, and before each three restarts where the policy is to restart; then what autodestroy says.
    (OFF, FAIL, OFF, 1): STAYS,
    (OFF, ALWAYS, OFF, 0): STAYS,
    (OFF, ALWAYS, OFF, 1): STAYS,
    (OFF, FAIL, ALWAYS, 1): GOES,
    (ALWAYS, FAIL, OFF, 1): STAYS,
    (ALWAYS, ALWAYS, OFF, 0): STAYS,
    (ALWAYS, ALWAYS, OFF, 1): STAYS,
    (FAIL, FAIL, OFF, 1): STAYS,
    (FAIL, FAIL, FAIL, 1): GOES,
    (FAIL, FAIL, WELL, 1): STAYS,
    (FAIL, FAIL, ALWAYS, 1): GOES,
}
RESTARTING: list[Row] = [
    (FAIL, OFF, OFF, 1),
    (FAIL, OFF, WELL, 1),
    (FAIL, OFF, FAIL, 1),
    (FAIL, OFF, ALWAYS, 1),
    (ALWAYS, OFF, OFF, 0),
    (ALWAYS, OFF, OFF, 1),
    (ALWAYS, FAIL, OFF, 0),
]


@dataclass(frozen=True)
class Place:
    """A server, and the service of each row, all started at the same time."""

    user: User
    uuids: dict[Row, str]

    def shown(self, row: Row) -> dict[str, Any]:
        return self.user.get(self.uuids[row])

    def rests(self, row: Row, state: str) -> bool:
        service = self.shown(row)
        return bool(service["state"] == state and service["running_num_containers"] == 0)

    def replacements(self) -> Counter[Row]:
        """How often containers of each row were replaced by policy."""
        api, found = self.user.api, Counter[Row]()
        actions = api.get("/api/v1/action/?action=Container%20Redeploy&limit=100").json["objects"]
        ended = {each["object"].split("/")[-2] for each in actions if not each["is_user_action"]}
        rows = {uuid: row for row, uuid in self.uuids.items()}
        path = "/api/v1/container/?limit=100"
        while path:
            page = api.get(path).json
            for each in page["objects"]:
                row = rows.get(each["service"].split("/")[-2])
                if row is not None and each["uuid"] in ended:
                    found[row] += 1
            path = page["meta"]["next"]
        return found


@pytest.fixture(scope="module")
async def place(engine: PrivateEngine, postgres: TestPostgres) -> AsyncIterator[Place]:
    dsn = await postgres.fresh()
    process = TutelaProcess(docker_host=engine.base_url, dsn=dsn)
    try:
        process.start()
        user = User(process)
        # Those that take longest first.
        rows = [*REPLACED, *RESTARTING, *SETTLING]
        yield Place(user, {row: launch(user, f"row{number}", row) for number, row in enumerate(rows)})
    finally:
        process.close()
        sweep(engine)
        await postgres.drop(dsn)


def launch(user: User, name: str, row: Row) -> str:
    policies: dict[str, Any] = dict(zip(("autorestart", "autoreplace", "autodestroy"), row[:3], strict=True))
    env = [{"key": "CODE", "value": str(row[3])}]
    uuid = user.create(name, run_command=ENDS, container_envvars=env, **policies)
    assert user.api.post(f"/api/v1/service/{uuid}/start/").status == 202
    return uuid


@pytest.mark.parametrize("row", RESTARTING, ids=str)
def test_a_row_that_restarts(place: Place, row: Row) -> None:
    """More than three times: after as many, those of other rows are replaced."""

    def restarts() -> bool:
        containers = place.user.containers(place.uuids[row])
        return len(containers) == 1 and int(containers[0]["restart_count"]) >= 4

    until(restarts, f"{row} to restart four times", timeout=180)
    assert place.shown(row)["state"] not in {"Scaling", "Redeploying", "Stopping", "Terminating"}
    # It would go on for ever: what nobody looks at any more takes the machine from what is still to be seen.
    until(lambda: given_up(place.user, place.uuids[row]), f"{row} to be terminated")


def given_up(user: User, uuid: str) -> bool:
    path = f"/api/v1/service/{uuid}/"
    if user.api.delete(path).status == 202:
        return True
    cancel(user.server, path)  # it has not run for long enough to count as started
    return False


@pytest.mark.parametrize("row", SETTLING, ids=str)
def test_a_row_that_comes_to_rest(place: Place, row: Row) -> None:
    until(lambda: place.rests(row, SETTLING[row]), f"{row} to come to rest", timeout=120)


@pytest.mark.parametrize("row", REPLACED, ids=str)
def test_a_row_that_is_replaced(place: Place, row: Row) -> None:
    until(lambda: place.replacements()[row] == 3, f"{row} to be replaced three times", timeout=180)
    until(lambda: place.rests(row, REPLACED[row]), f"{row} to come to rest", timeout=120)


def test_what_came_to_rest_stays_so(place: Place) -> None:
    """By now the rows that are replaced took many times as long as anything that was still to come of the others."""
    rested = {**SETTLING, **REPLACED}
    for row, state in rested.items():
        until(lambda row=row, state=state: place.rests(row, state), f"{row} to stay at rest", timeout=60)  # type: ignore[misc]
    assert place.replacements() == dict.fromkeys(REPLACED, 3)


def test_restarts_come_before_replacements(place: Place) -> None:
    user = place.user
    uuid = launch(user, "both", (FAIL, FAIL, OFF, 1))
    (first,) = user.containers(uuid) or [wait_for(lambda: user.containers(uuid) or None, timeout=30, what="it")[0]]

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


def test_a_users_stop_is_no_crash(place: Place) -> None:
    user = place.user
    uuid = user.run("web", autoreplace="ALWAYS", autodestroy="ALWAYS")
    (container,) = user.containers(uuid)
    user.do(uuid, "stop", wait="Success")
    service = user.get(uuid)
    assert (service["state"], service["stopped_num_containers"]) == ("Stopped", 1)
    assert service["containers"] == [container["resource_uri"]]
