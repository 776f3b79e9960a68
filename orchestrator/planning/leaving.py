"""Containers whose node is lost or being drained give up their slots (RELIABILITY I2b).

A lost one is wanted gone, and its slot is filled elsewhere although nobody could confirm that it is. One on a node
that is drained runs on until its successor does. Both keep their row until their node says that they are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.assignment import FENCED_SECONDS, SILENT_SECONDS
from domain.container import Container, Want
from domain.node import NodeState
from domain.placement import place
from domain.service import ServiceWant, usable_image
from domain.spec import CrashPolicy, Strategy
from orchestrator.planning.settled import in_first_moment, serving
from orchestrator.planning.slots import bound
from orchestrator.planning.steps import KeepSlot, LeaveSlot, RetireContainer, Step
from orchestrator.planning.view import Policy, ServiceView, fleet


@dataclass(frozen=True, slots=True)
class Leaving:
    """The steps, when to look again at the latest, and what cannot be moved for now."""

    steps: tuple[Step, ...]
    due: datetime | None
    stuck: str | None


def replaced_at(view: ServiceView, row: Container, policy: Policy) -> datetime | None:
    """When the container's slot may be filled elsewhere because its node is silent; None: never, or it is not.

    A node is Unreachable also while its agent is heard and its engine does not answer: the containers run on then, so
    silence counts from SILENT_SECONDS on, whatever the service gives.
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
    return node.last_seen + max(after, timedelta(seconds=SILENT_SECONDS))


def leave(view: ServiceView, rows: Sequence[Container], leavers: Sequence[Container], policy: Policy) -> Leaving:
    """Who gives up its slot now, and which of those that did can go."""
    steps: list[Step] = []
    dues: list[datetime] = []
    stuck: list[str] = []
    draining = {node.node_id for node in view.nodes if node.draining}
    # What a successor would be made of is looked up by the next operation.
    able = usable_image(view.service) is not None or view.service.want is not ServiceWant.RUNNING
    for row in rows if able else ():
        if row.want is Want.GONE or row.slot not in view.slots:
            continue
        at = replaced_at(view, row, policy) if row.want is Want.RUN else None
        if at is not None and view.now < at:
            dues.append(at)
        elif at is not None:
            cause = "its node has been silent for too long; it is removed when the node is back"
            steps.append(LeaveSlot(container_id=row.id, name=row.name, want=Want.GONE, cause=cause))
        elif row.node_id in draining and not bound(row):
            step = _drained(view, row)
            if step is None:
                others = [node for node in fleet(view) if node.node_id != row.node_id]
                stuck.append(f"{row.name}: {place(view.service.spec, others).reason}")
            else:
                steps.append(step)
    for row in leavers:
        if row.want is Want.RUN:
            step = _left(view, row, rows, draining, policy)
            steps += [step] if step else []
    return Leaving(tuple(steps), min(dues, default=None), "; ".join(stuck) or None)


def _drained(view: ServiceView, row: Container) -> Step | None:
    """How the container leaves a node that is drained; None while no other node can take it."""
    cause = "its node is drained"
    if view.service.want is not ServiceWant.RUNNING or row.want is not Want.RUN:
        return RetireContainer(container_id=row.id, name=row.name, cause=cause)
    spec = view.service.spec
    if place(spec, [node for node in fleet(view) if node.node_id != row.node_id]).node_id is None:
        return None
    if spec.single_writer or not serving(row):
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
