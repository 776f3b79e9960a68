"""Many users at once: whatever they ask for, in the end the API and the engine agree (bars of the issue)."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import docker.errors
import pytest

from tests.e2e.scenario import User, owned, until, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.images import import_image
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e

SERVICES, OPERATIONS, AT_ONCE, SEED, CRASHES = 20, 200, 8, 20141121, 0.1
QUICK = "sh -c 'trap \"exit 0\" TERM; while :; do sleep 1; done'"
WHAT = ["start", "start", "stop", "redeploy", "scale", "target", "env", "container", "container", "cancel", "terminate"]
MOST_GONE = 6
"""So many of the services may be terminated, so that the storm does not end for want of services."""
OPEN = {"Pending", "In progress", "Canceling"}


POLICIES: list[dict[str, Any]] = [
    {},
    {"autorestart": "ALWAYS"},
    {"autoreplace": "ON_FAILURE"},
    {"autodestroy": "ON_FAILURE"},
    {"autorestart": "ON_FAILURE", "autoreplace": "ON_FAILURE"},
]


@dataclass
class Storm:
    """What all threads know: the services, what was answered, and who is terminated."""

    user: User
    engine: PrivateEngine
    uuids: list[str]
    codes: Counter[int] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    gone: set[str] = field(default_factory=set)


def accepted_operation(storm: Storm, seed: int) -> None:
    """Draw until something was accepted; now and then something crashes besides."""
    chance = random.Random(seed)
    if chance.random() < CRASHES:
        running = owned(storm.engine, running=True)
        with contextlib.suppress(docker.errors.APIError):  # it went meanwhile
            if running:
                storm.engine.client().kill(chance.choice(running)["Id"])
    for _ in range(1000):
        what = chance.choice(WHAT)
        uuid = chance.choice([each for each in storm.uuids if each not in storm.gone])
        if what == "terminate" and len(storm.gone) >= MOST_GONE:
            continue
        code = one_operation(storm.user, uuid, what, chance)
        storm.codes[code] += 1
        if 200 <= code < 300:
            storm.accepted[what] += 1
            if what == "terminate":
                storm.gone.add(uuid)
            return
    raise AssertionError("a thousand draws were refused")


def one_operation(user: User, uuid: str, what: str, chance: random.Random) -> int:
    """Something that a user may do; the status of the answer, 0 when there was nothing to do it to."""
    path = f"/api/v1/service/{uuid}/"
    if what == "terminate":
        return int(user.api.delete(path).status)
    if what in {"start", "stop", "redeploy", "scale"}:
        return int(user.api.post(f"{path}{what}/").status)
    if what == "target":
        return int(user.api.patch(path, json={"target_num_containers": chance.randint(0, 3)}).status)
    if what == "env":
        env = [{"key": "N", "value": str(chance.randint(1, 3))}]
        return int(user.api.patch(path, json={"container_envvars": env}).status)
    if what == "cancel":
        actions = user.api.get(f"/api/v1/action/?object={path}&limit=1").json["objects"]
        return int(user.api.post(f"{actions[0]['resource_uri']}cancel/").status)
    containers = user.get(uuid)["containers"]
    if not containers:
        return 0
    verb = chance.choice(["start", "stop", "redeploy", "terminate"])
    uri = chance.choice(containers)
    return int((user.api.delete(uri) if verb == "terminate" else user.api.post(f"{uri}{verb}/")).status)


def all_of(user: User, kind: str, query: str = "") -> list[dict[str, Any]]:
    """All objects of a list, page by page."""
    found: list[dict[str, Any]] = []
    path = f"/api/v1/{kind}/?limit=100{query}"
    while path:
        page = user.api.get(path).json
        found += page["objects"]
        path = page["meta"]["next"]
    return found


def agreed(user: User, engine: PrivateEngine) -> bool:
    """Whether nothing is under way, and the engine has exactly what the API shows."""
    if any(each["state"] in OPEN for each in all_of(user, "action")):
        return False
    live = [each for each in all_of(user, "container") if each["state"] != "Terminated"]
    if not {each["state"] for each in live} <= {"Running", "Stopped"}:
        return False
    said = {each["uuid"]: each["state"] == "Running" for each in live}
    there = {each["Labels"]["tutela.container"]: each["State"] == "running" for each in owned(engine)}
    return said == there


def test_two_hundred_operations_in_parallel(
    own_server: TutelaProcess, engine: PrivateEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    user = User(own_server)
    uuids = [user.create(f"s{n}", target=1, run_command=QUICK, **POLICIES[n % len(POLICIES)]) for n in range(SERVICES)]
    storm = Storm(user, engine, uuids)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda n: accepted_operation(storm, SEED + n), range(OPERATIONS)))
    assert set(storm.codes) <= {0, 200, 202, 409}, storm.codes
    assert sum(storm.accepted.values()) == OPERATIONS
    assert storm.accepted["terminate"] == len(storm.gone) > 0
    began = time.monotonic()
    until(lambda: agreed(user, engine), "the API and the engine to agree", timeout=60)
    took = time.monotonic() - began
    for uuid in uuids:
        service = user.get(uuid)
        assert (service["state"] == "Terminated") is (uuid in storm.gone), service
        assert service["current_num_containers"] <= service["target_num_containers"], service
    with capsys.disabled():
        print(
            f"\n[storm] {OPERATIONS} operations accepted ({dict(sorted(storm.accepted.items()))}),"
            f" {storm.codes[409]} refused; agreed {took:.1f} s after the last"
        )


def test_a_redeployment_with_a_bad_image_halts_at_the_first(own_server: TutelaProcess, engine: PrivateEngine) -> None:
    user = User(own_server)
    turning = "tutela/turning:latest"
    import_image(engine.client(), turning, command=["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"])
    uuid = user.run("web", image=turning, target=4)
    old = set(user.get(uuid)["containers"])
    import_image(engine.client(), turning, command=["sh", "-c", "exit 1"])
    user.do(uuid, "redeploy")
    action = wait_for(lambda: ended(user, uuid), timeout=60, what="the redeployment to end")
    assert action["state"] == "Failed"
    assert "exit code 1" in action["message"]
    service = user.get(uuid)
    assert service["running_num_containers"] >= 3
    assert len(old & set(service["containers"])) >= 3
    assert (service["state"], service["synchronized"]) == ("Partly running", False)


def ended(user: User, uuid: str) -> dict[str, Any] | None:
    (newest,) = user.api.get(f"/api/v1/action/?object=/api/v1/service/{uuid}/&limit=1").json["objects"]
    return newest if newest["state"] not in OPEN else None
