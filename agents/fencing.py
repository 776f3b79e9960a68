"""Containers of which two may never run at once, on a node that the control plane may count as lost.

An agent whose lease ran out stops them itself, before the control plane may have them run elsewhere (DESIGN 3.8).
Pure, as the planner is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from enum import Enum
from uuid import UUID

from agents.steps import StopContainer
from agents.view import ContainerMemory, ObservedContainer
from domain.assignment import FENCE_GRACE_SECONDS, ContainerAssignment
from domain.container import Want

CAUSE = "its node has lost the control plane, and two of it may never run at once"


class Fence(Enum):
    """What `single_writer` containers may do on the node now."""

    OPEN = "the lease is held, and what is wanted was told since"
    NO_STARTS = "no lease was held yet: what runs goes on, and nothing begins"
    SHUT = "the lease is lost, or what is wanted was not told since: nothing runs"


def confined(assignment: ContainerAssignment) -> ContainerAssignment:
    """What is left of the wish without a lease: it does not run, and has little time to end."""
    if not assignment.spec.single_writer:
        return assignment
    want = Want.STOP if assignment.want is Want.RUN else assignment.want
    return replace(assignment, want=want, stop_grace=min(assignment.stop_grace, FENCE_GRACE_SECONDS))


def cut_short(
    assignments: Iterable[ContainerAssignment],
    away: Collection[UUID],
    where: Mapping[UUID, str],
    memory: Mapping[UUID, ContainerMemory],
) -> list[StopContainer]:
    """Stops beside lines that are at work already: a stop with a longer grace, a call that hangs.

    `away`: containers that nothing is planned for. `where`: their engine ids, as far as they are known.
    """
    return [
        StopContainer(
            container_id=each.container_id,
            engine_id=where[each.container_id],
            grace=confined(each).stop_grace,
            run=memory.get(each.container_id, ContainerMemory()).run,
            cause=CAUSE,
            fence=True,
        )
        for each in assignments
        if each.spec.single_writer and each.container_id in away and each.container_id in where
    ]


def gave_way(kept: ObservedContainer, memory: ContainerMemory) -> bool:
    """Whether the run was ended for the lost lease, and by nothing else: it begins again once the lease is back.

    Its engine may have begun it after the one that the agent knew of, and before it was told to stop (seed 32100).
    """
    known, at, began = memory.fenced_run, memory.fenced_at, kept.started_at
    if known is None or began is None or memory.refused is not None:
        return False
    return known == began or (at is not None and known < began <= at)
