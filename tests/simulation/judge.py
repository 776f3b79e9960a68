"""The promises of RELIABILITY section 1 that are judged at every step of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from agents.runtime.create_args import CLUSTER, CONTAINER, NAME, SERVICE
from tests.simulation.engine import RUNNING, Box, Engine

if TYPE_CHECKING:
    from tests.simulation.world import World

_ROWS = """
    SELECT c.id, c.leaving, c.terminated_at IS NOT NULL AS over, (c.spec->>'single_writer')::bool AS alone
    FROM containers c WHERE c.id = ANY($1)
"""


class Judge:
    """Watches all engines. `quiet`: nothing may be changed on them now (I12)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.quiet = False
        self.mutations = 0

    def changed(self, engine: Engine, box: Box, what: str) -> None:
        """A container went into another state, by itself or because of a call."""
        self._world.history.add(f"engine {engine.name}", f"{called(box)} {what}")
        if what == "runs" and not box.foreign:
            self._one_of_a_kind(box)

    def touched(self, engine: Engine, box: Box | None, what: str) -> None:
        """A call that changes something was carried out."""
        self.mutations += 1
        history = self._world.history
        history.add(f"engine {engine.name}", f"{called(box) if box else ''} <- {what}".strip())
        if box is not None and box.foreign:
            history.violate("I5", f"{what} of the foreign container {box.name} on {engine.name}")
        by_hand = self._world.by_hand
        if what == "stop" and box is not None and box.policy != "no" and not by_hand:
            history.violate("E5", f"{called(box)} on {engine.name} was stopped with restart policy {box.policy}")
        if self.quiet and not self._restless(engine, box, what):
            history.violate("I12", f"{what} of {called(box) if box else ''} on {engine.name} with nothing to do")

    def _restless(self, engine: Engine, box: Box | None, what: str) -> bool:
        """Whether it is about a container, or the network of one, whose process ends by itself again and again."""
        if box is None:
            rows = self._world.store.ask("SELECT id, spec->>'image' AS image FROM services")
            return any(str(row["id"]) in what and self._world.loops(row["image"]) for row in rows)
        behaviour = engine.behaviours.get(box.body.get("Image", ""))
        return behaviour is not None and behaviour.lives is not None

    def _one_of_a_kind(self, box: Box) -> None:
        slot = (box.labels.get(SERVICE), box.labels.get(NAME))
        up = [
            (host.name, each)
            for host in self._world.hosts.values()
            for each in host.engine.boxes.values()
            if each.up and (each.labels.get(SERVICE), each.labels.get(NAME)) == slot
        ]
        rows = self._rows([each for _, each in up])
        row = rows.get(box.labels.get(CONTAINER, ""))
        if row is not None and row["over"]:
            self._world.history.violate("I2a", f"{called(box)} runs although the record says that it is gone")
        if len(up) < 2:
            return
        where = ", ".join(f"{called(each)} on {name}" for name, each in up)
        ids = [each.labels.get(CONTAINER) for _, each in up]
        if len(set(ids)) < len(ids):
            self._world.history.violate("I2a", f"two containers of one allocation run: {where}")
        staying = [each for each in ids if not rows[each]["leaving"]] if all(each in rows for each in ids) else ids
        if len(staying) > 1:
            self._world.history.violate("I2a", f"two containers of one slot run: {where}")
        if any(row["alone"] for row in rows.values()):
            self._world.history.violate("I2b", f"two containers of a single_writer slot run: {where}")

    def _rows(self, boxes: list[Box]) -> Mapping[str | None, Mapping[str, bool]]:
        ids = [UUID(each.labels[CONTAINER]) for each in boxes]
        return {str(row["id"]): row for row in self._world.store.ask(_ROWS, ids)}


def called(box: Box) -> str:
    """A container as the history names it: its slot, and what tells its allocation apart."""
    if CLUSTER not in box.labels:
        return box.name.lstrip("/")
    return f"{box.labels.get(NAME)}[{box.labels.get(CONTAINER, '')[:4]}/{box.id[8:12]}]"


def runs(box: Box) -> bool:
    """Whether it is up and not paused."""
    return box.up and box.state == RUNNING
