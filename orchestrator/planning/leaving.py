"""Containers whose node is lost or being drained give up their slots (RELIABILITY I2b).

A lost one is wanted gone, and its slot is filled elsewhere although nobody could confirm that it is. One on a node
that is drained runs on until its successor does. Both keep their row until their node says that they are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.assignment import FENCED_SECONDS, LOST_SECONDS, RETURN_SECONDS, SILENT_SECONDS
from domain.container import Container, Want
from domain.node import GONE_HOURS, NodeState, mass_silence
from domain.placement import Room, place
from domain.service import ServiceWant, usable_image
from domain.spec import CrashPolicy, Strategy
from orchestrator.planning.settled import in_first_moment, serving
from orchestrator.planning.slots import bound
from orchestrator.planning.steps import KeepSlot, LeaveSlot, RetireContainer, Step
from orchestrator.planning.view import Policy, ServiceView, fleet

HUSHED = "most hosts are silent at once, and nothing is moved meanwhile"
MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class Leaving:
    """The steps, when to look again at the latest, and what cannot be moved for now."""

    steps: tuple[Step, ...]
    due: datetime | None
    stuck: str | None


def replaced_at(view: ServiceView, row: Container, policy: Policy) -> datetime | None:
    """When the container's slot may be filled elsewhere because its node is silent; None: never, or it is not.

    A node is Unreachable also while its agent is heard and its engine does not answer: the containers run on then, so
    it is silence of LOST_SECONDS at least, whatever the service gives. After a time in which most hosts were silent
    each gets RETURN_SECONDS: the first ones would be given the containers of all others (decision 27).
    """
    node = view.by_id.get(row.node_id)
    if node is None or node.state is not NodeState.UNREACHABLE or node.last_seen is None or bound(row):
        return None
    spec = view.service.spec
    if spec.deployment_strategy is Strategy.EVERY_NODE:
        return None
    if spec.lost_after is not None:
        after = timedelta(seconds=spec.lost_after)
    elif spec.autoreplace is not CrashPolicy.OFF:
        after = policy.lost_after
    else:
        return None
    if row.spec.single_writer or spec.single_writer:
        after = max(after, timedelta(seconds=FENCED_SECONDS))
    at = node.last_seen + max(after, timedelta(seconds=LOST_SECONDS))
    return at if view.disrupted_at is None else max(at, view.disrupted_at + timedelta(seconds=RETURN_SECONDS))


def leave(view: ServiceView, rows: Sequence[Container], leavers: Sequence[Container], policy: Policy) -> Leaving:
    """Who gives up its slot now, and which of those that did can go."""
    steps: list[Step] = []
    dues: list[datetime] = []
    stuck: list[tuple[Container, str]] = []
    room: Room | None = None
    full = ""
    draining = {node.node_id for node in view.nodes if node.draining}
    # What a successor would be made of is looked up by the next operation.
    runs = view.service.want is ServiceWant.RUNNING
    able = usable_image(view.service) is not None or not runs
    staying = [row for row in rows if able and row.want is not Want.GONE and row.slot in view.slots]
    lost = {
        row.id: at
        for row in staying
        if runs and row.want is Want.RUN and (at := replaced_at(view, row, policy)) is not None
    }
    hushed = any(at <= view.now for at in lost.values()) and _hushed(view)
    for row in staying:
        at = lost.get(row.id)
        if at is not None and view.now < at:
            dues.append(at)
        elif at is not None and hushed:
            stuck.append((row, HUSHED))
        elif at is not None or (row.node_id in draining and not bound(row)):
            if runs and row.want is Want.RUN:
                # What nobody else can take is best off where it is: lost, it runs on when its node is back.
                room = room or _room(view, rows, leavers)
                full = full or _take(room)  # no room for one is none for the next
                if full:
                    stuck.append((row, full))
                    continue
            steps.append(_lost(row) if at is not None else _drained(view, row))
    kept: set[int] = set()
    for row in leavers:
        step = _left(view, row, rows, draining, policy) if row.want is Want.RUN else None
        if isinstance(step, KeepSlot) and row.slot in kept:
            continue  # of two that left one slot the first has it again
        if isinstance(step, KeepSlot):
            kept.add(row.slot)
        steps += [step] if step else []
    return Leaving(tuple(steps), min(dues, default=None), _told(view, stuck))


def _take(room: Room) -> str:
    """Take the room for one more, or say why there is none."""
    found = room.place()
    if found.node_id is not None:
        room.occupy(found.node_id)
    return found.reason


def _told(view: ServiceView, stuck: Sequence[tuple[Container, str]]) -> str | None:
    """Why these stay, for people: of the first ones what keeps each from all nodes but its own."""
    said = []
    for row, why in stuck[:MOST_TOLD]:
        others = [node for node in fleet(view) if node.node_id != row.node_id]
        elsewhere = place(view.service.spec, others).reason if others else "there is no other node"
        said.append(f"{row.name}: {why if why == HUSHED else elsewhere or why}")
    more = [f"and {len(stuck) - MOST_TOLD} more"] if len(stuck) > MOST_TOLD else []
    return "; ".join([*said, *more]) or None


def _hushed(view: ServiceView) -> bool:
    """Whether most hosts are silent now: after a time without a control plane, or a database, it is not noted yet."""
    silences = [view.now - node.last_seen for node in fleet(view) if node.last_seen is not None]
    silent = [each for each in silences if each > timedelta(seconds=SILENT_SECONDS)]
    gone = [each for each in silent if each > timedelta(hours=GONE_HOURS)]
    return mass_silence(len(silent), len(silences), len(gone))


def _room(view: ServiceView, rows: Sequence[Container], leavers: Sequence[Container]) -> Room:
    """The nodes, once those that left before have their successors."""
    room, empty = Room(view.service.spec, fleet(view)), view.slots.keys() - {row.slot for row in rows}
    for row in leavers:
        if row.refill and row.slot in empty and (taken := room.place().node_id) is not None:
            room.occupy(taken)
    return room


def _lost(row: Container) -> Step:
    cause = "its node has been silent for too long; it is removed when the node is back"
    return LeaveSlot(container_id=row.id, name=row.name, want=Want.GONE, cause=cause)


def _drained(view: ServiceView, row: Container) -> Step:
    """How the container leaves a node that is drained."""
    cause = "its node is drained"
    if view.service.want is not ServiceWant.RUNNING or row.want is not Want.RUN:
        return RetireContainer(container_id=row.id, name=row.name, cause=cause)
    if view.service.spec.single_writer or not serving(row):
        return RetireContainer(container_id=row.id, name=row.name, cause=cause, keep_volumes=True, refill=True)
    return LeaveSlot(container_id=row.id, name=row.name, want=Want.RUN, cause=cause)


def _left(
    view: ServiceView, row: Container, rows: Sequence[Container], draining: set[UUID], policy: Policy
) -> Step | None:
    """Whether a container that runs on for its successor's sake can go."""

    def retire(cause: str) -> Step:
        return RetireContainer(container_id=row.id, name=row.name, cause=cause, keep_volumes=True, refill=row.refill)

    successor = next((each for each in rows if each.slot == row.slot and each.want is not Want.GONE), None)
    if view.service.want is not ServiceWant.RUNNING or row.slot not in view.slots:
        return retire("its slot is not wanted any more")
    lost = replaced_at(view, row, policy)
    if not serving(row) or (lost is not None and view.now >= lost):
        return retire("it does not run any more")
    if successor is None:
        # A successor on its way out holds the slot until it is gone, and may have one of its own.
        held = any(
            each.slot == row.slot and not each.leaving and each.terminated_at is None for each in view.containers
        )
        if row.node_id in draining or held:
            return None
        return KeepSlot(container_id=row.id, name=row.name, cause="its node is not drained any more")
    if not serving(successor) or in_first_moment(successor):
        return None
    return retire("its successor runs")
