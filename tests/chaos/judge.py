"""Whether all was as promised, beside the recoveries: lives, orphans, answers to users, actions, leaks."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domain.container import ContainerState
from tests.chaos.history import contradiction
from tests.chaos.lives import too_many, twice
from tests.chaos.stage import Stage, now
from tests.chaos.users import User
from tests.chaos.watch import LABEL
from tests.harness.wait import wait_for

ORPHANS_GONE = 60.0
"""Seconds within which an owned container that the record does not know is removed (I5)."""

CONVERGED = 60.0
"""Seconds after the last fault within which every user's service is as its user was told (I3: 30 s and the grace)."""

LEAK_SHARE, LEAK_MARGIN = 1.05, 12
"""What may be more at the end: 5 % (I15), and connections that pools keep or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A fault from its injection until all was well, in seconds since the epoch."""

    began: float
    ended: float
    name: str
    api_away: bool


@dataclass(slots=True, kw_only=True)
class Judge:
    """Tells every violation once."""

    stage: Stage
    windows: list[Window] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)
    _orphans: dict[str, float] = field(default_factory=dict)

    def now(self) -> Iterator[str]:
        """New violations of what must hold at every moment."""
        stage = self.stage
        lives = [life for watch in stage.watches.values() for life in watch.lives.values()]
        # Slots that may move run twice while their host is given up and runs on (I2b).
        found = [
            *twice(life for life in lives if life.service not in stage.movable),
            *too_many(lives, stage.allowed),
            *self._orphaned(),
        ]
        found += [each for watch in stage.watches.values() for each in watch.broken]
        for each in found:
            # Lives go on, so that the same violation is told with other figures.
            key = each.split(" for ")[0].split(" had ")[0]
            if key not in self._told:
                self._told.add(key)
                yield each

    def _orphaned(self) -> Iterator[str]:
        """Looked at when all is well, which an orphan has to end with too."""
        there = {
            each["Labels"][LABEL]: (host.name, each["Labels"]["tutela.name"])
            for host in self.stage.hosts
            for each in host.engine.client().containers(all=True, filters={"label": LABEL})
        }
        listed = self.stage.api.get(f"/api/v1/container/?limit=100&uuid__in={','.join(there)}").json["objects"]
        known = {each["uuid"] for each in listed if each["state"] != ContainerState.TERMINATED.value}
        self._orphans = {key: self._orphans.get(key, now()) for key in there.keys() - known}
        limit = ORPHANS_GONE * self.stage.calibration.factor()
        for key, since in self._orphans.items():
            if now() - since > limit:
                host, name = there[key]
                yield f"I5: orphan {name} ({key}) on {host} is there for {now() - since:.0f} s, bound {limit:.0f} s"

    def answers(self, users: Sequence[User]) -> Iterator[str]:
        """5xx and silence that no fault explains; every other unexpected status."""
        away = [each for each in self.windows if each.api_away]
        for user in users:
            for each in user.hiccups:
                explained = any(window.began - 1 <= each.ended and each.began <= window.ended + 1 for window in away)
                if each.status not in {None, 503} or not explained:
                    yield f"{user.name} at {each.began:.2f} for {each.ended - each.began:.2f} s: {each.text}"

    def records(self, users: Sequence[User]) -> Iterator[str]:
        """What users were told and what is, when all had time to settle (I1, I2a, I9)."""
        last: list[str] = []

        def look() -> bool:
            last[:] = [each for user in users for each in self._of(user)]
            return not last

        try:
            wait_for(look, timeout=CONVERGED * self.stage.calibration.factor(), what="users' services", every=1.0)
        except AssertionError:
            yield from last

    def leftovers(self) -> Iterator[str]:
        """Services of faults whose end was accepted are gone (I9)."""
        for uuid in self.stage.doomed:
            try:
                wait_for(
                    lambda uuid=uuid: self.stage.terminated(uuid),  # type: ignore[misc]
                    timeout=CONVERGED,
                    what=f"{uuid} to be gone",
                    every=0.5,
                )
            except AssertionError as error:
                yield f"I9: {error}: {self.stage.explain(uuid)}"

    def _of(self, user: User) -> Iterator[str]:
        api = self.stage.api
        for uuid, belief in user.beliefs.items():
            answer = api.get(f"/api/v1/service/{uuid}/")
            if answer.status != 200:
                yield f"I1: {user.names[uuid]} ({uuid}) was made and is answered {answer.status}"
                continue
            shown = answer.json
            complaint = contradiction(belief, shown["state"], shown["target_num_containers"], self._running(uuid))
            if complaint is not None and not self._failed(user.actions.get(uuid, "")):
                yield f"I1: {user.names[uuid]} ({uuid}): {complaint}"
        for name in user.lost_creates:
            total = api.get(f"/api/v1/service/?name={name}").json["meta"]["total_count"]
            if total > 1:
                yield f"I1: the create of {name} that was not answered made {total} services"

    def _failed(self, action: str) -> bool:
        """Whether the user was told that it did not work, which explains what is."""
        return bool(action) and self.stage.api.get(action).json["state"] == "Failed"

    def _running(self, uuid: str) -> list[str]:
        label = {"label": f"tutela.service={uuid}"}
        return [
            each["Labels"]["tutela.name"]
            for host in self.stage.hosts
            for each in host.engine.client().containers(filters=label)
        ]

    def actions(self) -> Iterator[str]:
        """Every action has an end (I11)."""

        def open_ones() -> list[Any]:
            path = "/api/v1/action/?limit=100&state__in=In%20progress,Pending"
            return list(self.stage.api.get(path).json["objects"])

        try:
            wait_for(lambda: not open_ones(), timeout=CONVERGED * self.stage.calibration.factor(), what="", every=1.0)
        except AssertionError:
            for each in open_ones():
                yield f"I11: {each['action']} of {each['object']} is {each['state']} since {each['start_date']}"

    def failed_actions(self) -> Counter[str]:
        """Messages of those that failed after they were accepted, and how often."""
        found: Counter[str] = Counter()
        offset = 0
        while True:
            page = self.stage.api.get(f"/api/v1/action/?state=Failed&limit=100&offset={offset}").json
            for each in page["objects"]:
                message = str(self.stage.api.get(each["resource_uri"]).json.get("message") or each["action"])
                if " is not allowed (" not in message:
                    found[message[:120]] += 1
            offset += 100
            if page["meta"]["next"] is None or offset >= 500:
                return found


def handles(stage: Stage) -> Mapping[str, tuple[int, int]]:
    """Open files and threads of every process of Tutela's."""
    return {
        name: (len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir())))
        for name, pid in stage.pids().items()
    }


def files_of(stage: Stage, name: str) -> str:
    """What the process has open, by what it is and how often: for whoever looks for a leak."""
    found: Counter[str] = Counter()
    for each in Path(f"/proc/{stage.pids()[name]}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[str(each.readlink()).split(":", maxsplit=1)[0]] += 1
    return ", ".join(f"{count} {what}" for what, count in found.most_common())


def leaks(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    """What grew by more than it may (I15)."""
    for name, kinds in before.items():
        for kind, had, has in zip(("files", "threads"), kinds, after[name], strict=True):
            if has > had * LEAK_SHARE + LEAK_MARGIN:
                yield f"I15: {name} had {had} {kind} after warm-up and has {has}"
