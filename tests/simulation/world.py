"""One seed's world: it is built, suffers faults and users, is healed, and has to come to rest."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agents import clock
from agents.runtime.base import Json, RuntimeBusy
from app.secretbox import SecretBox
from domain.networks import NetworkMode
from orchestrator.planning.view import Installation
from orchestrator.store import accounts, health
from tests.simulation import faults as fault_kinds
from tests.simulation import loop as virtual
from tests.simulation import settled
from tests.simulation.box import Behaviour
from tests.simulation.faults import Faults
from tests.simulation.history import History, listen
from tests.simulation.host import Host
from tests.simulation.hush import HUSH_SECONDS, hush
from tests.simulation.judge import Judge
from tests.simulation.knobs import Knobs, Leaning, turned
from tests.simulation.loop import Deadlock, VirtualLoop
from tests.simulation.plane import Plane
from tests.simulation.process import HERE, Process
from tests.simulation.server import Backend
from tests.simulation.store import Livelock, Store, Trouble, VirtualDatabase
from tests.simulation.users import CRASHES, JOB, OTHER, STAYS, User, Wish
from tests.simulation.watch import Watch

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
REST_SECONDS = 100.0
"""From the end of the faults: 30 s (I3), the agents' longest pause before a retry, and the tick that a lost event or
notification waits for."""

LOOK_SECONDS = 1.0
QUIET_SECONDS = 4.0
SECRET = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
IMAGES = {
    STAYS: ("sha256:stays", None),
    OTHER: ("sha256:other", None),
    JOB: ("sha256:job", Behaviour(lives=(0.5, 4.0), code=0)),
    CRASHES: ("sha256:crashes", Behaviour(lives=(0.03, 2.0), code=1)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a seed. `rest`: virtual seconds until all was as wanted after the last fault."""

    seed: int
    violations: tuple[str, ...]
    digest: str
    history: History
    rest: float
    seconds: float
    statements: int


class World:
    """Everything there is."""

    def __init__(self, seed: int, backend: Backend, directory: Path, loop: VirtualLoop, leaning: Leaning) -> None:
        self.seed, self.leaning = seed, leaning
        self.chance = self.stream("world")
        turn = turned(random.Random(f"knobs {seed}"), tuple(fault_kinds.KINDS))
        self.knobs: Knobs = replace(turn, **leaning.knobs)
        self.loop = loop
        self.history = History(loop.time)
        self.judge = Judge(self)
        self.store = Store(backend, self.stream("database"), self.now, self._heard)
        self.weather = self.knobs.weather
        self.lost_notices = self.knobs.lost_notices
        self.secrets = SecretBox(SECRET)
        self.installation = Installation(api_url="http://api", stream_url="ws://api", network=NetworkMode.PORTS)
        self.hosts: dict[str, Host] = {}
        self.planes: list[Plane] = []
        self.wishes: list[Wish] = []
        self.asked: set[asyncio.Task[object]] = set()
        self.shrinking: set[str] = set()
        self.drained: set[str] = set()
        self.scaled_down: set[str] = set()
        self.restart_policies_changed: set[str] = set()
        self.by_hand = False
        self.registry_away = False
        self.directory = directory
        self._background: list[asyncio.Task[Any]] = []

    def stream(self, whose: str) -> random.Random:
        """Chance of somebody's own: one statement more or less does not make users and faults do something else."""
        return random.Random(f"{whose} {self.seed}")

    def now(self) -> datetime:
        """The true time, which is the database's."""
        return BEGIN + timedelta(seconds=self.loop.time())

    async def run(self) -> float:
        """The whole life; returns the seconds to rest after the last fault."""
        self.history.add("world", f"seed {self.seed}: {self.knobs}")
        await self._build()
        users = [User(self, number, self.stream(f"user {number}")) for number in range(1, self.knobs.services + 1)]
        faults = Faults(self, self.stream("faults"))
        doing = [asyncio.create_task(each.run()) for each in users]
        doing.append(asyncio.create_task(Watch(self).run()))
        if self.knobs.kinds:
            doing.append(asyncio.create_task(faults.run()))
        if self.knobs.hush:
            doing.append(asyncio.create_task(hush(self, self.stream("hush"))))
        await asyncio.sleep(self.knobs.seconds + (HUSH_SECONDS if self.knobs.hush else 0.0))
        for task in doing:
            task.cancel()
        for outcome in await asyncio.gather(*doing, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        await faults.end()
        await self.heal()
        if self.asked:
            # A cordon among them would come after this (seed 40842).
            await asyncio.wait(self.asked)
        await users[0].uncordon()
        rest = await self._rest("I3")
        if not self.history.violations:
            for promise, text in settled.broken_words(self):
                self.history.violate(promise, text)
        if self.knobs.anew and not self.history.violations:
            await self._quiet()
        if self.knobs.farewell and not self.history.violations:
            await self._farewell(users)
        return rest

    async def _build(self) -> None:
        async with VirtualDatabase(self.store, Process("setup")).transaction() as conn:
            await accounts.ensure_admin(conn, "admin", "key")
            account = await accounts.admin(conn)
        assert account is not None
        self.account = account
        self.store.trouble = Trouble(pause=self.knobs.trouble.pause, unknown=self.knobs.trouble.unknown)
        for number in range(1, self.knobs.planes + 1):
            self.planes.append(Plane(self, f"plane{number}"))
        for number in range(1, self.knobs.hosts + 1):
            chance = self.stream(f"host {number}")
            host = Host(self, f"h{number}", self.directory, chance, live_restore=self.knobs.live_restore)
            host.cuts = self.knobs.cuts
            host.engine.lost_events = self.knobs.lost_events
            for image_id, behaviour in IMAGES.values():
                if behaviour is not None:
                    host.engine.behaviours[image_id] = behaviour
            self.by_hand = True
            foreign = host.engine.create("foreign", {"Image": "foreign", "HostConfig": {}}, foreign=True)
            host.engine.start(foreign)
            self.by_hand = False
            self.hosts[host.name] = host
            host.start()

    async def registry(self, reference: str) -> Json | None:
        """What the registry has under the reference. Raises RuntimeBusy while it is away."""
        if self.registry_away:
            raise RuntimeBusy("the registry cannot be reached: dial tcp: i/o timeout")
        found = IMAGES.get(reference)
        if found is None:
            return None
        return {"Id": found[0], "RepoDigests": [], "Config": {}}

    def loops(self, image: str) -> bool:
        """Whether containers of the image end by themselves."""
        found = IMAGES.get(image)
        return found is not None and found[1] is not None

    def background(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Something that goes on by itself, whoever began it."""
        self._background.append(asyncio.create_task(coro))

    def ended_by_itself(self, who: str, error: BaseException) -> None:
        """A process ended although nobody killed it."""
        found: BaseException = error
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        self.history.violate("unforeseen", f"{who} ended by itself: {type(found).__name__}: {found}")

    def _heard(self, channel: str, payload: str) -> None:
        for plane in self.planes:
            cut = plane.cut or self.store.trouble.away
            lost = self.lost_notices and self.chance.random() < self.lost_notices
            if not cut and not lost:
                self.loop.call_later(self.chance.uniform(0.0, 0.01), plane.heard, channel, payload)

    def database_back(self) -> None:
        """Listeners connect anew, and look at everything once."""
        self.store.trouble.away = False
        for plane in self.planes:
            self.loop.call_later(self.chance.uniform(0.0, 3.0), plane.wakeups.everybody)

    async def heal(self) -> None:
        """The faults are over: what was cut is whole, what was killed is started."""
        self.history.add("world", "the faults are over")
        away, self.store.trouble = self.store.trouble.away, Trouble()
        self.registry_away, self.lost_notices = False, 0.0
        self.weather.cut_before = self.weather.cut_after = 0.0
        away |= any(plane.cut for plane in self.planes)
        for plane in self.planes:
            plane.cut = False
            plane.process.go_on()
            if not plane.process.alive:
                plane.restart()
        if away:
            self.database_back()
        for host in self.hosts.values():
            host.link.heal()
            host.cuts.before = host.cuts.after = host.cuts.slow = 0.0
            host.disk_full = False
            engine = host.engine
            engine.lost_events = 0.0
            engine.refused_starts.clear()
            engine.acting.set()
            for box in engine.boxes.values():
                box.stuck = False
                engine.thaw(box)
            if engine.restarting is not None:
                await engine.restarting
            if engine.down:
                await engine.come_back()
            elif not engine.starting:
                engine.going.set()
            host.process.go_on()
            host.start()

    async def _rest(self, promise: str) -> float:
        began = self.loop.time()
        left = ["not looked yet"]
        while self.loop.time() - began < REST_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            left = settled.unsettled(self)
            if self.history.violations:
                break
            if not left:
                # Not only in passing.
                await asyncio.sleep(LOOK_SECONDS)
                left = settled.unsettled(self)
                if not left:
                    break
        if left and not self.history.violations:
            for text in left[:6]:
                self.history.violate(promise, f"{text}, {REST_SECONDS:g} s after the last fault")
        self.history.add("world", f"at rest after {self.loop.time() - began:.1f} s")
        return self.loop.time() - began

    async def _quiet(self) -> None:
        """Everything is started anew, and nothing may happen (I12)."""
        self.history.add("world", "agents and control planes are started anew; nothing may happen")
        self.judge.quiet = True
        for plane in self.planes:
            await plane.kill()
            plane.restart()
        for host in self.hosts.values():
            await host.kill()
            host.start()
        await asyncio.sleep(QUIET_SECONDS)
        self.judge.quiet = False
        if not self.history.violations:
            await self._rest("I12")

    async def _farewell(self, users: list[User]) -> None:
        """All services are terminated, and nothing is left of them (I9)."""
        for user in reversed(users):
            await asyncio.wait_for(user.last_words(), 60)
        began = self.loop.time()
        await self._rest("I9")
        for _ in range(int(REST_SECONDS / LOOK_SECONDS)):
            left = list(settled.left_over(self))
            if not left or self.loop.time() - began > REST_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)
        for text in left[:6]:
            self.history.violate("I9", f"{text} is left although every service was terminated")

    async def close(self) -> None:
        """Everybody goes."""
        going = [*self._background, *(task for host in self.hosts.values() for task in host.engine.work)]
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
        for host in self.hosts.values():
            await host.kill()
        for plane in self.planes:
            await plane.kill()


def simulate(seed: int, backend: Backend, leaning: Leaning) -> Outcome:
    """Live through one seed. The same seed gives the same history, to the last line."""
    with _no_collector():
        return _lived(seed, backend, leaning)


def _lived(seed: int, backend: Backend, leaning: Leaning) -> Outcome:
    backend.reset()
    directory = Path(tempfile.mkdtemp(prefix="tutela-sim-"))
    loop = VirtualLoop()
    world = World(seed, backend, directory, loop, leaning)
    rest = 0.0
    with _in_the_place_of_chance_and_time(world):
        asyncio.set_event_loop(loop)
        try:
            main = loop.create_task(world.run())
            try:
                rest = loop.run_until_complete(main)
            except Deadlock:
                world.history.violate("unforeseen", "nothing is scheduled: whoever waits, waits for ever")
            except (Livelock, TimeoutError) as error:
                world.history.violate("unforeseen", f"{type(error).__name__}: {error}")
            loop.run_until_complete(loop.create_task(world.close()))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            shutil.rmtree(directory, ignore_errors=True)
    world.history.end()
    return Outcome(
        seed=seed,
        violations=tuple(world.history.violations),
        digest=world.history.digest(),
        history=world.history,
        rest=rest,
        seconds=loop.time(),
        statements=backend.statements,
    )


@contextmanager
def _no_collector() -> Iterator[None]:
    """What is collected when depends on what was before, and the end of a generator is an event of the loop. When a
    seed is over, nothing refers to its world any more.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


@contextmanager
def _in_the_place_of_chance_and_time(world: World) -> Iterator[None]:
    """What the product asks of its machine comes from the seed: identities, jitter, clocks, disks."""
    chance = random.Random(f"product {world.seed}")
    urandom, now, seconds, abandoned = os.urandom, clock.now, clock.seconds, health.end_abandoned
    event, sleep = asyncio.Event, asyncio.sleep

    def wall() -> datetime:
        process = HERE.get()
        return process.host.now() if process is not None and isinstance(process.host, Host) else world.now()

    def disk() -> None:
        process = HERE.get()
        if process is not None and isinstance(process.host, Host):
            process.host.writes()

    async def nobody(conn: object, seconds: float) -> int:
        # Transactions are serial here, so that nobody sits in one that others wait for.
        return 0

    random.seed(world.seed)
    os.urandom = chance.randbytes
    asyncio.Event, asyncio.sleep = virtual.Event, virtual.sleep  # type: ignore[misc, assignment]
    clock.now, clock.seconds, health.end_abandoned = wall, world.loop.time, nobody
    world.loop.disk = disk
    listen(world.history, str(world.directory), lambda: process.name if (process := HERE.get()) else "world")
    try:
        yield
    finally:
        os.urandom = urandom
        asyncio.Event, asyncio.sleep = event, sleep  # type: ignore[misc]
        clock.now, clock.seconds, health.end_abandoned = now, seconds, abandoned
