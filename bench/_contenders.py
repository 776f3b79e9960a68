"""Who is measured on one engine: the engine through its SDK, Docker Swarm, Tutela. The same words for all of them.

Each call does one thing to a group of containers and returns once that is so; the caller holds the watch. `image` is
there already, and its process ends when it is told to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import docker

from agents.executor import IN_FLIGHT
from tests.harness.engine import PrivateEngine
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

PATIENCE = 120
LOOK, SHARE = 0.02, 0.01
"""Seconds between two looks, or that share of what has passed where it is more: each costs a part of the two cores that
all share. What is measured is late by no more than that."""


def watch(so: Callable[[], Any], what: str) -> None:
    """Look until it is so."""
    began = time.monotonic()
    while not so():
        passed = time.monotonic() - began
        assert passed < PATIENCE, f"waited {PATIENCE} s for {what}"
        time.sleep(max(LOOK, passed * SHARE))


class Contender(Protocol):
    """`name` for the table. `prepare` and `clear` are not counted."""

    name: str

    def prepare(self) -> None:
        """Make what is there before anybody asks for containers."""

    def start(self, image: str, count: int) -> None:
        """Until `count` containers run that did not exist before."""

    def scale(self, count: int) -> None:
        """Until so many run, where fewer did."""

    def redeploy(self) -> None:
        """Each container follows a new one, one at a time, the next after the one before runs."""

    def crash(self) -> None:
        """From the death of the only container's process until it, or its successor, runs."""

    def end(self) -> None:
        """Stop all of them and remove them."""

    def clear(self) -> None:
        """Nothing of it is left."""


class Raw:
    """What a program does that knows the engine well: threads of its own, as many at once as are best (LIMITS)."""

    name = "raw engine"

    def __init__(self, engine: PrivateEngine) -> None:
        self._engine = engine
        self._made: list[str] = []
        self._image = ""
        self._count = 0

    def prepare(self) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self._engine.client().remove_network("raw")
        self._engine.client().create_network("raw", driver="bridge")

    def start(self, image: str, count: int) -> None:
        self._image = image
        self.scale(count)

    def scale(self, count: int) -> None:
        self._made += self._at_once(lambda _: self._one(), range(count - len(self._made)))

    def redeploy(self) -> None:
        client = self._engine.client()
        for number, each in enumerate(self._made):
            client.stop(each)
            client.remove_container(each)
            self._made[number] = self._one()

    def crash(self) -> None:
        client = self._engine.client()
        (found,) = self._made
        with contextlib.closing(client.events(filters={"container": found, "event": "die"}, decode=True)) as events:
            os.kill(self._engine.pid_of(found), signal.SIGKILL)
            next(events)
            client.start(found)

    def end(self) -> None:
        def one(engine_id: str) -> None:
            with self._client() as client:
                client.stop(engine_id)
                client.remove_container(engine_id)

        self._at_once(one, self._made)
        self._made.clear()

    def clear(self) -> None:
        for each in self._made:
            self._engine.client().remove_container(each, force=True)
        self._made.clear()
        self._engine.client().remove_network("raw")

    def _one(self) -> str:
        self._count += 1
        name = f"raw-{self._count}"
        with self._client() as client:
            made: str = client.create_container(
                self._image,
                name=name,
                labels={"raw": "1"},
                host_config=client.create_host_config(init=True, network_mode="raw"),
                networking_config={"EndpointsConfig": {"raw": {"Aliases": [name]}}},
            )["Id"]
            client.start(made)
        return made

    def _client(self) -> contextlib.closing[Any]:
        return contextlib.closing(docker.APIClient(self._engine.base_url, version="1.41", timeout=60))

    @staticmethod
    def _at_once(work: Callable[[Any], Any], items: Any) -> list[Any]:
        with ThreadPoolExecutor(IN_FLIGHT) as threads:
            return list(threads.map(work, items))


class Swarm:
    """Docker Swarm on the same engine; `restart_delay` seconds after a task's end, of which 5 are the default."""

    def __init__(self, engine: PrivateEngine, restart_delay: float = 5.0) -> None:
        self.name = "Docker Swarm" if restart_delay else "Docker Swarm, restart delay 0"
        self._engine = engine
        self._delay = restart_delay
        self._service = ""
        self._image = ""
        self._forced = 0

    def prepare(self) -> None:
        self._engine.client().init_swarm(advertise_addr=self._engine.address)

    def start(self, image: str, count: int) -> None:
        self._image = image
        made = self._engine.client().create_service(self._task(), name="swarmed", mode=_replicas(count))
        self._service = made["ID"]
        self._run(count)

    def scale(self, count: int) -> None:
        self._update(count)
        self._run(count)

    def redeploy(self) -> None:
        before = {each["ID"] for each in self._up()}
        self._forced += 1
        self._update(len(before))
        watch(lambda: len(now := {each["ID"] for each in self._up()}) == len(before) and not now & before, "the update")

    def crash(self) -> None:
        (before,) = self._up()
        os.kill(self._engine.pid_of(before["Status"]["ContainerStatus"]["ContainerID"]), signal.SIGKILL)
        watch(lambda: [each["ID"] for each in self._up()] not in ([], [before["ID"]]), "the successor")

    def end(self) -> None:
        client = self._engine.client()
        client.remove_service(self._service)
        mine = {"label": "com.docker.swarm.service.name=swarmed"}
        watch(lambda: not client.containers(all=True, filters=mine), "its containers to be gone")
        self._service = ""

    def clear(self) -> None:
        if self._service:
            self.end()
        self._engine.client().leave_swarm(force=True)

    def _task(self) -> Any:
        return docker.types.TaskTemplate(
            docker.types.ContainerSpec(self._image, init=True, labels={"swarmed": "1"}),
            restart_policy=docker.types.RestartPolicy(condition="any", delay=int(self._delay * 1e9)),
            force_update=self._forced,
        )

    def _update(self, count: int) -> None:
        client = self._engine.client()
        version = client.inspect_service(self._service)["Version"]["Index"]
        client.update_service(
            self._service,
            version,
            self._task(),
            name="swarmed",
            mode=_replicas(count),
            update_config=docker.types.UpdateConfig(parallelism=1, delay=0, order="stop-first"),
        )

    def _up(self) -> list[Any]:
        tasks: list[Any] = self._engine.client().tasks(filters={"service": "swarmed", "desired-state": "running"})
        return [each for each in tasks if each["Status"]["State"] == "running"]

    def _run(self, count: int) -> None:
        watch(lambda: len(self._up()) == count, f"{count} tasks to run")


def _replicas(count: int) -> Any:
    return docker.types.ServiceMode("replicated", count)


class Tutela:
    """One service, through the API."""

    name = "Tutela"

    def __init__(self, engine: PrivateEngine, server: TutelaProcess) -> None:
        self._engine = engine
        self._api = server.api
        self._path = ""
        self._count = 0

    def prepare(self) -> None:
        """It is there."""

    def start(self, image: str, count: int) -> None:
        self._count += 1
        body = {"image": image, "name": f"bench-{self._count}", "target_num_containers": count, "autorestart": "ALWAYS"}
        answer = self._api.post("/api/v1/service/", json=body)
        assert answer.status == 201, answer.text
        self._path = answer.json["resource_uri"]
        self._ask("POST", "start/")
        self._run(count)

    def scale(self, count: int) -> None:
        self._ask("PATCH", "", {"target_num_containers": count})
        self._run(count)

    def redeploy(self) -> None:
        before = set(self._service()["containers"])
        self._ask("POST", "redeploy/")
        self._until(
            lambda shown: (
                shown["state"] == "Running"
                and shown["running_num_containers"] == len(before)
                and not before & set(shown["containers"])
            )
        )

    def crash(self) -> None:
        client = self._engine.client()
        (found,) = client.containers(filters={"label": "tutela.container"})
        pid = self._engine.pid_of(found["Id"])
        os.kill(pid, signal.SIGKILL)

        def again() -> bool:
            state = client.inspect_container(found["Id"])["State"]
            return state["Running"] and not state["Restarting"] and state["Pid"] not in {0, pid}

        wait_for(again, timeout=PATIENCE, what="it to run again", every=LOOK / 4)

    def end(self) -> None:
        self._ask("DELETE", "")
        self._until(lambda shown: shown["state"] == "Terminated")
        self._path = ""

    def clear(self) -> None:
        if self._path:
            self.end()

    def _ask(self, method: str, what: str, body: Any = None) -> None:
        # What a start or a scale began is over a moment after its last container runs: until then others wait.
        def accepted() -> bool:
            answer = self._api.call(method, f"{self._path}{what}", json=body)
            assert answer.status < 500, answer.text
            return answer.status < 400

        watch(accepted, f"{method} {what}")

    def _service(self) -> Any:
        return self._api.get(self._path).json

    def _until(self, so: Callable[[Any], bool]) -> None:
        watch(lambda: so(self._service()), f"{self._path} to be so")

    def _run(self, count: int) -> None:
        self._until(lambda shown: shown["running_num_containers"] == count)


class Unattended(Tutela):
    """Its control plane and agent are killed once the containers run: from then on the engine is alone."""

    name = "Tutela, stopped"

    def __init__(self, engine: PrivateEngine, server: TutelaProcess) -> None:
        super().__init__(engine, server)
        self._server = server

    def start(self, image: str, count: int) -> None:
        super().start(image, count)
        self._until(lambda shown: shown["state"] == "Running")
        self._server.kill()

    def clear(self) -> None:
        self._server.start()
        super().clear()


@contextlib.contextmanager
def at_work(contender: Contender) -> Iterator[Contender]:
    """It is prepared, and leaves nothing."""
    contender.prepare()
    try:
        yield contender
    finally:
        contender.clear()
