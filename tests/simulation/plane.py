"""A control plane process: what `app.roles` composes, without its doors to the outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from app.fleet.calls import ControlPlane
from orchestrator.listener import Wakeups
from orchestrator.planning.view import Policy
from orchestrator.purges import purge
from orchestrator.store import wake
from orchestrator.store.db import Database
from orchestrator.sweeps import begin, sweep
from orchestrator.worker import Worker
from tests.simulation.net import Connection
from tests.simulation.process import Killed, Process
from tests.simulation.store import VirtualDatabase

if TYPE_CHECKING:
    from tests.simulation.world import World


class Plane:
    """One of the control planes on the one database. It is started anew after each kill."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.cut = False
        self.connections: list[Connection] = []
        self._world = world
        self._begin()

    def _begin(self) -> None:
        self.process = Process(self.name)
        self.wakeups = Wakeups()
        self.db = VirtualDatabase(self._world.store, self.process, cut=lambda: self.cut)
        database: asyncio.Future[VirtualDatabase] = asyncio.get_running_loop().create_future()
        database.set_result(self.db)
        self.shared = ControlPlane(database, self.wakeups, self._world.secrets, self._world.installation)  # type: ignore[arg-type]
        self.process.spawn(self._run())

    @property
    def up(self) -> bool:
        """Whether it takes connections."""
        return self.process.alive and not self.process.frozen

    async def _run(self) -> None:
        world, db = self._world, cast(Database, self.db)
        try:
            self.wakeups.everybody()
            await begin(db)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.shared.beats.run())
                group.create_task(self.shared.polls.run())
                group.create_task(self.shared.reports.run())
                group.create_task(self.shared.news.run())
                group.create_task(self.shared.full_sets.run())
                group.create_task(Worker(db, self.wakeups, world.installation, Policy(), lanes=world.knobs.lanes).run())
                group.create_task(sweep(db, world.installation))
                group.create_task(purge(db))
        except (asyncio.CancelledError, Killed):
            raise
        except BaseException as error:
            world.ended_by_itself(self.name, error)
            raise

    def heard(self, channel: str, payload: str) -> None:
        """A notification came in."""
        kinds: dict[str, Callable[[], None]] = {
            wake.SERVICE: self.wakeups.service.set,
            wake.NODE: lambda: self.wakeups.wake_node(payload),
            wake.REVOKED: lambda: self.wakeups.wake_revoked(payload),
        }
        if self.process.alive and channel in kinds:
            kinds[channel]()

    async def kill(self) -> None:
        """As kill -9."""
        connections, self.connections = self.connections, []
        await self.process.kill()
        for each in connections:
            each.close("the connection was reset")

    def restart(self) -> None:
        """Its supervisor starts it anew."""
        self._begin()
