"""A host: its engine, its disk, and the agent process on it."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from agents.agent import Agent
from agents.ledger import FILE
from domain.assignment import FENCED_SECONDS
from domain.container import Want
from tests.simulation.engine import Engine
from tests.simulation.net import Channel, Link
from tests.simulation.process import Killed, Process
from tests.simulation.runtime import Cuts, ModelRuntime

if TYPE_CHECKING:
    from tests.simulation.world import World


class Host:
    """`skew`: how far its wall clock is ahead. `disk_full`: what its agent writes fails. `leased_at`: when it was
    told last that it is heard. `hindered_at`: when it was seen last that its agent could not act. `forgot`: an agent
    was killed that had not been able to write what it was to remember.
    """

    def __init__(self, world: World, name: str, directory: Path, chance: random.Random, *, live_restore: bool) -> None:
        self._world = world
        self.name = name
        self.link = Link()
        self.cuts = Cuts()
        self.skew = timedelta()
        self.disk_full = False
        self.forgot = self._unwritten = False
        self._chance = world.stream(f"network of {name}")
        self.leased_at = 0.0
        self.hindered_at = 0.0
        self.engine = Engine(name, chance, self.now, world.judge, live_restore=live_restore)
        self._directory = directory / name
        self._agent: Agent | None = None
        self.process = Process(f"agent {name}", host=self)
        self.process.alive = False

    def now(self) -> datetime:
        """Its wall clock."""
        return self._world.now() + self.skew

    @property
    def remembers(self) -> bool:
        """Whether its agents know why a run ended, or that a stop is under way. The ledger alone does: where that is
        torn, or could not be written before its agent was killed, it is lost with it (seeds 256, 21361, 50871;
        docs/design/agent.md)."""
        return not self._world.knobs.tears and not self.forgot

    def start(self) -> None:
        """Its supervisor starts the agent."""
        if self.process.alive:
            return
        self.process = Process(f"agent {self.name}", host=self)
        self.process.spawn(self._run(self.process))

    async def _run(self, process: Process) -> None:
        world = self._world
        runtime = ModelRuntime(self.engine, process, self.cuts, world.registry)
        channel = Channel(process, self.link, world.weather, self._chance, lambda: world.planes, self._leased)
        try:
            self._agent = Agent(name=self.name, state_dir=self._directory, runtime=runtime, channel=channel)
            await self._agent.run(asyncio.Event())
        except (asyncio.CancelledError, Killed):
            raise
        except BaseException as error:
            world.ended_by_itself(f"agent {self.name}", error)
            raise

    def _leased(self) -> None:
        self.leased_at = self._world.loop.time()

    def writes(self) -> None:
        """Its agent writes to the disk. Raises OSError when that is full."""
        self._unwritten = self.disk_full
        if self.disk_full:
            raise OSError(28, "No space left on device")

    @property
    def revision(self) -> int:
        """The last change of its assignment that the agent has heard of."""
        return self._agent._ledger.revision if self._agent else 0

    def alone(self, container: str) -> bool:
        """Whether the agent has it that two of the container may never run at once."""
        known = self._agent._ledger.assignments.get(UUID(container)) if self._agent else None
        return known is not None and known.spec.single_writer

    @property
    def able(self) -> bool:
        """Whether its agent could tell its engine something that is carried out."""
        engine, process = self.engine, self.process
        # One that ends takes no new connections (E34): seed 45005.
        works = process.alive and not process.frozen and not (engine.down or engine.hung or engine.ending)
        return works and engine.acting.is_set() and not any(box.shim for box in engine.boxes.values())

    def fences(self, container: str) -> bool:
        """Whether the agent can be asked to have ended the container by now if it lost its lease. Nothing ends one on a
        host whose engine hangs or whose agent is away, and without a ledger an agent knows nothing of it.
        """
        here = self._world.loop.time() - self.hindered_at >= FENCED_SECONDS
        return self.able and here and self.alone(container)

    def is_to_run(self, container: str) -> bool:
        """Whether the agent has it that the container is to run: such a one stops for a moment, or without a lease.
        True too while no agent is there to say: what it asked for may be carried out late (E7).
        """
        if self._agent is None:
            return True
        known = self._agent._ledger.assignments.get(UUID(container))
        return known is not None and known.want is Want.RUN

    def ordered(self, container: str) -> int | None:
        """The order to start that its agent carries out, which may not be the last on record; None while no agent is
        there to say.
        """
        if self._agent is None:
            return None
        ledger, key = self._agent._ledger, UUID(container)
        intent, known = ledger.memory(key).intent, ledger.assignments.get(key)
        return intent.start_gen if intent is not None else known.start_gen if known is not None else None

    async def kill(self) -> None:
        """As kill -9 of the agent: its disk stays, its memory does not."""
        agent, self._agent = self._agent, None
        if agent is None or not self.process.alive:
            return
        self.forgot |= self._unwritten
        ledger = agent._ledger
        close, ledger.close = ledger.close, lambda: None  # type: ignore[method-assign]
        await self.process.kill()
        close()  # as the kernel does: the lock is free

    def tear(self, share: float) -> None:
        """The agent's file is cut to a share of its length, as by a disk that lost its last writes."""
        path = self._directory / FILE
        if path.exists():
            content = path.read_bytes()
            path.write_bytes(content[: int(len(content) * share)])
