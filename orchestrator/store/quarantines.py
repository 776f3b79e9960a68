"""What the rows of nodes and of the installation know of quarantines (domain.quarantine)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.assignment import Position
from domain.swarm import SwarmRole
from orchestrator.store import codec
from orchestrator.store.db import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What decides what an agent is told: its node's session and revision, and whether anything new is told at all.

    `engine` and `word` as in NodeAssignments; `muted`: the node is paused, or was told more than the record knows.
    `copies`: some are due; `images`: some are asked for; `swarm`: something is asked of its engine's swarm mode.
    """

    session: int
    revision: int
    lineage: UUID
    engine: str
    word: str
    muted: bool
    copies: bool
    images: bool
    swarm: bool


async def telling(conn: Connection, node_ids: Sequence[UUID]) -> dict[UUID, Telling]:
    """Of those of the nodes that there are. One statement: agents ask all the time."""
    rows = await conn.fetch(
        "SELECT n.id, session, assignment_revision AS revision, lineage, accepted AS engine, word,"
        " (n.paused_at IS NOT NULL OR ahead IS NOT NULL) AS muted,"
        " EXISTS (SELECT 1 FROM copies_due d WHERE d.node_id = n.id) AS copies,"
        " EXISTS (SELECT 1 FROM image_requests r WHERE r.node_id = n.id AND r.answered_at IS NULL) AS images,"
        " (swarm_role <> $2 OR swarm_reset <> '') AS swarm"
        " FROM nodes n, installation WHERE n.id = ANY($1)",
        list(node_ids),
        SwarmRole.NONE.value,
    )
    return {row["id"]: Telling(**{key: value for key, value in row.items() if key != "id"}) for row in rows}


async def news(
    conn: Connection,
    node_ids: Sequence[UUID],
    sessions: Sequence[int],
    revisions: Sequence[int],
    lineages: Sequence[UUID | None],
) -> list[int]:
    """Of nodes that were told these revisions in these sessions and lines, the places of those with something to be
    told, or whose session is over. One statement however many there are.
    """
    rows = await conn.fetch(
        "SELECT h.place - 1 AS place FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[]) WITH ORDINALITY"
        " AS h(id, session, revision, lineage, place) CROSS JOIN installation i LEFT JOIN nodes n ON n.id = h.id"
        " WHERE n.id IS NULL OR n.session <> h.session OR i.lineage IS DISTINCT FROM h.lineage"
        " OR n.assignment_revision < h.revision OR (n.paused_at IS NULL AND n.ahead IS NULL"
        " AND (n.assignment_revision > h.revision OR EXISTS (SELECT 1 FROM copies_due d WHERE d.node_id = h.id)))",
        list(node_ids),
        list(sessions),
        list(revisions),
        list(lineages),
    )
    return [row["place"] for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the record is for a node, and where it was when it was last restored; `word` as told."""

    now: Position
    restored: Position | None
    word: str


async def standing(conn: Connection, node_id: UUID) -> Standing:
    """How far the record is. The node is there."""
    row = await conn.fetchrow(
        "SELECT assignment_revision, lineage, restored_from, restored_revision, word FROM nodes n, installation"
        " WHERE n.id = $1",
        node_id,
    )
    assert row is not None  # noqa: S101 - its session was just begun
    before = row["restored_from"]
    return Standing(
        now=Position(node_id=node_id, lineage=row["lineage"], revision=row["assignment_revision"]),
        restored=Position(node_id=node_id, lineage=before, revision=row["restored_revision"]) if before else None,
        word=row["word"],
    )


async def enrol_engine(conn: Connection, node_id: UUID, identity: str) -> None:
    """The first engine that is heard of is the node's own."""
    await conn.execute("UPDATE nodes SET accepted = $2 WHERE id = $1 AND accepted = ''", node_id, identity)


async def note_ahead(conn: Connection, node_id: UUID, ahead: Position | None) -> None:
    """What the node's agent was told by a newer record; None: nothing."""
    await conn.execute(
        "UPDATE nodes SET ahead = $2 WHERE id = $1 AND ahead IS DISTINCT FROM $2",
        node_id,
        codec.dump(codec.POSITION, ahead),
    )


async def say(conn: Connection, node_id: UUID, word: str, *, ahead: Position | None) -> None:
    """An operator has answered a question. What `ahead` was told is passed by, so that no revision is told twice."""
    await conn.execute(
        "UPDATE nodes SET word = $2, ahead = NULL,"
        " assignment_revision = greatest(assignment_revision, $3::bigint) + 1 WHERE id = $1",
        node_id,
        word,
        ahead.revision if ahead else 0,
    )


async def accept_engine(conn: Connection, node_id: UUID, identity: str) -> None:
    """An operator has said that the engine is the node's own from now on; its agent is told so."""
    await conn.execute(
        "UPDATE nodes SET accepted = $2, assignment_revision = assignment_revision + 1 WHERE id = $1",
        node_id,
        identity,
    )
