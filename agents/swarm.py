"""Keeps the engine's swarm mode as the control plane wants it: look, decide, do one thing, report.

`agents.swarm_plan` decides. Tokens are in memory only; what an order asks for is done again until it is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import assert_never
from uuid import UUID

import structlog

from agents.runtime.base import ContainerRuntime, RuntimeFailed
from agents.swarm_plan import Begin, Drop, Join, Leave, Make, Recover, Remove, SetRole, SwarmStep, plan_swarm
from domain.swarm import SwarmOrder, SwarmReport, SwarmRole

log = structlog.get_logger("swarm")
LOOK_SECONDS = 1.0
"""Between two looks at an engine that is in a swarm or is to be."""

IDLE_SECONDS = 30.0
STUCK_SECONDS = 45.0
ERROR_SECONDS = 60.0
"""For so long an engine that refused swarm mode counts as one that does; its operator may change that."""

REFUSED_SECONDS = 10.0
"""After an engine said no it is asked again, but not at once."""


class SwarmKeeper:
    """One engine's. `report` is told what changed, `in_use` says whether containers are on overlay networks."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        report: Callable[[SwarmReport], None],
        in_use: Callable[[], bool],
        entered: Callable[[], None],
    ) -> None:
        """`entered` is called when the engine entered a swarm, or its own anew."""
        self._runtime = runtime
        self._report = report
        self._in_use = in_use
        self._has_entered = entered
        self._order: SwarmOrder | None = None
        self._cluster: UUID | None = None
        self._wake = asyncio.Event()
        self._node = ""
        self._entered = ""
        self._by = ""
        self._entering = False
        self._stuck_since: float | None = None
        self._error = ""
        self._error_at = 0.0
        self._again_at = 0.0
        self._told: set[SwarmStep] = set()

    def told(self, order: SwarmOrder | None, cluster_id: UUID | None) -> None:
        """The newest order; None: nothing is asked of this engine."""
        if (order, cluster_id) != (self._order, self._cluster):
            self._order, self._cluster = order, cluster_id
            self._again_at = 0.0
            self._told.clear()
            self.wake()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause = IDLE_SECONDS
            try:
                if self._cluster is not None:
                    pause = await self._turn(self._cluster)
            except RuntimeFailed as error:
                log.debug("swarm not looked at", reason=str(error))
                pause = LOOK_SECONDS
            except Exception:
                # The boundary of the loop: what is unforeseen here must not end the agent.
                log.exception("swarm turn failed")
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _turn(self, cluster_id: UUID) -> float:
        order = self._order
        found = await self._look(cluster_id)
        made: list[str] = []
        removed: list[str] = []
        steps = plan_swarm(order, found.seen, in_use=self._in_use()) if order else ()
        # Told already, and not taken off the order yet.
        steps = tuple(each for each in steps if each not in self._told)
        now = asyncio.get_running_loop().time()
        done = False
        if steps and now >= self._again_at:
            done = await self._perform(cluster_id, steps, made, removed)
            found = await self._look(cluster_id)
        self._report(replace(found, made=tuple(made), removed=tuple(removed)))
        if done:
            return 0.05
        return LOOK_SECONDS if found.seen.inside or (order and order.role is not SwarmRole.NONE) else IDLE_SECONDS

    async def _look(self, cluster_id: UUID) -> SwarmReport:
        found = await self._runtime.swarm(cluster_id)
        seen, now = found.seen, asyncio.get_running_loop().time()
        if seen.inside and not seen.node:
            seen = replace(seen, node=self._node)
        self._node = seen.node
        if self._entering and seen.node:
            self._entered, self._entering = seen.node, False
        if seen.active or not seen.inside:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        if seen.active or now >= self._error_at + ERROR_SECONDS:
            self._error = ""
        return replace(
            found,
            seen=replace(
                seen,
                entered=bool(seen.node) and seen.node == self._entered,
                by=self._by if seen.node and seen.node == self._entered else "",
                stuck=self._stuck_since is not None and now - self._stuck_since >= STUCK_SECONDS,
                error=self._error,
            ),
        )

    async def _perform(self, cluster_id: UUID, steps: Sequence[SwarmStep], made: list[str], removed: list[str]) -> bool:
        """Whether all went well; what does not holds up nothing else, and is done again."""
        well = True
        for step in steps:
            self._entering |= isinstance(step, Begin | Join)
            try:
                await self._runtime.swarm_step(cluster_id, step)
            except RuntimeFailed as error:
                log.warning("swarm step failed", step=type(step).__name__, on=_on(step), reason=str(error))
                if isinstance(step, Begin | Join | Recover) and "already part of a swarm" not in str(error):
                    self._error = str(error)
                    self._error_at = asyncio.get_running_loop().time()
                    self._again_at = self._error_at + REFUSED_SECONDS
                well = False
                continue
            if isinstance(step, Begin | Join | Recover):
                self._has_entered()
            log.info("swarm step done", step=type(step).__name__, on=_on(step))
            match step:
                case Join():
                    self._by = step.managers[0]
                case Make():
                    made.append(step.network.name)
                    self._told.add(step)
                case Remove():
                    removed.append(step.name)
                    self._told.add(step)
                case Leave():
                    self._entered = ""
                case Begin() | Recover() | SetRole() | Drop():
                    pass
                case _:
                    assert_never(step)
        return well


def _on(step: SwarmStep) -> str:
    """What of a step may be logged: not the token."""
    match step:
        case SetRole() | Drop():
            return step.node
        case Make():
            return step.network.name
        case Remove():
            return step.name
        case _:
            return ""
