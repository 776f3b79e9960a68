"""Looks at an engine all the time: which lives its containers had, and whether those of others are as they were."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

import docker

from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER

EVERY = 0.2
LABEL = "tutela.container"


class Watch:
    """One engine's watcher, in a thread. A container's life is its engine id and the time that it was started."""

    def __init__(self, name: str, engine: PrivateEngine) -> None:
        self.name = name
        self.lives: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.allowed: dict[str, int] = defaultdict(lambda: 1)
        self.looks = self.blind = 0
        self.broken: list[str] = []
        self._engine = engine
        self._client = docker.APIClient(engine.base_url, version="1.41", timeout=5)
        self._client.trust_env = False
        self._canary = ""
        self._as_it_was: dict[str, Any] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {name}", daemon=True)

    def start(self) -> None:
        """Put a container there that is nobody's business, and begin to look."""
        config = self._client.create_host_config(restart_policy={"Name": "always"})
        self._canary = self._client.create_container(SLEEPER, name="canary", host_config=config)["Id"]
        self._client.start(self._canary)
        self._as_it_was = _told(self._client.inspect_container(self._canary))
        self._look()
        self._thread.start()

    def expect(self, container: str) -> None:
        """This container of Tutela's was a target: it may begin one more life."""
        self.allowed[container] += 1

    def stop(self) -> None:
        """A last look, which must be possible."""
        self._over.set()
        self._thread.join(timeout=30)
        self._look()
        self._client.close()

    def faults(self) -> list[str]:
        """What should not have been."""
        many = [
            f"{self.name}: container {key} had {len(lives)} lives, {self.allowed[key]} allowed: {sorted(lives)}"
            for key, lives in self.lives.items()
            if len(lives) > self.allowed[key]
        ]
        return [*many, *self.broken]

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._look()
            except (OSError, docker.errors.APIError):
                self.blind += 1
            else:
                self.looks += 1

    def _look(self) -> None:
        for each in self._client.containers(all=True, filters={"label": LABEL}):
            state = self._client.inspect_container(each["Id"])["State"]
            if state["Running"]:
                self.lives[each["Labels"][LABEL]].add((each["Id"], state["StartedAt"]))
        now = _told(self._client.inspect_container(self._canary))
        if now != self._as_it_was:
            keys = sorted(
                key for key in now.keys() | self._as_it_was.keys() if now.get(key) != self._as_it_was.get(key)
            )
            changed = {key: (self._as_it_was.get(key), now.get(key)) for key in keys}
            self.broken.append(f"{self.name}: the canary changed: {changed}")
            self._as_it_was = now


def _told(value: Any) -> Any:
    """Without what is empty: an engine that was started again says `[]` where it said null before."""
    if isinstance(value, dict):
        return {key: told for key, each in value.items() if (told := _told(each)) not in (None, "", [], {})}
    return value
