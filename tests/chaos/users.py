"""Users who call the API at random, each with services of its own, and keep what they were answered."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.history import Belief, Call, Intent, Outcome
from tests.chaos.stage import AWAY, Stage
from tests.harness.images import SLEEPER
from tests.harness.server import Response

PAUSE = (0.5, 3.0)
TRIES = 2
"""Times that a call is made again whose outcome nobody knows."""

MOST = 3
"""Services that a user has at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiccup:
    """An answer of 5xx, or none: only a fault may explain it. `at` in seconds since the epoch, of the call's begin and
    end."""

    began: float
    ended: float
    text: str
    status: int | None


class User:
    """One user, in a thread; its calls are a function of the seed and of the answers."""

    def __init__(self, stage: Stage, name: str, seed: str) -> None:
        self.name = name
        self.beliefs: dict[str, Belief] = {}
        self.names: dict[str, str] = {}
        self.actions: dict[str, str] = {}
        self.lost_creates: list[str] = []
        self.hiccups: list[Hiccup] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.slowest = 0.0
        self._stage = stage
        self._chance = random.Random(seed)
        self._number = self._calls = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def stop(self) -> None:
        """The call that is under way is the last."""
        self._over.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), f"{self.name} waits for an answer for a minute"

    def _run(self) -> None:
        while not self._over.wait(self._chance.uniform(*PAUSE)):
            alive = [uuid for uuid, belief in self.beliefs.items() if Intent.GONE not in belief.intents]
            does = [self._look] * 3 + ([self._create] * 3 if len(alive) < MOST else [])
            does += [self._change] * 6 if alive else []
            self._chance.choice(does)(alive)

    def _create(self, alive: list[str]) -> None:
        self._number += 1
        name, target = f"{self.name}-{self._number}", self._chance.choice([1, 1, 2])
        body: dict[str, Any] = {"image": SLEEPER, "name": name, "target_num_containers": target}
        body["autorestart"] = self._chance.choice(["ALWAYS", "OFF"])
        outcome, answer = self._call("create", "POST", "/api/v1/service/", body)
        if outcome is Outcome.OK and answer is not None:
            uuid = str(answer.json["uuid"])
            self.beliefs[uuid] = Belief(targets=frozenset({target}))
            self.names[uuid] = name
            self._tell("start", uuid, "POST", "start/", Call(intent=Intent.RUN))
        elif outcome is Outcome.UNKNOWN:
            self.lost_creates.append(name)

    def _change(self, alive: list[str]) -> None:
        uuid = self._chance.choice(alive)
        does: list[Callable[[], object]] = [
            lambda: self._tell("start", uuid, "POST", "start/", Call(intent=Intent.RUN)),
            lambda: self._tell("stop", uuid, "POST", "stop/", Call(intent=Intent.STOP)),
            lambda: self._tell("redeploy", uuid, "POST", "redeploy/", Call(intent=Intent.RUN)),
            lambda: self._scale(uuid),
            lambda: self._scale(uuid),
            lambda: self._environment(uuid),
            lambda: self._tell("terminate", uuid, "DELETE", "", Call(intent=Intent.GONE)),
        ]
        self._chance.choice(does)()

    def _scale(self, uuid: str) -> None:
        target = self._chance.choice([1, 2, 3])
        self._tell("scale", uuid, "PATCH", "", Call(target=target), {"target_num_containers": target})

    def _environment(self, uuid: str) -> None:
        value = str(self._chance.randrange(1000))
        self._tell("patch", uuid, "PATCH", "", Call(), {"container_envvars": [{"key": "V", "value": value}]})

    def _look(self, alive: list[str]) -> None:
        paths = ["/api/v1/service/?limit=10", "/api/v1/container/?limit=10", "/api/v1/action/?limit=10"]
        paths += [f"/api/v1/service/{uuid}/" for uuid in alive]
        self._call("look", "GET", self._chance.choice(paths))

    def _tell(self, what: str, uuid: str, method: str, tail: str, call: Call, body: Any = None) -> None:
        outcome, answer = self._call(what, method, f"/api/v1/service/{uuid}/{tail}", body)
        self.beliefs[uuid] = self.beliefs[uuid].after(call, outcome)
        if answer is not None and outcome is Outcome.OK and call.intent is not Intent.GONE:
            self.actions[uuid] = answer.headers.get("x-tutum-action-uri", "")
        if outcome is not Outcome.REFUSED:
            self._stage.say(f"{self.name}: {what} {self.names[uuid]} {body or ''}: {outcome.value}")

    def _call(self, what: str, method: str, path: str, body: Any = None) -> tuple[Outcome, Response | None]:
        """A call; one that changes something has a key, with which it is made again while nobody knows (I1)."""
        if method == "GET":
            return self._once(what, method, path, None, {})
        self._calls += 1
        headers = {"Idempotency-Key": f"{self.name}-{self._calls}"}
        outcome, answer = self._once(what, method, path, body, headers)
        for _ in range(TRIES):
            if outcome is not Outcome.UNKNOWN or self._over.wait(1):
                break
            again, answer = self._once(f"{what} again", method, path, body, headers)
            # A refusal may be of this try alone: what became of the first one is still not known.
            outcome = again if again is Outcome.OK else Outcome.UNKNOWN
        return outcome, answer

    def _once(
        self, what: str, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[Outcome, Response | None]:
        plane = self._chance.choice(self._stage.planes)
        began, answer, text = time.time(), None, ""
        try:
            answer = plane.api.call(method, path, json=body, headers=headers)
        except ConnectionRefusedError as error:
            outcome, text = Outcome.REFUSED, repr(error)
        except AWAY as error:
            outcome, text = Outcome.UNKNOWN, repr(error)
        else:
            outcome = Outcome.OK if answer.status < 300 else Outcome.REFUSED
            if answer.status >= 500:
                outcome, text = Outcome.UNKNOWN, f"{answer.status} {answer.text[:200]}"
            elif answer.status not in {200, 201, 202, 409, 429}:
                text = f"{answer.status} {answer.text[:200]}"
        ended = time.time()
        self.slowest = max(self.slowest, ended - began)
        self.counts[what, outcome.value] += 1
        if text:
            status = answer.status if answer else None
            self.hiccups.append(Hiccup(began=began, ended=ended, text=f"{method} {path}: {text}", status=status))
        return outcome, answer
