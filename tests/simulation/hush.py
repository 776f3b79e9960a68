"""No host is heard for a while: the network of the control planes is away, and comes back host by host."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

HUSH_SECONDS = 50.0
"""What it adds to a seed's time: it begins late enough for something to run, and each host has its time afterwards."""


async def hush(world: World, chance: random.Random) -> None:
    """Once: cut every link, and heal them one after the other."""
    await asyncio.sleep(chance.uniform(4.0, 10.0))
    world.history.add("fault", "no host is heard")
    for host in world.hosts.values():
        host.link.up.clear()
        if chance.random() < 0.5:
            host.link.down.clear()
    await asyncio.sleep(chance.uniform(6.0, 25.0))
    hosts = list(world.hosts.values())
    chance.shuffle(hosts)
    for host in hosts:
        world.history.add("fault", f"{host.name} is heard again")
        host.link.heal()
        await asyncio.sleep(chance.uniform(0.0, 6.0))
