"""Several control planes on one Postgres: work is shared, nothing is done twice, and nothing is lost with one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.first_start import KEY_FILE, first_start
from orchestrator.store import accounts
from orchestrator.store.db import Database
from tests.fleet.hosts import echoed
from tests.fleet.planes import Planes
from tests.harness.images import SLEEPER, WEB
from tests.harness.postgres import TestPostgres
from tests.harness.server import Api, Response, TutelaProcess
from tests.harness.wait import bar, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]
MOVED_SECONDS = bar(2.0)
"""What the issue allows the agents of a control plane that was killed."""


@pytest.fixture(scope="module")
async def planes_dsn(postgres: TestPostgres) -> str:
    return await postgres.fresh()


@pytest.fixture(scope="module")
def planes(planes_dsn: str) -> Iterator[Planes]:
    made = Planes(planes_dsn, 3)
    try:
        made.start()
        yield made
        print(made.logs()[-30000:])
    finally:
        made.close()


def made(api: Api, name: str, **more: Any) -> str:
    """A service that is not started."""
    body = {"image": SLEEPER, "name": name, "target_num_containers": 3, **more}
    answer = api.post("/api/v1/service/", json=body)
    assert answer.status == 201, answer.text
    return str(answer.json["uuid"])


def action_of(answer: Response) -> str:
    """The action of an accepted request."""
    assert answer.status in {200, 202}, answer.text
    return next(value for key, value in answer.headers.items() if key.lower() == "x-tutum-action-uri")


def ended(api: Api, uri: str) -> Any:
    """The action, once it is over."""

    def over() -> Any:
        action = api.get(uri).json
        return action if action["state"] in {"Success", "Failed", "Canceled"} else None

    return wait_for(over, timeout=90, what=f"{uri} to end", every=0.1)


def passes(plane: TutelaProcess) -> int:
    """The passes that this control plane did."""
    found = re.search(r'^tutela_passes_total{outcome="done"} (\d+)', plane.api.get("/metrics").text, re.MULTILINE)
    return int(found[1]) if found else 0


def test_work_is_shared_and_nothing_is_done_twice(planes: Planes) -> None:
    """Eight services, each started by requests at both at once: one container a slot, made and started once."""
    began, apis = time.time(), [each.api for each in planes.planes]
    uuids = [made(apis[number % 2], f"shared-{number}") for number in range(8)]
    before = [passes(each) for each in planes.planes]
    with ThreadPoolExecutor(8) as at_once:
        answers = list(
            at_once.map(lambda pair: pair[0].post(f"/api/v1/service/{pair[1]}/start/"),
                        [(api, uuid) for uuid in uuids for api in apis])
        )  # fmt: skip
    accepted = [each for each in answers if each.status == 202]
    assert {each.status for each in answers} <= {202, 409}, [each.text for each in answers if each.status > 202]
    assert len(accepted) >= len(uuids)
    for number, uuid in enumerate(uuids):
        planes.server = planes.planes[number % 2]
        planes.running(uuid, 3)
    planes.server = planes.first
    assert {ended(apis[0], action_of(each))["state"] for each in accepted} == {"Success"}
    did = [now - then for now, then in zip(map(passes, planes.planes), before, strict=True)]
    print(f"passes of each: {did}")
    assert min(did) > 0
    there = planes.containers()
    assert len(there) == 24
    for kind in ("create", "start"):
        times = planes.events(kind, began)
        assert {each: times[each] for each in there} == dict.fromkeys(there, 1)
        assert sum(times.values()) == 24
    clear(planes.second, uuids)


class Users:
    """People who go on asking a control plane until it is no more; what it accepted from them."""

    def __init__(self, api: Api, uuids: Sequence[str]) -> None:
        self.accepted: list[str] = []
        self.wanted: dict[str, int] = {}
        self._api = api
        self._pool = ThreadPoolExecutor(len(uuids))
        self._asking = [self._pool.submit(self._ask, uuid) for uuid in uuids]

    def _ask(self, uuid: str) -> None:
        """Start it, then change its size, for as long as there are answers."""
        path, size = f"/api/v1/service/{uuid}/", 1
        try:
            self.accepted.append(action_of(self._api.post(f"{path}start/")))
            while True:
                answer = self._api.patch(path, json={"target_num_containers": size})
                if answer.status == 409:
                    continue
                self.accepted.append(action_of(answer))
                self.wanted[uuid], size = size, after(size)
        except (OSError, http.client.HTTPException):
            return

    def left(self) -> None:
        """Until all have seen it end."""
        for each in self._asking:
            each.result(timeout=30)
        self._pool.shutdown()


def after(size: int) -> int:
    """The size that is asked for next."""
    return size % 4 + 1


def lost(planes: Planes, victim: TutelaProcess, survivor: TutelaProcess) -> float:
    """kill -9 of one in the middle of its users' requests; the seconds until its agents are all at the other."""
    uuids = [made(survivor.api, f"accepted-{victim.port}-{number}") for number in range(4)]
    began, running = time.time(), planes.containers()
    users = Users(victim.api, uuids)
    wait_for(lambda: len(users.wanted) == len(uuids), timeout=30, what="requests to be accepted", every=0.002)
    killed = time.monotonic()
    victim.kill()
    took = planes.moved(planes.hosts, survivor, killed)
    users.left()
    planes.server = survivor
    assert {ended(survivor.api, each)["state"] for each in users.accepted} == {"Success"}
    for uuid in uuids:
        planes.running(uuid)
        # The last request may have been carried out although its answer was lost.
        assert survivor.api.get(f"/api/v1/service/{uuid}/").json["running_num_containers"] in {
            users.wanted[uuid], after(users.wanted[uuid])
        }  # fmt: skip
    now = planes.containers()
    assert {key: now[key] for key in running} == running, "what ran is as it was"
    for kind in ("create", "start"):
        assert not [key for key, count in planes.events(kind, began).items() if count > 1], f"{kind} was done twice"
    clear(survivor, uuids)
    return took


def clear(plane: TutelaProcess, uuids: Sequence[str]) -> None:
    """Terminate them, and wait until they are gone."""
    answers = [plane.api.delete(f"/api/v1/service/{uuid}/") for uuid in uuids]
    assert {ended(plane.api, action_of(each))["state"] for each in answers} == {"Success"}


async def test_killing_one_moves_its_agents_and_loses_nothing(planes: Planes) -> None:
    one, two, _ = planes.hosts
    port = {"protocol": "tcp", "inner_port": 80, "published": True}
    web = planes.service("web", one, image=WEB, container_ports=[port], run_command="")
    client = planes.service("client", two, linked_to_service=[{"to_service": f"/api/v1/service/{web}/", "name": "db"}])
    number = int(planes.variables(client)["DB_1_PORT_80_TCP_PORT"])
    container = planes.first.api.get(f"/api/v1/service/{web}/").json["containers"][0].rstrip("/").rsplit("/", 1)[-1]
    victim, survivor = planes.planes
    took = lost(planes, victim, survivor)
    print(f"agents moved in {took:.2f} s")
    assert took <= MOVED_SECONDS
    # Their ports, links, logs and commands, all through the one that is left.
    planes.reached(client, one.engine.address, "web-1", port=number)
    header = f"ApiKey admin:{survivor.api.credentials()['api_key']}"
    assert await echoed(survivor, container, header=header) == ("there\r\nEOF", 1000)

    def read() -> bool:  # a host that does not dial back within 2 s is taken for one that is away
        answer = survivor.api.get(f"/api/v1/container/{container}/logs/")
        return answer.status == 200 and "missing" not in answer.text

    wait_for(read, timeout=30, what="the log")
    victim.start()
    planes.known()


def test_one_that_is_asked_to_end_sends_its_agents_on(planes: Planes) -> None:
    leaving, staying = planes.by_agents()
    since = time.monotonic()
    assert leaving.stop() == 0
    stopped = time.monotonic()
    print(f"agents moved {planes.moved(planes.hosts, staying, stopped):.2f} s after its end")
    assert time.monotonic() - since <= 5 + MOVED_SECONDS
    planes.server = staying
    for host in planes.hosts:
        planes.deployed(host)
    planes.shown(staying)
    leaving.start()
    planes.known()


def test_one_that_hangs_holds_up_nobody(planes: Planes) -> None:
    """SIGSTOP in the middle of its work: the other one goes on, and when it wakes up nothing is done anew."""
    hung, going = planes.by_agents()
    began = time.time()
    uuids = [made(going.api, f"hung-{number}") for number in range(6)]
    answers = [hung.api.post(f"/api/v1/service/{uuid}/start/") for uuid in uuids]
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        print(f"agents moved {planes.moved(planes.hosts, going, stopped):.2f} s after it hung")
        planes.server = going
        for each in answers:
            assert ended(going.api, action_of(each))["state"] == "Success"
        print(f"all done {time.monotonic() - stopped:.2f} s after it hung")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(hung.pid, signal.SIGCONT)
    late = made(hung.api, "late")
    assert ended(hung.api, action_of(hung.api.post(f"/api/v1/service/{late}/start/")))["state"] == "Success"
    for kind in ("create", "start"):
        assert set(planes.events(kind, began).values()) == {1}
    assert {planes.serving(each) for each in planes.hosts} == {planes.door_of(going)}
    clear(going, [*uuids, late])


async def test_of_two_first_starts_one_makes_the_admin(database_url: str, tmp_path: Path) -> None:
    """At the same moment; the other one leaves no file with a key that opens nothing."""
    paths = [tmp_path / name / KEY_FILE for name in "ab"]
    dbs = [await Database.open(database_url, size=1) for _ in paths]
    try:
        await asyncio.gather(*map(first_start, dbs, paths))
        (written,) = [each for each in paths if each.exists()]
        key = json.loads(written.read_text())["api_key"]
        async with dbs[0].read() as conn:
            assert await accounts.authenticate(conn, "admin", key) is not None
    finally:
        for each in dbs:
            await each.close()
