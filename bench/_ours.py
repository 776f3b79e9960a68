"""Tutela, through its API: a service for the group."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect

from bench._contenders import GROUP, LABEL, LOOK, NAME, PATIENCE, SINGLE, watch
from domain.node import NodeState
from tests.harness.engine import PrivateEngine
from tests.harness.hosts import Hosts
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

_numbers = itertools.count(1)


class Tutela:
    """On the engine of the control plane's own host. `more`: further attributes of its services."""

    def __init__(self, engine: PrivateEngine, server: TutelaProcess, *, name: str = "Tutela", **more: Any) -> None:
        self.name = name
        self._engine = engine
        self._server = server
        self._api = server.api
        self._more = more
        self._paths: list[str] = []

    def prepare(self) -> None:
        """It is there."""

    def start(self, image: str, count: int) -> None:
        self._create(image, count, GROUP)

    def scale(self, count: int) -> None:
        with self.asked(count):
            pass

    @contextlib.contextmanager
    def asked(self, count: int) -> Iterator[None]:
        path = self._paths[0]
        self._ask("PATCH", path, {"target_num_containers": count})
        yield
        self._run(path, count)

    def redeploy(self) -> None:
        path = self._paths[0]
        before = set(self._shown(path)["containers"])
        self._ask("POST", f"{path}redeploy/")
        self._until(
            path,
            lambda shown: (
                shown["state"] == "Running"
                and shown["running_num_containers"] == len(before)
                and not before & set(shown["containers"])
            ),
        )

    def crash(self) -> None:
        client, found = self._engine.client(), self._container(self._paths[0])
        pid = self._engine.pid_of(found)
        os.kill(pid, signal.SIGKILL)

        def again() -> bool:
            state = client.inspect_container(found)["State"]
            return state["Running"] and not state["Restarting"] and state["Pid"] not in {0, pid}

        wait_for(again, timeout=PATIENCE, what="it to run again", every=LOOK / 4)

    def linked(self, image: str) -> None:
        self.start(image, 1)
        self._create(image, 1, SINGLE, linked_to_service=[{"to_service": self._paths[0], "name": NAME}])

    def beside(self, image: str) -> None:
        self._create(image, 1, SINGLE)

    def neighbour(self) -> tuple[int, str]:
        return self._engine.pid_of(self._container(self._paths[1])), NAME

    def pid(self) -> int:
        return self._engine.pid_of(self._container(self._paths[0]))

    @contextlib.contextmanager
    def follow(self) -> Iterator[Iterator[str]]:
        key = self._api.credentials()
        url = f"ws://127.0.0.1:{self._server.port}{self._paths[0].removeprefix('/api')}logs/"
        headers = {"Authorization": f"ApiKey {key['user']}:{key['api_key']}"}
        with connect(url, additional_headers=headers, proxy=None, close_timeout=1.0) as stream:
            yield _lines(stream)

    def end(self) -> None:
        # Who is linked goes first.
        for each in reversed(self._paths):
            self._ask("DELETE", each)
        for each in self._paths:
            self._until(each, lambda shown: shown["state"] == "Terminated")
        self._paths.clear()

    def clear(self) -> None:
        self.end()

    def _create(self, image: str, count: int, group: str, **more: Any) -> None:
        body = {
            "image": image,
            "name": f"bench-{next(_numbers)}",
            "target_num_containers": count,
            "autorestart": "ALWAYS",
            "labels": {LABEL: group},
            **self._more,
            **more,
        }
        answer = self._api.post("/api/v1/service/", json=body)
        assert answer.status == 201, answer.text
        path = answer.json["resource_uri"]
        self._paths.append(path)
        self._ask("POST", f"{path}start/")
        self._run(path, count)

    def _ask(self, method: str, path: str, body: Any = None) -> None:
        # What a start or a scale began is over a moment after its last container runs: until then others wait.
        def accepted() -> bool:
            answer = self._api.call(method, path, json=body)
            assert answer.status < 500, answer.text
            return answer.status < 400

        watch(accepted, f"{method} {path}")

    def _shown(self, path: str) -> Any:
        return self._api.get(path).json

    def _until(self, path: str, so: Callable[[Any], bool]) -> None:
        watch(lambda: so(self._shown(path)), f"{path} to be so")

    def _run(self, path: str, count: int) -> None:
        self._until(path, lambda shown: shown["running_num_containers"] == count)

    def _container(self, path: str) -> str:
        """The engine's id of the service's only container."""
        label = f"tutela.service={path.rstrip('/').rpartition('/')[2]}"
        (found,) = self._engine.client().containers(filters={"label": label})
        return str(found["Id"])


def _lines(stream: ClientConnection) -> Iterator[str]:
    while True:
        yield json.loads(stream.recv(timeout=PATIENCE))["log"]


class Unattended(Tutela):
    """Its control plane and agent are killed once the containers run: from then on the engine is alone."""

    def __init__(self, engine: PrivateEngine, server: TutelaProcess) -> None:
        super().__init__(engine, server, name="Tutela, stopped")

    def start(self, image: str, count: int) -> None:
        super().start(image, count)
        self._until(self._paths[0], lambda shown: shown["state"] == "Running")
        self._server.kill()

    def clear(self) -> None:
        self._server.start()
        super().clear()


class Fleet(Tutela):
    """On hosts that joined."""

    def __init__(self, hosts: Hosts, *, name: str = "Tutela", **more: Any) -> None:
        super().__init__(hosts.hosts[0].engine, hosts.server, name=name, **more)
        self._hosts = hosts

    def drain(self, engine: PrivateEngine) -> None:
        (host,) = (each for each in self._hosts.hosts if each.engine is engine)
        self._operate(self._hosts.node(host), "drain")

    def clear(self) -> None:
        """All hosts are heard, and take containers again."""
        for host in self._hosts.hosts:
            watch(lambda host=host: self._heard(host), f"{host.name} to be heard")  # type: ignore[misc]
            self._operate(self._hosts.node(host), "uncordon")
        super().clear()

    def _heard(self, host: Any) -> bool:
        node = self._hosts.node(host)
        return node is not None and node["state"] == NodeState.DEPLOYED.value

    def _operate(self, node: Any, verb: str) -> None:
        answer = self._api.post(f"/api/v1/admin/node/{node['uuid']}/{verb}/")
        assert answer.status == 202, answer.text
