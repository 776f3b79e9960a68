"""Looks at an engine all the time: which lives its containers had, and whether what is others' is as it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import docker
import requests

from agents.observe import engine_time
from tests.chaos.lives import Life
from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER, import_image

EVERY = 0.2
"""Seconds between two looks (T5)."""

INSPECTED = 1.0
"""Seconds after which a container is inspected though its row in the list is the same: its start may be another."""

LABEL, SERVICE, NAME = "tutela.container", "tutela.service", "tutela.name"
_MOVING = frozenset({"State", "NetworkSettings", "RestartCount", "ResolvConfPath", "HostnamePath", "HostsPath"})
"""What a restart of a container, by an engine that starts anew, may change of its inspection."""


class Watch:
    """One engine's watcher, in a thread, and the things of others on it: they must be equal whatever happens (I5)."""

    def __init__(self, name: str, engine: PrivateEngine, say: Callable[[str], None]) -> None:
        self.name = name
        self.lives: dict[tuple[str, str], Life] = {}
        self.present: Mapping[str, tuple[str, str, bool]] = {}
        self.seen_at = 0.0
        self.looks = self.blind = 0
        self.broken: list[str] = []
        self._say = say
        self._engine = engine
        self._client = docker.APIClient(engine.base_url, version="1.41", timeout=5)
        self._client.trust_env = False
        self._rows: dict[str, tuple[Any, float]] = {}
        self._strangers: Mapping[str, Any] = {}
        self._strangers_at = 0.0
        self._canary = ""
        self._loose = False
        self._judging = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {name}", daemon=True)

    def start(self) -> None:
        """Put things there that are nobody's business, and begin to look."""
        client: Any = self._client
        client.create_volume("stranger-volume")
        client.create_network("stranger-network", driver="bridge")
        # Of its own, since an image of Tutela's that loses a name is another inspection.
        import_image(client, "stranger/image:latest", command=["true"], changes=("ENV STRANGER=1",))
        config = client.create_host_config(restart_policy={"Name": "always"}, binds=["stranger-volume:/data"])
        networks = client.create_networking_config({"stranger-network": client.create_endpoint_config()})
        self._canary = client.create_container(
            SLEEPER, name="canary", host_config=config, networking_config=networks, volumes=["/data"]
        )["Id"]
        client.start(self._canary)
        self._strangers = self._told()
        self._look()
        self._thread.start()

    def loosen(self) -> None:
        """The host's containers are about to be ended by a fault, the strangers' too, and begin again."""
        with self._judging:
            self._loose = True

    def tighten(self) -> None:
        """From now on they must stay as they are. Does nothing unless it was loosened."""
        with self._judging:
            if self._loose:
                self._strangers = self._told()
                self._loose = False
                if not self._strangers["canary"]["State"].get("Running"):
                    self.broken.append(f"I5: {self.name}: the canary does not run any more")

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=30)
        self._client.close()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self._look()
                if time.monotonic() - self._strangers_at >= INSPECTED:
                    self._look_at_strangers()
                    self._engine.keep_networks()
            except (OSError, docker.errors.APIError, requests.RequestException):
                self.blind += 1
            else:
                self.looks += 1

    def _look(self) -> None:
        asked = time.time()
        rows = self._client.containers(all=True, filters={"label": LABEL})
        self.present = {each["Id"]: (each["Labels"][SERVICE], each["Labels"][NAME], _runs(each)) for each in rows}
        self.seen_at = asked
        known = {life.engine_id: life for life in self.lives.values() if life.ended is None}
        for identity, life in known.items():
            if identity not in self.present or not self.present[identity][2]:
                life.ended = time.time()
        for each in rows:
            identity, row = each["Id"], (each["State"], each["Status"].split()[0], each["Names"])
            before = self._rows.get(identity)
            if before and before[0] == row and asked - before[1] < INSPECTED:
                if _runs(each) and identity in known:
                    known[identity].last = asked
                continue
            self._inspect(each, asked)
            self._rows[identity] = row, asked
        for gone in self._rows.keys() - self.present.keys():
            del self._rows[gone]

    def _inspect(self, row: Any, asked: float) -> None:
        try:
            state = self._client.inspect_container(row["Id"])["State"]
        except docker.errors.NotFound:
            return
        began = engine_time(state["StartedAt"])
        if not _runs(row) or not state["Running"] or began is None:
            return
        labels = row["Labels"]
        life = self.lives.get((row["Id"], state["StartedAt"]))
        if life is None:
            self._say(f"{self.name}: {labels[NAME]} ({row['Id'][:12]}) runs since {began.timestamp():.2f}")
            life = Life(
                host=self.name,
                service=labels[SERVICE],
                name=labels[NAME],
                key=labels[LABEL],
                engine_id=row["Id"],
                began=began.timestamp(),
                last=asked,
            )
            self.lives = {**self.lives, (row["Id"], state["StartedAt"]): life}
            for earlier in self.lives.values():
                if earlier.engine_id == life.engine_id and earlier.ended is None and earlier is not life:
                    earlier.ended = time.time()
        life.last = max(asked, life.began)

    def _look_at_strangers(self) -> None:
        with self._judging:
            now = self._told()
            self._strangers_at = time.monotonic()
            if self._loose:
                now = {**now, "canary": {**now["canary"], **_moving(self._strangers["canary"])}}
            if now != self._strangers:
                self.broken.append(f"I5: {self.name}: others' things changed: {_difference(self._strangers, now)}")
                self._strangers = now

    def _told(self) -> Mapping[str, Any]:
        client = self._client
        found = {
            "canary": client.inspect_container(self._canary),
            "network": client.inspect_network("stranger-network"),
            "volume": client.inspect_volume("stranger-volume"),
            "image": client.inspect_image("stranger/image"),
        }
        # Who is attached to the network is the canary's matter, and moves with its restarts.
        found["network"].pop("Containers", None)
        return {key: _filled(value) for key, value in found.items()}


def _runs(row: Any) -> bool:
    return str(row["State"]) in {"running", "paused"}


def _moving(inspected: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in inspected.items() if key in _MOVING}


def _filled(value: Any) -> Any:
    """Without what is empty: an engine that was started again says `[]` where it said null before."""
    if isinstance(value, dict):
        return {key: told for key, each in value.items() if (told := _filled(each)) not in (None, "", [], {})}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    return value


def _difference(before: Any, now: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        parts = (_difference(before.get(key), now.get(key), f"{path}.{key}") for key in keys)
        return "; ".join(part for part in parts if part)
    return "" if before == now else f"{path.lstrip('.')}: {before!r} became {now!r}"
