"""Users in each other's way, and users who mean no good."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.chaos.fault import Broken, Fault, Wound
from tests.chaos.lives import fewest
from tests.chaos.stage import AWAY, Stage, now
from tests.chaos.watch import EVERY
from tests.harness.images import EXITER, SLEEPER
from tests.harness.server import Response
from tests.harness.wait import let_pass, wait_for

LIMIT = 60.0
DEAF = "sh -c 'trap : TERM; while :; do sleep 1; done'"
"""Does not end when it is asked to: a stop takes its whole grace."""


def _shows(stage: Stage, uuid: str, state: str, count: int | None = None) -> bool:
    shown = stage.api.get(f"/api/v1/service/{uuid}/").json
    return shown["state"] == state and count in {None, shown["running_num_containers"]}


def _accepted(call: Callable[[], Response]) -> Response:
    """Ask until it is accepted: 409 is the right answer while something else is under way."""

    def ask() -> Response | None:
        answer = call()
        if answer.status not in {200, 202, 409}:
            raise Broken(f"a user's call was answered {answer.status}: {answer.text}")
        return answer if answer.status != 409 else None

    return wait_for(ask, timeout=LIMIT, what="a user's call to be accepted", every=0.1)


def _at_once(*calls: Callable[[], Response]) -> Sequence[Response]:
    with ThreadPoolExecutor(len(calls)) as together:
        return [each.result() for each in [together.submit(call) for call in calls]]


def _env(value: str) -> dict[str, Any]:
    return {"container_envvars": [{"key": "ROUND", "value": value}]}


def _envs(stage: Stage, uuid: str) -> list[str]:
    label = {"label": f"tutela.service={uuid}"}
    found = []
    for host in stage.hosts:
        client = host.engine.client()
        for each in client.containers(filters=label):
            found += [one for one in client.inspect_container(each["Id"])["Config"]["Env"] if one.startswith("ROUND=")]
    return found


def _least(stage: Stage, uuid: str, began: float) -> None:
    """Never more than one container less than wanted, since then (I7)."""
    lives, count = [life for watch in stage.watches.values() for life in watch.lives.values()], len(stage.hosts)
    # What is newer than the oldest look may not have been seen yet.
    least = fewest(lives, uuid, began, min(watch.seen_at for watch in stage.watches.values()))
    if least < count - 1:
        raise Broken(f"I7: {least} of {count} containers ran at a time since {began:.2f}, while it was redeployed")


def _spread(stage: Stage, name: str) -> tuple[str, float]:
    """A service with a container on every host, and since when the watchers know all of them."""
    more = {"autorestart": "ALWAYS", "deployment_strategy": "HIGH_AVAILABILITY"}
    uuid = stage.made(name, target_num_containers=len(stage.hosts), **more)
    let_pass(2 * EVERY)
    return uuid, now()


def _patch_during_redeploy(stage: Stage, chance: random.Random) -> Wound:
    """The newest definition wins, in all containers (I8)."""
    uuid, began = _spread(stage, "race")
    path, value = f"/api/v1/service/{uuid}/", str(chance.randrange(1_000_000))
    _accepted(lambda: stage.api.post(f"{path}redeploy/"))
    let_pass(chance.uniform(0, 1.5))
    _accepted(lambda: stage.api.patch(path, json=_env(value)))

    def after() -> None:
        found = _envs(stage, uuid)
        stage.terminate_soon(uuid)
        if found != [f"ROUND={value}"] * len(stage.hosts):
            raise Broken(f"I8: after the PATCH with ROUND={value} the containers have {found}")
        _least(stage, uuid, began)

    return Wound(where=uuid, well=lambda: _shows(stage, uuid, "Running", len(stage.hosts)), after=after)


def _killed_rollout(stage: Stage, chance: random.Random) -> Wound:
    """The control planes die in the middle of a redeployment and go on with it when they are back."""
    uuid, began = _spread(stage, "rolled")
    _accepted(lambda: stage.api.post(f"/api/v1/service/{uuid}/redeploy/"))
    let_pass(chance.uniform(0, 1.5))
    stage.lose(*stage.planes)
    for plane in stage.planes:
        plane.kill()

    def heal() -> None:
        for plane in stage.planes:
            plane.start()
        stage.regain(*stage.planes)

    def after() -> None:
        stage.terminate_soon(uuid)
        _least(stage, uuid, began)

    return Wound(where=uuid, heal=heal, well=lambda: _shows(stage, uuid, "Running", len(stage.hosts)), after=after)


def _delete_during_start(stage: Stage, chance: random.Random) -> Wound:
    """Whatever the start was doing, nothing of it is left (I9)."""
    image = chance.choice([SLEEPER, f"{stage.registry.address}/app"])
    made = stage.api.post("/api/v1/service/", json={"image": image, "name": "short", "target_num_containers": 2})
    if made.status != 201:
        raise Broken(f"F43: a create was answered {made.status}: {made.text}")
    uuid = str(made.json["uuid"])
    _accepted(lambda: stage.api.post(f"/api/v1/service/{uuid}/start/"))
    let_pass(chance.uniform(0, 0.8))
    _accepted(lambda: stage.api.delete(f"/api/v1/service/{uuid}/"))
    return Wound(where=uuid, well=lambda: stage.terminated(uuid))


def _two_scales(stage: Stage, chance: random.Random) -> Wound:
    """Both are accepted and the record's is what runs (I8)."""
    uuid = stage.made("scaled")
    path = f"/api/v1/service/{uuid}/"
    first, second = chance.sample([1, 2, 3, 4], 2)
    answers = _at_once(
        lambda: stage.api.patch(path, json={"target_num_containers": first}),
        lambda: stage.api.patch(path, json={"target_num_containers": second}),
    )
    if {each.status for each in answers} - {200, 202}:
        raise Broken(f"F44: two scalings were answered {[each.text for each in answers]}")
    target = stage.api.get(path).json["target_num_containers"]
    if target not in {first, second}:
        raise Broken(f"F44: the target is {target} after {first} and {second}")
    return Wound(
        where=f"to {first} and {second}",
        well=lambda: _shows(stage, uuid, "Running", target),
        after=lambda: stage.terminate_soon(uuid),
    )


def _two_creates(stage: Stage, chance: random.Random) -> Wound:
    """Names need not be unique: two services with names of their own in links and on hosts, or one and a refusal."""
    body = {"image": SLEEPER, "name": "twin"}
    answers = _at_once(*[lambda: stage.api.post("/api/v1/service/", json=body)] * 2)
    made = [each.json for each in answers if each.status == 201]
    if not made or {each.status for each in answers} - {201, 409}:
        raise Broken(f"F45: two creates were answered {[each.text for each in answers]}")
    for key in ("uuid", "unique_name"):
        if len({each[key] for each in made}) != len(made):
            raise Broken(f"F45: two services have one {key}: {[each[key] for each in made]}")
    for each in made:
        stage.terminate_soon(each["uuid"])
    return Wound(where=f"{len(made)} were made", well=lambda: all(stage.terminated(each["uuid"]) for each in made))


def _start_in_grace(stage: Stage, chance: random.Random) -> Wound:
    """The engine says that it runs, and then it ends: the newest order is what counts (E10)."""
    uuid = stage.made("deaf", run_command=DEAF, autorestart="ALWAYS")
    _accepted(lambda: stage.api.post(f"/api/v1/service/{uuid}/stop/"))
    let_pass(chance.uniform(0, 2))
    _accepted(lambda: stage.api.post(f"/api/v1/service/{uuid}/start/"))
    return Wound(
        where=uuid,
        well=lambda: _shows(stage, uuid, "Running", 1),
        after=lambda: stage.terminate_soon(uuid),
    )


def _crash_loop(stage: Stage, chance: random.Random) -> Wound:
    """Starts become rare, and nobody else notices."""
    body = {"image": EXITER, "name": "crasher", "target_num_containers": 3, "autorestart": "ALWAYS"}
    made = stage.api.post("/api/v1/service/", json=body)
    uuid, began = str(made.json["uuid"]), now()
    _accepted(lambda: stage.api.post(f"/api/v1/service/{uuid}/start/"))

    def meanwhile() -> None:
        let_pass(6)
        starts = sum(turn.began and turn.service == uuid for turn in stage.turns(began))
        # The engine's own pauses double from 0.1 s (E19): six or seven starts of each in so long.
        if starts > 3 * 12:
            raise Broken(f"F49: three containers that crash were started {starts} times in {now() - began:.1f} s")

    return Wound(
        where=uuid, meanwhile=meanwhile, heal=lambda: stage.terminate_soon(uuid), well=lambda: stage.terminated(uuid)
    )


def _deep(levels: int) -> Any:
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


HOSTILE: Sequence[Any] = (
    {"image": SLEEPER, "target_num_containers": -1},
    {"image": SLEEPER, "target_num_containers": 10**9},
    {"image": SLEEPER, "name": "x" * 300},
    {"image": SLEEPER, "name": "../../etc"},
    {"image": SLEEPER, "container_envvars": [{"key": "A", "value": "x" * 1_000_000}]},
    {"image": SLEEPER, "container_envvars": [{"key": "A\x00B", "value": "1"}]},
    {"image": SLEEPER, "container_envvars": [{"key": f"K{n}", "value": "1"} for n in range(10_000)]},
    {"image": "UPPER/Case:::"},
    {"image": 7},
    {"image": SLEEPER, "container_envvars": _deep(200)},
    {},
    [],
    "text",
)


def _hostile(stage: Stage, chance: random.Random) -> Wound:
    """Refused with 4xx, and nothing comes of it (F50)."""
    before = stage.api.get("/api/v1/service/?limit=1").json["meta"]["total_count"]
    for body in chance.sample(HOSTILE, len(HOSTILE)):
        try:
            answer = stage.api.post("/api/v1/service/", json=body)
        except AWAY as error:
            raise Broken(f"F50: no answer to {str(body)[:60]}: {error!r}") from error
        if not 400 <= answer.status < 500:
            raise Broken(f"F50: {str(body)[:60]} was answered {answer.status}: {answer.text[:200]}")
    return Wound(where=f"{len(HOSTILE)} bodies; {before} services before")


FAULTS = (
    Fault(name="PATCH during redeploy", number="F42", bound=30, inject=_patch_during_redeploy),
    Fault(
        name="killed during redeploy",
        number="F3",
        bound=30,
        inject=_killed_rollout,
        starts=True,
        stays=(2.0, 4.0),
        api_away=True,
    ),
    Fault(name="DELETE during start", number="F43", bound=30, inject=_delete_during_start),
    Fault(name="two scalings at once", number="F44", bound=30, inject=_two_scales),
    Fault(name="two creates of a name", number="F45", bound=30, inject=_two_creates),
    # The grace is 10 s.
    Fault(name="start during a stop", number="F46", bound=30, inject=_start_in_grace),
    Fault(name="crash loop", number="F49", bound=30, inject=_crash_loop),
    Fault(name="hostile bodies", number="F50", bound=5, inject=_hostile),
)
