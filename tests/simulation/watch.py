"""The promises that are judged each second while there are faults: what silence means, and what is told of a start."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING
from uuid import UUID

from agents.runtime.create_args import CONTAINER
from domain.assignment import FENCED_SECONDS, RETURN_SECONDS, SILENT_SECONDS
from domain.node import mass_silence
from orchestrator.sweeps import GRACE_SECONDS, LATE_SECONDS, SWEEP_SECONDS
from tests.simulation.box import EXITED
from tests.simulation.judge import called

if TYPE_CHECKING:
    from tests.simulation.world import World

LOOK_SECONDS = 1.0
SLACK_SECONDS = 3.0
_NODES = "SELECT name, state, last_seen FROM nodes WHERE state <> 'Terminated' ORDER BY name"
_ENDED = """
    SELECT c.id, c.name, n.name AS node, coalesce(c.seen->>'message', '') AS said,
        c.seen->>'state' = 'EXITED' AND (c.seen->>'start_gen')::int >= c.start_gen
            AND NOT coalesce((c.seen->>'will_restart')::bool, false)
            AND NOT coalesce((c.spec->>'single_writer')::bool, false) AS over
    FROM containers c JOIN nodes n ON n.id = c.node_id
    WHERE c.terminated_at IS NULL AND c.want = 'RUN' AND c.seen->>'state' IN ('EXITED', 'FAILED') ORDER BY c.id
"""
_GIVEN_UP = """
    SELECT c.id, c.name, n.name AS node FROM containers c JOIN nodes n ON n.id = c.node_id
    WHERE c.leaving AND c.want = 'GONE' AND c.terminated_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM containers f WHERE f.follows = c.id AND NOT f.leaving) ORDER BY c.name, c.id
"""


class Watch:
    """`run` until cancelled."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._disturbed = 0.0
        self._hushed = -math.inf
        self._blind = -math.inf
        self._given_up: set[UUID] = set()

    async def run(self) -> None:
        """Look each second."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._leases()
            self._silence()
            self._mass_silence()
            self._starts()

    def _leases(self) -> None:
        """An agent that is not heard stops in time what may never run twice: it may run elsewhere by then."""
        now = self._world.loop.time()
        for host in self._world.hosts.values():
            if not host.able:
                host.hindered_at = now
            silent = now - max(host.leased_at, host.hindered_at)
            if silent < FENCED_SECONDS + SLACK_SECONDS:
                continue
            for box in host.engine.boxes.values():
                if box.up and not box.foreign and now - box.began > SLACK_SECONDS and host.alone(box.labels[CONTAINER]):
                    self._world.history.violate(
                        "I2b", f"{called(box)} of a single_writer slot runs on {host.name} without a lease"
                    )

    def _starts(self) -> None:
        """What is told to have been started was (I8); and nothing is in the way of a container but itself (E12)."""
        world = self._world
        for row in world.store.ask(_ENDED):
            boxes = world.hosts[row["node"]].engine.boxes.values()
            if "name is taken" in row["said"]:
                world.history.violate("I3", f"{row['name']} on {row['node']} failed: {row['said']}")
            mine = [box for box in boxes if box.labels.get(CONTAINER) == str(row["id"])]
            over = row["over"] and world.hosts[row["node"]].remembers
            if over and any(box.state == EXITED and box.ended_by == "agent" for box in mine):
                world.history.violate(
                    "I8", f"{row['name']} on {row['node']} is told to be started, and was stopped by its agent"
                )

    def _mass_silence(self) -> None:
        """No slot is given up for the silence of a host where most were silent: before each had its time (I2b)."""
        world, now = self._world, self._world.loop.time()
        rows = world.store.ask(_GIVEN_UP)
        early = now - self._hushed < RETURN_SECONDS - SLACK_SECONDS
        for row in rows:
            if early and row["id"] not in self._given_up and row["node"] not in world.drained:
                world.history.violate(
                    "I2b", f"{row['name']} on {row['node']} gave up its slot while most hosts were silent"
                )
        self._given_up |= {row["id"] for row in rows}
        # Last: what was given up since the last look was decided before it was as silent as now (seed 63645).
        # And a control plane that could not look, for want of its database or of a moment, notes who is silent when it
        # can again: some may be heard before it does (seed 20327). One that is started looks first.
        if world.store.trouble.away or any(each.process.frozen or each.cut for each in world.planes):
            self._blind = now
        heard = [row["last_seen"] for row in world.store.ask(_NODES) if row["last_seen"] is not None]
        silent = [each for each in heard if (world.now() - each).total_seconds() > SILENT_SECONDS]
        if mass_silence(len(silent), len(heard)) and now - self._blind > LATE_SECONDS + SWEEP_SECONDS:
            self._hushed = now

    def _silence(self) -> None:
        """A node that is not heard is not said to be there (I10); control planes that were away have patience."""
        world, now = self._world, self._world.loop.time()
        there = all(each.process.alive and not each.process.frozen and not each.cut for each in world.planes)
        if not there or world.store.trouble.away:
            self._disturbed = now
        after = SILENT_SECONDS + SWEEP_SECONDS + GRACE_SECONDS + LATE_SECONDS + SLACK_SECONDS
        if now - max(self._disturbed, min(host.leased_at for host in world.hosts.values())) < after:
            return
        for row in world.store.ask(_NODES):
            silent = (world.now() - row["last_seen"]).total_seconds() if row["last_seen"] else 0.0
            if row["state"] == "Deployed" and silent > after:
                world.history.violate("I10", f"{row['name']} is said to be there, and was not heard for {silent:.0f} s")
