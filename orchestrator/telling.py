"""What agents are told: read for many nodes in one transaction, and but for image requests and swarm modes in as many
statements as for one (decision 30)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain.assignment import NodeAssignments, Registration, SessionLost
from domain.errors import NotAllowed, NotFound
from domain.spec import Env
from orchestrator import swarming
from orchestrator.planning.view import Installation
from orchestrator.store import containers, copies, fleet, nodes, quarantines
from orchestrator.store.db import Connection, Database
from orchestrator.store.quarantines import Telling

TAKEN_OUT = (
    "this node was taken out of the installation: its containers are left as they are. To let it join anew:"
    " ./tutela agent leave, then ./tutela agent join URL TOKEN with a new token"
)


Answer = NodeAssignments | SessionLost | NotAllowed | NotFound


def _no_secrets(_container_id: UUID) -> Env:
    return ()


def _sealed(_password: bytes) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What is told that the record has not, or not in the clear.

    `secrets`: the environment of a container with a role, which is told to its node and not stored (spec 2.20).
    `unseal` opens the stored password of a registry, or the swarm's token; None when it cannot be opened (spec 4.3).
    Without an `installation` nothing is asked of the engines' swarm mode.
    """

    secrets: Callable[[UUID], Env] = _no_secrets
    unseal: Callable[[bytes], str | None] = _sealed
    installation: Installation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An agent asks what changed after revision `since`; 0 means everything. `had`: the copies that it has taken in."""

    registration: Registration
    since: int
    had: Sequence[tuple[UUID, int]] = ()

    @property
    def node_id(self) -> UUID:
        """The agent's node."""
        return self.registration.node_id


async def tell(db: Database, asked: Sequence[Asked], means: Means) -> list[Answer]:
    """What each of the nodes is told, in their order, or why it is told nothing; each node asks once.

    A paused node is told nothing new: its agent goes on with what it has. So does one that was told more than the
    record knows, until an operator says what is right. One that asks beyond the record is to begin anew: the database
    was put back beneath us.
    """
    async with db.transaction() as conn:
        had = [(each.node_id, of, version) for each in asked for of, version in each.had]
        if had:
            await copies.told(conn, had)
        known = await quarantines.telling(conn, [each.node_id for each in asked])
        refused = {
            each.node_id: why
            for each in asked
            if (why := await _refused(conn, each, known.get(each.node_id))) is not None
        }
        heard = [each for each in asked if each.node_id not in refused and not known[each.node_id].muted]
        newer = {
            each.node_id: each.since for each in heard if known[each.node_id].revision > each.since or not each.since
        }
        rows = await containers.assignments(conn, newer) if newer else {}
        whole = [each.node_id for each in heard if each.since == 0]
        some = [each.node_id for each in heard if each.since and known[each.node_id].copies]
        which = await copies.everything(conn, whole) if whole else []
        which += await copies.due(conn, some) if some else []
        kept = await copies.read(conn, which) if which else {}
        told = {
            each.node_id: replace(
                _nothing(each, known[each.node_id]),
                base=each.since,
                revision=known[each.node_id].revision,
                containers=tuple(
                    replace(row, secret_env=means.secrets(row.container_id)) if row.spec.token else row
                    for row in rows.get(each.node_id, ())
                ),
                images=tuple(await nodes.open_image_requests(conn, each.node_id, means.unseal))
                if known[each.node_id].images
                else (),
                swarm=await swarming.order(conn, each.node_id, means.installation, means.unseal)
                if means.installation and known[each.node_id].swarm
                else None,
                copies=tuple(kept.get(each.node_id, ())),
            )
            for each in heard
        }
    return [
        refused.get(each.node_id) or told.get(each.node_id) or _nothing(each, known[each.node_id]) for each in asked
    ]


async def _refused(conn: Connection, asked: Asked, told: Telling | None) -> SessionLost | NotAllowed | NotFound | None:
    """Why the agent is told nothing; None when it is told."""
    session = asked.registration.session
    if told is None:
        return NotFound(f"there is no node {asked.node_id}")
    if told.session != session:
        if await fleet.terminated(conn, asked.node_id):
            return NotAllowed(TAKEN_OUT)
        return SessionLost(f"session {session} was followed by {told.session}")
    if asked.since > told.revision:
        return SessionLost(f"revision {asked.since} is beyond the record, which is at {told.revision}")
    return None


def _nothing(asked: Asked, told: Telling) -> NodeAssignments:
    """What a ledger takes nothing in of: not newer than what it has, and no full set."""
    return NodeAssignments(
        cluster_id=asked.registration.cluster_id,
        session=told.session,
        base=max(asked.since, 1),
        revision=asked.since,
        lineage=told.lineage,
        engine=told.engine,
        word=told.word,
    )
