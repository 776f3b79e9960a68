"""The engine itself, by a program that knows it well."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker

from agents.executor import IN_FLIGHT
from bench._contenders import GROUP, LABEL, NAME, SINGLE
from tests.harness.engine import PrivateEngine

Made = tuple[PrivateEngine, str]
"""A container: where, and its id there."""


class Raw:
    """Threads of its own, as many at once on each engine as are best (LIMITS); the engines take turns."""

    name = "raw engine"

    def __init__(self, *engines: PrivateEngine) -> None:
        self._engines = engines
        self._made: list[Made] = []
        self._others: list[Made] = []
        self._image = ""
        self._count = 0

    def prepare(self) -> None:
        for each in self._engines:
            with contextlib.suppress(docker.errors.NotFound):
                each.client().remove_network("raw")
            each.client().create_network("raw", driver="bridge")

    def start(self, image: str, count: int) -> None:
        self._image = image
        self.scale(count)

    def scale(self, count: int) -> None:
        where = [self._engines[number % len(self._engines)] for number in range(len(self._made), count)]
        self._made += self._at_once(self._one, where)

    @contextlib.contextmanager
    def asked(self, count: int) -> Iterator[None]:
        with ThreadPoolExecutor(1) as thread:
            done = thread.submit(self.scale, count)
            yield
            done.result()

    def redeploy(self) -> None:
        for number, (engine, each) in enumerate(self._made):
            engine.client().stop(each)
            engine.client().remove_container(each)
            self._made[number] = self._one(engine)

    def crash(self) -> None:
        ((engine, found),) = self._made
        client = engine.client()
        with contextlib.closing(client.events(filters={"container": found, "event": "die"}, decode=True)) as events:
            os.kill(engine.pid_of(found), signal.SIGKILL)
            next(events)
            client.start(found)

    def linked(self, image: str) -> None:
        self.start(image, 1)
        self.beside(image)

    def beside(self, image: str) -> None:
        """On the first engine."""
        self._image = image
        self._others.append(self._one(self._engines[0], SINGLE))

    def neighbour(self) -> tuple[int, str]:
        ((engine, found),) = self._others
        return engine.pid_of(found), NAME

    def pid(self) -> int:
        ((engine, found),) = self._made
        return engine.pid_of(found)

    @contextlib.contextmanager
    def follow(self) -> Iterator[Iterator[str]]:
        ((engine, found),) = self._made
        with (
            self._client(engine) as client,
            contextlib.closing(client.logs(found, stream=True, follow=True)) as pieces,
        ):
            yield (piece.decode() for piece in pieces)

    def drain(self, engine: PrivateEngine) -> None:
        """Each is followed by one elsewhere before it is stopped, as many at once as are best."""
        others = [each for each in self._engines if each is not engine]
        leaving = [(kept, each) for kept in (self._made, self._others) for each in kept if each[0] is engine]

        def move(numbered: tuple[int, tuple[list[Made], Made]]) -> None:
            number, (kept, old) = numbered
            where = others[number % len(others)]
            kept[kept.index(old)] = self._one(where, GROUP if kept is self._made else SINGLE)
            self._remove(old)

        self._at_once(move, list(enumerate(leaving)))

    def end(self) -> None:
        self._at_once(self._remove, [*self._made, *self._others])
        self._made.clear()
        self._others.clear()

    def clear(self) -> None:
        """What a life that failed had made is in no list of ours."""
        self._made.clear()
        self._others.clear()
        for client in (each.client() for each in self._engines):
            for found in client.containers(all=True, filters={"label": LABEL}):
                client.remove_container(found["Id"], force=True)
            client.remove_network("raw")

    def _one(self, engine: PrivateEngine, group: str = GROUP) -> Made:
        self._count += 1
        name = f"raw-{self._count}"
        with self._client(engine) as client:
            made: str = client.create_container(
                self._image,
                name=name,
                labels={LABEL: group},
                host_config=client.create_host_config(init=True, network_mode="raw"),
                networking_config={"EndpointsConfig": {"raw": {"Aliases": [name, *[NAME] * (group == GROUP)]}}},
            )["Id"]
            client.start(made)
        return engine, made

    def _remove(self, made: Made) -> None:
        with self._client(made[0]) as client:
            client.stop(made[1])
            client.remove_container(made[1])

    @staticmethod
    def _client(engine: PrivateEngine) -> contextlib.closing[Any]:
        return contextlib.closing(docker.APIClient(engine.base_url, version="1.41", timeout=60))

    def _at_once(self, work: Callable[[Any], Made | None], items: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(IN_FLIGHT * len(self._engines)) as threads:
            return list(threads.map(work, items))
