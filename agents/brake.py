"""The brake on removals that no user asked for (RELIABILITY I13). Pure, as the planner is.

A container of ours that the full assignment does not name is removed: it was left over, somewhere a removal was not
finished. When they are many at once, the assignment is more likely wrong than they are: then the node asks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from agents.view import EngineView
from domain.assignment import Strangers
from domain.quarantine import shown_names, too_many
from domain.spec import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What an operator has said of single containers that nothing asks for: these may go, those stay."""

    removable: frozenset[UUID] = frozenset()
    kept: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is not removed before an operator says so, and the question about it."""

    containers: frozenset[UUID]
    question: Strangers


def held(wanted: Collection[UUID], view: EngineView, busy: Collection[UUID], judged: Judged) -> Held | None:
    """What the brake holds; None when what is not wanted may go.

    Those that are being removed now count too, or many could go a few at a time.
    """
    here = {each.container_id for each in view.containers} | view.unknown
    strangers = (here | set(busy)) - set(wanted) - judged.removable - judged.kept
    if not too_many(len(strangers), len(here)):
        return None
    names = [each.name for each in view.containers if each.container_id in strangers]
    return Held(
        containers=frozenset(strangers),
        question=Strangers(
            count=len(strangers),
            owned=len(here),
            key=fingerprint(sorted(map(str, strangers))),
            names=shown_names(names),
        ),
    )
