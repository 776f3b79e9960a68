"""Docker Swarm on the same engines, formed before each life and left after it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import docker

from bench._contenders import GROUP, LABEL, SINGLE, watch
from tests.harness.engine import PrivateEngine

MINE, BESIDE = "swarmed", "beside"
"""The services' names."""


class Swarm:
    """`restart_delay` seconds after a task's end, of which 5 are the default. The first engine is the manager."""

    def __init__(self, *engines: PrivateEngine, restart_delay: float = 5.0) -> None:
        self.name = "Docker Swarm" if restart_delay else "Docker Swarm, restart delay 0"
        self._engines = engines
        self._manager = engines[0]
        self._delay = restart_delay
        self._services: list[str] = []
        self._networks: list[str] = []
        self._image = ""
        self._forced = 0

    def prepare(self) -> None:
        client = self._manager.client()
        client.init_swarm(advertise_addr=self._manager.address)
        token = client.inspect_swarm()["JoinTokens"]["Worker"]
        for each in self._engines[1:]:
            each.client().join_swarm([f"{self._manager.address}:2377"], token, advertise_addr=each.address)
        watch(
            lambda: sum(each["Status"]["State"] == "ready" for each in client.nodes()) == len(self._engines),
            "the swarm",
        )

    def start(self, image: str, count: int) -> None:
        self._image = image
        self._create(MINE, self._task(), count)

    def scale(self, count: int) -> None:
        with self.asked(count):
            pass

    @contextlib.contextmanager
    def asked(self, count: int) -> Iterator[None]:
        self._update(count)
        yield
        self._run(MINE, count)

    def redeploy(self) -> None:
        before = {each["ID"] for each in self._up()}
        self._forced += 1
        self._update(len(before))
        watch(lambda: len(now := {each["ID"] for each in self._up()}) == len(before) and not now & before, "the update")

    def crash(self) -> None:
        (before,) = self._up()
        os.kill(self.pid(), signal.SIGKILL)
        watch(lambda: [each["ID"] for each in self._up()] not in ([], [before["ID"]]), "the successor")

    def linked(self, image: str) -> None:
        """Names need a network, and that is an overlay; the other lives do without, as a service does by default."""
        self._networks = [self._manager.client().create_network(MINE, driver="overlay")["Id"]]
        self.start(image, 1)
        self.beside(image)

    def beside(self, image: str) -> None:
        self._image = image
        self._create(BESIDE, self._task(SINGLE), 1)

    def neighbour(self) -> tuple[int, str]:
        """By the service's own name it finds one address for all of them (Swarm's default, `vip`)."""
        return self._pid(BESIDE), f"tasks.{MINE}"

    def pid(self) -> int:
        return self._pid(MINE)

    @contextlib.contextmanager
    def follow(self) -> Iterator[Iterator[str]]:
        with contextlib.closing(docker.APIClient(self._manager.base_url, version="1.41", timeout=60)) as client:
            pieces: Any = client.service_logs(self._services[0], stdout=True, follow=True, is_tty=False)
            with contextlib.closing(pieces):
                yield (piece.decode() for piece in pieces)

    def drain(self, engine: PrivateEngine) -> None:
        node, client = engine.client().info()["Swarm"]["NodeID"], self._manager.client()
        found: Any = client.inspect_node(node)
        spec: Any = {**found["Spec"], "Availability": "drain"}
        client.update_node(node, found["Version"]["Index"], spec)

    def end(self) -> None:
        for each in self._services:
            self._manager.client().remove_service(each)
        mine = {"label": "com.docker.swarm.service.name"}
        watch(
            lambda: not any(each.client().containers(all=True, filters=mine) for each in self._engines),
            "its containers to be gone",
        )
        self._services.clear()

    def clear(self) -> None:
        """Each engine takes its containers away when it leaves."""
        self._services.clear()
        self._networks.clear()
        for each in reversed(self._engines):
            each.client().leave_swarm(force=True)

    def _create(self, name: str, task: Any, count: int) -> None:
        made = self._manager.client().create_service(task, name=name, mode=_replicas(count))
        self._services.append(made["ID"])
        self._run(name, count)

    def _task(self, group: str = GROUP) -> Any:
        return docker.types.TaskTemplate(
            docker.types.ContainerSpec(self._image, init=True, labels={LABEL: group}),
            restart_policy=docker.types.RestartPolicy(condition="any", delay=int(self._delay * 1e9)),
            networks=[docker.types.NetworkAttachmentConfig(each) for each in self._networks] or None,
            force_update=self._forced,
        )

    def _update(self, count: int) -> None:
        client, service = self._manager.client(), self._services[0]
        client.update_service(
            service,
            client.inspect_service(service)["Version"]["Index"],
            self._task(),
            name=MINE,
            mode=_replicas(count),
            update_config=docker.types.UpdateConfig(parallelism=1, delay=0, order="stop-first"),
        )

    def _up(self, name: str = MINE) -> list[Any]:
        tasks: list[Any] = self._manager.client().tasks(filters={"service": name, "desired-state": "running"})
        return [each for each in tasks if each["Status"]["State"] == "running"]

    def _pid(self, name: str) -> int:
        """Of the service's only container, where that is on the manager's engine."""
        (found,) = self._up(name)
        return self._manager.pid_of(found["Status"]["ContainerStatus"]["ContainerID"])

    def _run(self, name: str, count: int) -> None:
        watch(lambda: len(self._up(name)) == count, f"{count} tasks of {name} to run")


def _replicas(count: int) -> Any:
    return docker.types.ServiceMode("replicated", count)
