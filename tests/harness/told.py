"""What one agent is told, for tests that do without a control plane around it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.assignment import NodeAssignments, Registration
from orchestrator.store.db import Database
from orchestrator.telling import Asked, Means, tell


async def assignments_since(
    db: Database, registration: Registration, since: int, had: Sequence[tuple[UUID, int]] = ()
) -> NodeAssignments:
    """What changed for the node after revision `since`. Raises SessionLost, NotAllowed, NotFound."""
    (found,) = await tell(db, [Asked(registration=registration, since=since, had=had)], Means())
    if isinstance(found, Exception):
        raise found
    return found
