"""Which lines may start a container that is to follow another one on its node (decision 29). Pure; part of the plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from agents.steps import RemoveContainer, StartContainer, Step, StopContainer
from agents.view import EngineState, EngineView
from domain.assignment import ContainerAssignment

_NEVER_RUNS = frozenset({EngineState.DEAD, EngineState.REMOVING})
"""What sticks in its removal (E17) keeps nobody from starting."""


def in_turn(
    lines: Mapping[UUID, Sequence[Step]],
    wanted: Mapping[UUID, ContainerAssignment],
    observed: EngineView,
    busy: Collection[UUID],
) -> list[Sequence[Step]]:
    """The lines, where first starts of what follows another one wait for that one's end, or are left out until a look
    tells that it comes. Who ran before follows nobody any more: the other one had ended then.

    Only a line of this plan is one that ends it: what is at work on it already may be about something else.
    """
    out: list[Sequence[Step]] = []
    for container_id, line in lines.items():
        first = wanted[container_id].follows if container_id in wanted else None
        starts = [step for step in line if isinstance(step, StartContainer) and step.after is None]
        if first is not None and starts and (first in busy or _may_run(first, observed)):
            if first not in busy and _ends(lines.get(first, ())):
                line = [replace(step, follows=first) if step in starts else step for step in line]
            else:
                line = [step for step in line if step not in starts]
        out.append(line)
    return out


def _may_run(container_id: UUID, observed: EngineView) -> bool:
    here = [each for each in observed.containers if each.container_id == container_id]
    return container_id in observed.unknown or any(each.state not in _NEVER_RUNS for each in here)


def _ends(line: Sequence[Step]) -> bool:
    return any(isinstance(step, StopContainer | RemoveContainer) for step in line)
