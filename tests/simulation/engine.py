"""A model of one Docker engine and the processes under it, with the quirks of RELIABILITY section 5.

What is here is what happens on the host, whoever asks; how an agent reaches it is in `runtime`. The tables of images
and networks are plain; tests/conformance holds the whole to the real engine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from agents.runtime.base import Json, RuntimeBusy, RuntimeRefused
from tests.simulation.box import (
    DEAD,
    EXITED,
    FIRST_BACKOFF,
    ITSELF,
    PAUSED,
    RESTARTING,
    RUNNING,
    Behaviour,
    Box,
)

LONGEST_BACKOFF, CALM_SECONDS = 60.0, 10.0
"""Of the engine's own restarts (E19)."""

SHUTDOWN_SECONDS = 10.0
"""For a container that does not obey when the daemon ends."""


class Watcher(Protocol):
    """Who is told what happens on an engine, at the moment it does."""

    def changed(self, engine: Engine, box: Box, what: str) -> None:
        """The container went into another state."""

    def touched(self, engine: Engine, box: Box | None, what: str) -> None:
        """Somebody asked for a change through the API, and got it."""


class Engine:
    """One engine. `down`: the daemon is dead, its containers live on (E1). `hung`: it accepts and does not answer.

    `starting`: it hangs because it starts. `acting`: what changes something is carried out, and does not wait (E8).
    `deaths`: how often the daemon died; a call that it was at work on has no answer then. `beginning`: containers that
    it is about to start, `making`: names of those that it makes. `restarting`: it was told to end, and to start again.
    """

    def __init__(
        self, name: str, chance: random.Random, now: Callable[[], datetime], watcher: Watcher, *, live_restore: bool
    ) -> None:
        self.name = name
        self.chance = chance
        self.now = now
        self.watcher = watcher
        self.live_restore = live_restore
        self.down = self.starting = self.ending = False
        self.deaths = 0
        self.beginning: set[str] = set()
        self.making: set[str] = set()
        self.restarting: asyncio.Task[None] | None = None
        self.going, self.acting = asyncio.Event(), asyncio.Event()
        self.going.set()
        self.acting.set()
        self.boxes: dict[str, Box] = {}
        self.networks: dict[str, Json] = {}
        self.volumes: set[str] = set()
        self.images: dict[str, Json] = {}
        self.behaviours: dict[str, Behaviour] = {}
        self.refused_starts: dict[str, str] = {}
        self.listeners: list[asyncio.Queue[str | None]] = []
        self.lost_events = 0.0
        self.work: list[asyncio.Task[Any]] = []
        self.stamp_of_life = self.stamp()
        self.life = 1
        self._count = 0

    @property
    def hung(self) -> bool:
        """Whether calls get no answer."""
        return not self.going.is_set()

    def stamp(self) -> str:
        """The engine's time, as it writes it."""
        return self.now().isoformat(timespec="microseconds").replace("+00:00", "000Z")

    def new_id(self) -> str:
        """An id that no other thing on any engine has."""
        self._count += 1
        return f"{self._count:08x}{self.chance.getrandbits(224):056x}"

    def shim(self, engine_id: str) -> asyncio.Event | None:
        """What is to be waited for before the container answers; None when it does."""
        box = self.boxes.get(engine_id)
        return box.shim if box is not None else None

    def found(self, engine_id: str) -> Box:
        """The container. Raises RuntimeRefused."""
        if engine_id not in self.boxes:
            raise RuntimeRefused(f"it is gone: {engine_id}", "not_found")
        return self.boxes[engine_id]

    # What the API does.

    def create(self, name: str, body: Json, *, foreign: bool = False) -> str:
        """Make a container. Refused `image_missing`, `name_taken` (E12)."""
        if not foreign and body["Image"] not in self.images:
            raise RuntimeRefused(f"No such image: {body['Image']}", "image_missing")
        if any(each.name == f"/{name}" for each in self.boxes.values()):
            raise RuntimeRefused(f"the container's name is taken: {name}", "name_taken")
        box = Box(
            id=self.new_id(),
            name=f"/{name}",
            body=body,
            policy=((body.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") or "no",
            endpoints=dict(body.get("NetworkingConfig", {}).get("EndpointsConfig", {})),
            created_at=self.stamp(),
            foreign=foreign,
        )
        self.boxes[box.id] = box
        self.volumes |= {mount["Source"] for mount in (body.get("HostConfig") or {}).get("Mounts", ())}
        self._touched(box, "create")
        self._tell(box)
        return box.id

    def start(self, engine_id: str) -> None:
        """Start it. Quiet when it runs, restarts, or is being stopped (E10)."""
        box = self.found(engine_id)
        if box.state == DEAD:
            raise RuntimeRefused("container is marked for removal and cannot be started", "conflict")
        if box.state == PAUSED:
            raise RuntimeRefused("cannot start a paused container, try unpause instead", "conflict")
        if box.state in {RUNNING, RESTARTING}:
            return
        if box.half_started:
            self._touched(box, "start refused")
            raise RuntimeRefused(f"task {box.id}: already exists", "half_started")
        why = self.refused_starts.get(box.name.lstrip("/").partition(".")[0]) or self._port_taken(box)
        if why:
            # E11, E14: it stays as it was, with the reason.
            box.error, box.code = why, 128
            self._touched(box, "start refused")
            raise RuntimeRefused(why, "port_taken")
        for name, endpoint in box.endpoints.items():
            ids = [key for key, each in self.networks.items() if each["Name"] == name]
            if not ids:
                raise RuntimeRefused(f"network {name} not found", "network_missing")
            endpoint["NetworkID"] = ids[0]
        box.backoff = FIRST_BACKOFF
        self._touched(box, "start")
        self._begin(box)

    async def stop(self, engine_id: str, grace: int, by: str = "agent") -> None:
        """Ask its process to end, and make it after the grace."""
        box = self.boxes.get(engine_id)
        if box is None or box.state not in {RUNNING, PAUSED, RESTARTING}:
            return
        self._touched(box, "stop")
        if box.state == RESTARTING:
            self._ended(box, box.code, by)
            return
        run, box.stopping = box.run, by
        obeys = self.chance.random() < 0.5 and box.state != PAUSED
        await asyncio.sleep(min(self.chance.uniform(0.01, 0.5) if obeys else grace, grace))
        if box.run == run and box.up:
            if not self.down:
                self._ended(box, 143 if obeys else 137, by)
            elif obeys:
                # It had its SIGTERM already.
                box.ended_unseen, box.ended_by = 143, by
                self.watcher.changed(self, box, "ended by itself (143), unseen")
        if box.run == run:
            box.stopping = ""

    def kill(self, engine_id: str) -> None:
        """Through the API: a manual stop, whatever the policy (E18)."""
        box = self.boxes.get(engine_id)
        if box is not None and box.up:
            self._touched(box, "kill")
            self._ended(box, 137, "operator")

    def remove(self, engine_id: str) -> None:
        """Remove it, running or not. Busy when the removal fails: then it is dead and keeps its name (E17)."""
        box = self.boxes.get(engine_id)
        if box is None:
            return
        self._touched(box, "remove")
        if box.state in {RUNNING, PAUSED, RESTARTING}:
            self._ended(box, 137, "removal")
        if box.stuck:
            box.state = DEAD
            self._tell(box)
            raise RuntimeBusy("the removal failed: device or resource busy")
        del self.boxes[engine_id]
        self.watcher.changed(self, box, "removed")
        self._tell(box)

    def rename(self, engine_id: str, name: str) -> None:
        """By an operator."""
        box = self.boxes.get(engine_id)
        if box is not None:
            self._touched(box, "rename")
            box.name = f"/{name}"
            self._tell(box)

    def pause(self, engine_id: str) -> None:
        """By an operator."""
        box = self.boxes.get(engine_id)
        if box is not None and box.state == RUNNING and box.up:
            self._touched(box, "pause")
            box.state = PAUSED
            self._tell(box)

    def unpause(self, engine_id: str) -> None:
        """Quiet when it is not paused."""
        box = self.found(engine_id)
        if box.state == PAUSED:
            self._touched(box, "unpause")
            box.state = RUNNING
            self._tell(box)

    def update_policy(self, engine_id: str, policy: str) -> None:
        """It also ends a restarting loop (E5)."""
        box = self.found(engine_id)
        self._touched(box, f"policy {policy}")
        box.policy = policy
        if policy == "no" and box.state == RESTARTING:
            self._ended(box, box.code, "policy")

    # What happens by itself.

    def crash(self, box: Box, code: int) -> None:
        """Its process ends by itself. While the daemon is down nobody sees it before its next start (E4); in the grace
        of a stop nobody can tell it from one that obeyed.
        """
        if not box.up:
            return
        by = box.stopping or ITSELF
        if self.down or box.shim is not None:
            box.ended_unseen, box.ended_by = code, by
            self.watcher.changed(self, box, f"ended by itself ({code}), unseen")
            return
        self._ended(box, code, by)

    def freeze(self, box: Box) -> None:
        """SIGSTOP of its shim: what is asked of this container alone has no answer, nor is its end seen (F17)."""
        if box.shim is None:
            box.shim = asyncio.Event()

    def thaw(self, box: Box) -> None:
        """Its shim goes on, and says what happened meanwhile."""
        if box.shim is None:
            return
        box.shim.set()
        box.shim = None
        if box.ended_unseen is not None and not self.down and box.id in self.boxes:
            self._ended(box, box.ended_unseen, box.ended_by)

    def die(self) -> None:
        """kill -9 of the daemon: streams end, containers live on (E1). A start under way may be lost half way (E33)."""
        self._away()
        for engine_id in sorted(self.beginning):
            box = self.boxes.get(engine_id)
            if box is not None and not box.up and self.chance.random() < 0.5:
                box.half_started = True
        for box in self.boxes.values():
            box.stopping = ""
            if box.state == RESTARTING:
                box.state = EXITED

    async def restart(self, pause: float) -> None:
        """SIGTERM of the daemon, and its next start: without live-restore it stops its containers first, and answers
        meanwhile (E34).
        """
        deaths = self.deaths
        if not self.live_restore:
            self.ending = True
            await asyncio.gather(*(self._shut(box) for box in list(self.boxes.values()) if box.up))
        if self.deaths == deaths:
            self.die()
            await asyncio.sleep(pause)
        if self.down and self.deaths == deaths + 1:
            await self.come_back()

    async def _shut(self, box: Box) -> None:
        run, box.stopping = box.run, "engine"
        obeys = self.chance.random() < 0.5 and box.state != PAUSED
        await asyncio.sleep(self.chance.uniform(0.01, 0.5) if obeys else SHUTDOWN_SECONDS)
        if box.run == run and box.up and not self.down:
            self._ended(box, self.chance.choice((0, 143)) if obeys else 137, "engine")
        if box.run == run:
            box.stopping = ""

    async def come_back(self) -> None:
        """Its next start (E2, E3, E4). Without live-restore it stops what it finds first, answering nobody."""
        self.going.clear()
        self.down, self.starting = False, True
        await asyncio.sleep(self.chance.uniform(0.2, 1.5))
        found = [box for box in self.boxes.values() if box.state in {RUNNING, PAUSED}]
        alive = {box.id for box in found if box.ended_unseen is None}
        for box in found:
            if box.ended_unseen is not None:
                self._end_quietly(box, box.ended_unseen, box.ended_by)
        if not self.live_restore:
            for box in found:
                if box.id in alive and box.id in self.boxes:
                    await asyncio.sleep(self.chance.uniform(0.0, 0.3))
                    self._end_quietly(box, self.chance.choice((137, 143)), "engine")
        if not self.live_restore or not alive:
            # Its bridge is made anew, unless it finds a container that runs.
            self.life += 1
            self.stamp_of_life = self.stamp()
        for box in list(self.boxes.values()):
            again = box.policy == "always" or (box.policy == "on-failure" and box.code != 0)
            if box.state == EXITED and again and box.id in self.boxes and not self._port_taken(box):
                self._begin(box)
        self.starting = False
        self.going.set()

    def lose_power(self) -> None:
        """All processes are gone at once; what the disk holds says that they run (F19)."""
        self._away()
        for box in self.boxes.values():
            self.thaw(box)
            box.stopping = ""
            if box.up:
                box.ended_unseen, box.ended_by = 255, "engine"
                self.watcher.changed(self, box, "lost its power")
            elif box.state == RESTARTING:
                box.state = EXITED

    # Inside.

    def _away(self) -> None:
        self.down, self.ending = True, False
        self.deaths += 1
        self.going.set()
        for each in self.listeners:
            each.put_nowait(None)

    def _touched(self, box: Box, what: str) -> None:
        self.watcher.touched(self, box, what)

    def _port_taken(self, box: Box) -> str:
        wanted = box.ports
        for each in self.boxes.values():
            if each is not box and each.state in {RUNNING, PAUSED, RESTARTING} and wanted & each.ports:
                return "port is already allocated"
        return ""

    def _begin(self, box: Box) -> None:
        box.state, box.code, box.error, box.ended_unseen = RUNNING, 0, "", None
        box.stopping = ""  # whoever still waits for a stop waits for the run before
        box.run += 1
        box.began = asyncio.get_running_loop().time()
        box.started_at = self.stamp()
        self.watcher.changed(self, box, "runs")
        behaviour = self.behaviours.get(box.body.get("Image", ""))
        if behaviour is not None and behaviour.lives is not None:
            run = box.run

            def end() -> None:
                if box.run == run and box.id in self.boxes:
                    self.crash(box, behaviour.code)

            asyncio.get_running_loop().call_later(self.chance.uniform(*behaviour.lives), end)
        self._tell(box)

    def _end_quietly(self, box: Box, code: int, by: str) -> None:
        box.ended_by = by
        box.state, box.code, box.finished_at, box.ended_unseen = EXITED, code, self.stamp(), None
        self.watcher.changed(self, box, f"ended ({code})")

    def _ended(self, box: Box, code: int, by: str) -> None:
        self._end_quietly(box, code, by)
        again = box.policy == "always" or (box.policy == "on-failure" and code != 0)
        if again and by == ITSELF and not box.stopping:
            loop = asyncio.get_running_loop()
            if loop.time() - box.began > CALM_SECONDS:
                box.backoff = FIRST_BACKOFF
            pause, box.backoff = box.backoff, min(box.backoff * 2, LONGEST_BACKOFF)
            box.state, run = RESTARTING, box.run

            def again_now() -> None:
                if box.state == RESTARTING and box.run == run and box.id in self.boxes:
                    box.restarts += 1
                    self._begin(box)

            loop.call_later(pause, again_now)
        self._tell(box)

    def _tell(self, box: Box) -> None:
        """Events: a reader may miss some without being told (E25, E26)."""
        for each in self.listeners:
            if not box.foreign and not (self.lost_events and self.chance.random() < self.lost_events):
                each.put_nowait(box.id)
