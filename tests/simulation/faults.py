"""What goes wrong, by seed. A fault does its harm, waits, and undoes it; `World.heal` undoes what is left."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.simulation.box import Box
from tests.simulation.host import Host

if TYPE_CHECKING:
    from tests.simulation.world import World

Fault = Callable[["Faults"], Awaitable[None]]


class Faults:
    """Makes one fault after another, several at once, until cancelled."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self._under_way: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Begin a fault of the seed's kinds now and then."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / self.world.knobs.fault_every))
            kind = self.chance.choice(self.world.knobs.kinds)
            self._under_way = [each for each in self._under_way if not each.done()]
            self._under_way.append(asyncio.create_task(self._one(kind)))

    async def _one(self, kind: str) -> None:
        await KINDS[kind](self)

    async def end(self) -> None:
        """No more of it; what is under way is left half done."""
        for each in self._under_way:
            each.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def host(self) -> Host:
        """Any, but rather one that has something to lose."""
        hosts = list(self.world.hosts.values())
        used = [each for each in hosts if any(box.up and not box.foreign for box in each.engine.boxes.values())]
        return self.chance.choice(used if used and self.chance.random() < 0.7 else hosts)

    def box(self, host: Host) -> Box | None:
        """Any container of ours on the host."""
        ours = [each for each in host.engine.boxes.values() if not each.foreign]
        return self.chance.choice(ours) if ours else None

    async def for_a_while(self, most: float) -> None:
        """Mostly short, now and then long."""
        await asyncio.sleep(min(self.chance.expovariate(4 / most), most))

    async def for_long(self, most: float) -> None:
        """As long as that, but in a seed of silence until leases end."""
        if self.world.knobs.silence:
            await asyncio.sleep(self.chance.uniform(10.0, 30.0))
        else:
            await self.for_a_while(most)

    def say(self, what: str) -> None:
        """A line in the history."""
        self.world.history.add("fault", what)


async def agent_killed(faults: Faults) -> None:
    """kill -9, and its supervisor."""
    host = faults.host()
    faults.say(f"agent of {host.name} is killed")
    await host.kill()
    await faults.for_a_while(8.0)
    faults.say(f"agent of {host.name} is started")
    host.start()


async def agent_frozen(faults: Faults) -> None:
    """SIGSTOP (F8)."""
    host = faults.host()
    process = host.process
    faults.say(f"agent of {host.name} is frozen")
    process.freeze()
    await faults.for_a_while(20.0)
    faults.say(f"agent of {host.name} goes on")
    process.go_on()


async def plane_killed(faults: Faults) -> None:
    """kill -9 of a control plane at whatever it awaits (F1-F3)."""
    plane = faults.chance.choice(faults.world.planes)
    if not plane.process.alive:
        return
    faults.say(f"{plane.name} is killed")
    await plane.kill()
    await faults.for_a_while(8.0)
    if not plane.process.alive:
        faults.say(f"{plane.name} is started")
        plane.restart()


async def plane_frozen(faults: Faults) -> None:
    """SIGSTOP of a control plane (F4)."""
    plane = faults.chance.choice(faults.world.planes)
    process = plane.process
    faults.say(f"{plane.name} is frozen")
    process.freeze()
    await faults.for_a_while(15.0)
    faults.say(f"{plane.name} goes on")
    process.go_on()


async def engine_killed(faults: Faults) -> None:
    """kill -9 of the daemon (F11, F12)."""
    host = faults.host()
    if host.engine.down or host.engine.hung:
        return
    for _ in range(60):  # rather in the middle of a start (E33)
        if host.engine.beginning:
            break
        await asyncio.sleep(0.05)
    if host.engine.down or host.engine.hung:
        return
    faults.say(f"dockerd of {host.name} is killed")
    host.engine.die()
    await faults.for_a_while(8.0)
    if host.engine.down:
        faults.say(f"dockerd of {host.name} is started")
        faults.world.background(host.engine.come_back())


async def engine_restarted(faults: Faults) -> None:
    """SIGTERM of the daemon, and its next start, as for an upgrade (F13, E34)."""
    engine = faults.host().engine
    if engine.down or engine.hung or (engine.restarting is not None and not engine.restarting.done()):
        return
    faults.say(f"dockerd of {engine.name} is restarted")
    engine.restarting = asyncio.create_task(engine.restart(faults.chance.uniform(0.0, 5.0)))
    engine.work.append(engine.restarting)


async def engine_hangs(faults: Faults) -> None:
    """SIGSTOP of the daemon: what was asked is done later (F14, E7)."""
    engine = faults.host().engine
    if engine.down or engine.hung:
        return
    faults.say(f"dockerd of {engine.name} hangs")
    engine.going.clear()
    await faults.for_a_while(25.0)
    if not engine.down:
        faults.say(f"dockerd of {engine.name} goes on")
        engine.going.set()


async def acts_hang(faults: Faults) -> None:
    """containerd is frozen, or the disk is too busy to write: what changes something waits, lists answer (F15, E8).

    Somebody may start the agent anew for that: then nobody waits for what it asked for (F7).
    """
    host = faults.host()
    faults.say(f"nothing is carried out on {host.name}")
    host.engine.acting.clear()
    await faults.for_a_while(10.0)
    if faults.chance.random() < 0.5:
        faults.say(f"agent of {host.name} is started anew")
        await host.kill()
        host.start()
    await faults.for_a_while(10.0)
    faults.say(f"what {host.name} was asked for is carried out")
    host.engine.acting.set()


async def events_lost(faults: Faults) -> None:
    """A reader misses events and is not told (E25, E26); and something ends meanwhile (F18)."""
    host = faults.host()
    faults.say(f"events of {host.name} are lost")
    before, host.engine.lost_events = host.engine.lost_events, 1.0
    for _ in range(faults.chance.randint(1, 3)):
        await faults.for_a_while(8.0)
        await process_dies(faults, host)
    await faults.for_a_while(8.0)
    host.engine.lost_events = before


async def power_lost(faults: Faults) -> None:
    """The host is off, and on again (F19)."""
    host = faults.host()
    if host.engine.down or host.engine.hung:
        return
    faults.say(f"{host.name} loses its power")
    host.engine.lose_power()
    await host.kill()
    await faults.for_a_while(15.0)
    faults.say(f"{host.name} has power again")
    faults.world.background(host.engine.come_back())
    await asyncio.sleep(faults.chance.uniform(0.0, 3.0))
    host.start()


async def link_cut(faults: Faults) -> None:
    """A partition, of both directions or of one (F29, F30)."""
    host = faults.host()
    kind = faults.chance.choice(("both", "both", "up", "down"))
    if faults.world.knobs.silence and not host.link.whole:
        return  # the end of one cut would end the other
    faults.say(f"link of {host.name} is cut ({kind})")
    if kind != "down":
        host.link.up.clear()
    if kind != "up":
        host.link.down.clear()
    await faults.for_long(25.0)
    if faults.world.knobs.silence and faults.chance.random() < 0.5:
        faults.say(f"agent of {host.name} is started anew")  # somebody looks what is wrong there
        await host.kill()
        host.start()
        await asyncio.sleep(faults.chance.uniform(2.0, 8.0))
    faults.say(f"link of {host.name} is whole")
    host.link.heal()


async def database_away(faults: Faults) -> None:
    """Nobody reaches Postgres (F23)."""
    world = faults.world
    faults.say("the database is away")
    world.store.trouble.away = True
    await faults.for_a_while(8.0)
    faults.say("the database is back")
    world.database_back()


async def plane_cut(faults: Faults) -> None:
    """One control plane does not reach Postgres (F26)."""
    plane = faults.chance.choice(faults.world.planes)
    faults.say(f"{plane.name} does not reach the database")
    plane.cut = True
    await faults.for_a_while(10.0)
    faults.say(f"{plane.name} reaches the database")
    plane.cut = False
    faults.world.database_back()


async def process_dies(faults: Faults, host: Host | None = None) -> None:
    """A container's process ends by itself (F18)."""
    host = host or faults.host()
    box = faults.box(host)
    if box is not None and box.up:
        host.engine.crash(box, faults.chance.choice((0, 1, 137, 143)))


async def operator(faults: Faults) -> None:
    """Somebody uses docker by hand on what is ours (F20)."""
    host, world = faults.host(), faults.world
    box = faults.box(host)
    if box is None or host.engine.down or host.engine.hung or box.shim is not None:
        return  # one whose engine does not answer has to wait as everybody has
    what = faults.chance.choice(("stop", "kill", "remove", "rename", "pause", "start"))
    faults.say(f"operator on {host.name}: {what}")
    world.by_hand = True
    try:
        match what:
            case "stop":
                world.background(host.engine.stop(box.id, faults.chance.choice((0, 2, 10)), "operator"))
                await asyncio.sleep(0)
            case "kill":
                host.engine.kill(box.id)
            case "remove":
                host.engine.remove(box.id)
            case "rename":
                host.engine.rename(box.id, f"renamed-{faults.chance.randint(1, 99)}")
            case "pause":
                host.engine.pause(box.id)
            case _:
                host.engine.start(box.id)
    except Exception as error:
        faults.say(f"operator: {error}")
    finally:
        world.by_hand = False


async def copied_by_hand(faults: Faults) -> None:
    """Somebody makes a container from what one of ours was made of, and its labels with it: beside it, or when it is
    gone (I3)."""
    host, world = faults.host(), faults.world
    box = faults.box(host)
    if box is None:
        return
    body, late = box.body, faults.chance.random() < 0.5
    for _ in range(20):
        await faults.for_a_while(4.0)
        if not late or box.id not in host.engine.boxes:
            break
    if host.engine.down or host.engine.hung or body["Image"] not in host.engine.images:
        return
    faults.say(f"operator on {host.name}: a copy of {box.name}")
    volumes = set(host.engine.volumes)
    world.by_hand = True
    try:
        host.engine.create(f"copy-{faults.chance.getrandbits(32):08x}", body)
    finally:
        world.by_hand = False
        host.engine.volumes &= volumes  # one that is made for the copy is its maker's


async def shim_frozen(faults: Faults) -> None:
    """Whoever asks for this one container waits; lists and other containers do not (F17)."""
    host = faults.host()
    box = faults.box(host)
    if box is None or not box.up or host.engine.down:
        return
    faults.say(f"the shim of {box.name} is frozen")
    host.engine.freeze(box)
    await faults.for_a_while(25.0)
    faults.say(f"the shim of {box.name} goes on")
    host.engine.thaw(box)


async def removal_stuck(faults: Faults) -> None:
    """A file that cannot be deleted (F22, E17)."""
    box = faults.box(faults.host())
    if box is not None:
        faults.say(f"{box.name} cannot be removed")
        box.stuck = True
        await faults.for_a_while(20.0)
        box.stuck = False


async def starts_refused(faults: Faults) -> None:
    """Something foreign has what a container needs (F21)."""
    host = faults.host()
    box = faults.box(host)
    if box is not None:
        name = box.name.lstrip("/").partition(".")[0]
        faults.say(f"starts of {name} on {host.name} are refused")
        host.engine.refused_starts[name] = "port is already allocated by somebody else"
        await faults.for_a_while(15.0)
        host.engine.refused_starts.pop(name, None)


async def clock_jumps(faults: Faults) -> None:
    """A host's wall clock is set (F41)."""
    host = faults.host()
    host.skew += timedelta(seconds=faults.chance.choice((-3600, 3600, -30, 30, -2, 2, 86400 * 30)))
    faults.say(f"the clock of {host.name} jumps: it is off by {host.skew}")


async def ledger_torn(faults: Faults) -> None:
    """The agent is killed, and its file is not what it wrote (F9)."""
    host = faults.host()
    share = faults.chance.choice((0.0, 0.5, 0.9))
    faults.say(f"agent of {host.name} is killed, and its ledger torn at {share:.0%}")
    await host.kill()
    host.tear(share)
    await faults.for_a_while(4.0)
    host.start()


async def disk_full(faults: Faults) -> None:
    """What agents write fails (F37)."""
    host = faults.host()
    faults.say(f"the disk of {host.name} is full")
    host.disk_full = True
    await faults.for_long(10.0)
    faults.say(f"the disk of {host.name} has space again")
    host.disk_full = False


async def image_gone(faults: Faults) -> None:
    """Somebody removes the images from an engine; running containers go on (F36)."""
    host = faults.host()
    faults.say(f"the images of {host.name} are removed")
    host.engine.images.clear()


async def registry_away(faults: Faults) -> None:
    """Pulls fail (F34)."""
    faults.say("the registry is away")
    faults.world.registry_away = True
    await faults.for_a_while(10.0)
    faults.say("the registry is back")
    faults.world.registry_away = False


KINDS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        agent_killed, agent_frozen, plane_killed, plane_frozen, engine_killed, engine_hangs, power_lost, link_cut,
        database_away, plane_cut, process_dies, operator, removal_stuck, starts_refused, clock_jumps, ledger_torn,
        disk_full, image_gone, registry_away, acts_hang, events_lost, copied_by_hand, engine_restarted,
        shim_frozen,
    )
}  # fmt: skip
