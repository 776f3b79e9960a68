"""The promises of RELIABILITY section 1 that are judged at every step of an engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from agents.runtime.create_args import CLUSTER, CONTAINER, NAME, SERVICE
from tests.simulation.box import DEAD, ITSELF, Box
from tests.simulation.engine import Engine

if TYPE_CHECKING:
    from tests.simulation.world import World

_LEAVING = "c.leaving AND NOT EXISTS (SELECT 1 FROM containers f WHERE f.follows = c.id AND NOT f.leaving) AS leaving"
"""Its slot may be filled although it runs. Not so where its successor was made beside it (decision 29)."""

_ROWS = f"""
    SELECT c.id, {_LEAVING}, c.terminated_at IS NOT NULL AS over, (c.spec->>'single_writer')::bool AS alone, c.want,
        c.autorestart, c.autoreplace, c.start_gen, c.slot, n.name AS node, s.spec->>'lost_after' AS lost_after,
        s.spec->>'autoreplace' AS replaced
    FROM containers c JOIN nodes n ON n.id = c.node_id JOIN services s ON s.id = c.service_id WHERE c.id = ANY($1)
"""  # noqa: S608 - constants of this module
_ROLLING = f"""
    SELECT c.id, c.name, c.slot, c.want, {_LEAVING}, c.operation IS NOT NULL AS ordered, c.spec->>'image' AS image,
        s.spec->>'image' AS next, s.target, s.operation->>'image_request' IS NOT NULL AS unknown, c.service_id,
        s.spec->>'deployment_strategy' = 'EVERY_NODE' AS every, c.deploy_gen = s.deploy_gen - 1 AS last
    FROM services s JOIN containers c ON c.service_id = s.id AND c.terminated_at IS NULL
    WHERE s.operation->>'verb' = 'redeploy' AND s.want = 'RUNNING' AND s.id = $1
"""  # noqa: S608 - constants of this module

_LATELY = """
    SELECT spec->>'image' AS image FROM containers
    WHERE service_id = $1 AND (terminated_at IS NULL OR terminated_at > $2)
"""
JUST_NOW_SECONDS = 10.0
SERVING_SECONDS = 2.0
"""Who runs for that long is on record as running."""


class Judge:
    """Watches all engines. `quiet`: nothing may be changed on them now (I12). `ordered_at_end`: the last order to start
    that was on record when a container, by its id of ours, ended and has not run since; `clock_at_end`: how its host's
    clock was off then.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._started: dict[str, tuple[int, int, int]] = {}
        self.ordered_at_end: dict[str, int] = {}
        self.clock_at_end: dict[str, timedelta] = {}
        self.quiet = False

    def changed(self, engine: Engine, box: Box, what: str) -> None:
        """A container went into another state, by itself or because of a call."""
        self._world.history.add(f"engine {engine.name}", f"{called(box)} {what}")
        if box.foreign:
            return
        if what == "runs":
            self.ordered_at_end.pop(box.labels[CONTAINER], None)
            self._one_of_a_kind(box)
        elif what != "removed" and not self._world.loops(box.body.get("Image", "")):
            row = self._rows([box]).get(box.labels[CONTAINER])
            if row is not None:
                self.ordered_at_end[box.labels[CONTAINER]] = row["start_gen"]
                self.clock_at_end[box.labels[CONTAINER]] = self._world.hosts[engine.name].skew

    def touched(self, engine: Engine, box: Box | None, what: str) -> None:
        """A call that changes something is carried out."""
        history = self._world.history
        history.add(f"engine {engine.name}", f"{called(box) if box else ''} <- {what}".strip())
        if self.quiet and not self._restless(engine, box, what):
            history.violate("I12", f"{what} of {called(box) if box else ''} on {engine.name} with nothing to do")
        if box is None or self._world.by_hand:
            return
        if box.foreign:
            history.violate("I5", f"{what} of the foreign container {box.name} on {engine.name}")
            return
        match what:
            case "stop":
                stays = not self._world.hosts[engine.name].is_to_run(box.labels[CONTAINER])
                if stays and box.policy != "no":
                    history.violate("E5", f"{called(box)} on {engine.name} is stopped with policy {box.policy}")
                self._rolling(box)
            case "remove":
                self._wanted(engine, box)
            case "start":
                self._once(engine, box)

    def _restless(self, engine: Engine, box: Box | None, what: str) -> bool:
        """Whether it is about a container, or the network of one, whose process ends by itself again and again."""
        if box is None:
            # Containers are on the networks of the services that they link to as well.
            rows = self._world.store.ask(
                "SELECT spec->>'image' AS image FROM services UNION SELECT spec->>'image' FROM containers"
            )
            return any(self._world.loops(row["image"]) for row in rows)
        # One of another definition may follow in the place of one that is on its way out.
        since = self._world.now() - timedelta(seconds=JUST_NOW_SECONDS)
        rows = self._world.store.ask(_LATELY, UUID(box.labels[SERVICE]), since) if SERVICE in box.labels else []
        behaviour = engine.behaviours.get(box.body.get("Image", ""))
        ends = behaviour is not None and behaviour.lives is not None
        return ends or any(self._world.loops(row["image"]) for row in rows)

    def _up(self, slot: tuple[str | None, str | None]) -> list[tuple[str, Box]]:
        """Where the slot's containers run."""
        return [
            (host.name, each)
            for host in self._world.hosts.values()
            for each in host.engine.boxes.values()
            if each.up and _slot(each) == slot
        ]

    def _one_of_a_kind(self, box: Box) -> None:
        """I2a, I2b."""
        history, up = self._world.history, self._up(_slot(box))
        rows = self._rows([each for _, each in up])
        row = rows.get(box.labels.get(CONTAINER))
        if row is not None and row["over"]:
            history.violate("I2a", f"{called(box)} runs although the record says that it is gone")
        # Nobody can keep an operator from starting what was stopped, or a copy of what is in the grace of its stop;
        # agents stop it again (seeds 39499, 46144).
        if len(up) < 2 or self._world.by_hand:
            return
        where = ", ".join(f"{called(each)} on {name}" for name, each in up)
        ids = [each.labels.get(CONTAINER) for _, each in up]
        if len(set(ids)) < len(ids):
            history.violate("I2a", f"two containers of one allocation run: {where}")
        staying = [each for each in ids if each not in rows or not self._may_be_doubled(rows[each])]
        if len(staying) > 1:
            history.violate("I2a", f"two containers of one slot run: {where}")
        fenced = all(self._world.hosts[name].fences(each.labels[CONTAINER]) for name, each in up if each is not box)
        if fenced and any(row["alone"] for row in rows.values()):
            history.violate("I2b", f"two containers of a single_writer slot run: {where}")

    def _may_be_doubled(self, row: Mapping[str, Any]) -> bool:
        """Whether its slot was given up: its host is lost and users asked for that, or was to be emptied."""
        asked = row["lost_after"] is not None or row["replaced"] != "OFF" or row["node"] in self._world.drained
        return bool(row["leaving"] and asked)

    def _wanted(self, engine: Engine, box: Box) -> None:
        """Nobody removes what is wanted running: I3, I13."""
        row = self._rows([box]).get(box.labels.get(CONTAINER))
        twins = [each for each in engine.boxes.values() if each.labels.get(CONTAINER) == box.labels.get(CONTAINER)]
        # An operator's copy that never ran may be on its way out when its twin is removed by hand (seed 26739).
        copied = box.run == 0 and box.name.lstrip("/").startswith("copy-")
        lasting = box.state != DEAD and not box.half_started and not copied and len(twins) == 1
        if row is not None and row["want"] == "RUN" and not row["over"] and lasting:
            self._world.history.violate("I13", f"{called(box)} on {engine.name} is removed, and is wanted running")

    def _once(self, engine: Engine, box: Box) -> None:
        """What ended by itself is not started again without an order, where no policy says so (I12)."""
        row = self._rows([box]).get(box.labels.get(CONTAINER))
        policies = {row["autorestart"], row["autoreplace"]} if row is not None else set()
        if row is None or policies != {"OFF"} or str(box.labels.get(SERVICE)) in self._world.restart_policies_changed:
            return
        # An order that is on record but did not reach the agent yet stands: the start that it brings is no second one.
        order = self._world.hosts[engine.name].ordered(box.labels[CONTAINER])
        now = row["start_gen"] if order is None else order, engine.life, box.run
        before, self._started[box.id] = self._started.get(box.id), now
        ended = box.run > 0 and box.ended_by == ITSELF and box.code in {0, 1}
        if ended and before is not None and before[:2] == now[:2] and not self._world.knobs.tears:
            self._world.history.violate("I12", f"{called(box)} ended by itself and is started again, without an order")

    def _rolling(self, box: Box) -> None:
        """A redeployment stops one at a time, and none before its image is known (I7); judged without faults."""
        world = self._world
        if not world.knobs.calm or box.labels.get(SERVICE) is None or world.drained:
            return
        # One of a deployment before the last, or of a slot that a user gave up for a moment, went for another reason.
        if world.loop.time() - box.began < SERVING_SECONDS or box.labels[SERVICE] in world.scaled_down:
            return
        rows = self._world.store.ask(_ROLLING, UUID(box.labels[SERVICE]))
        own = next((row for row in rows if str(row["id"]) == box.labels.get(CONTAINER)), None)
        loops = any(self._world.loops(image) for row in rows for image in (row["image"], row["next"]))
        if (
            own is None
            or own["want"] != "GONE"
            or own["slot"] > own["target"]
            or not own["last"]
            or loops
            or own["every"]
        ):
            return
        if any(row["ordered"] or row["leaving"] or row["want"] == "STOP" for row in rows):
            return
        if own["unknown"]:
            self._world.history.violate("I7", f"{called(box)} is stopped before the new image is known")
        missing = [
            row["name"]
            for row in rows
            if row["want"] == "GONE" and row["slot"] <= row["target"] and row["slot"] != own["slot"]
            if all(each.stopping for _, each in self._up((str(row["service_id"]), row["name"])))
        ]
        if missing:
            self._world.history.violate("I7", f"{called(box)} is stopped while {', '.join(missing)} is down already")

    def _rows(self, boxes: Iterable[Box]) -> Mapping[str | None, Mapping[str, Any]]:
        ids = [UUID(each.labels[CONTAINER]) for each in boxes if CONTAINER in each.labels]
        return {str(row["id"]): row for row in self._world.store.ask(_ROWS, ids)}


def _slot(box: Box) -> tuple[str | None, str | None]:
    return box.labels.get(SERVICE), box.labels.get(NAME)


def called(box: Box) -> str:
    """A container as the history names it: its slot, and what tells its allocation apart."""
    if CLUSTER not in box.labels:
        return box.name.lstrip("/")
    return f"{box.labels.get(NAME)}[{box.labels.get(CONTAINER, '')[:4]}/{box.id[8:12]}]"
