"""What agents report, put on record for many nodes at once: few statements however many they are.

No node's row that another transaction has is waited for: whose node is not free is written by the next (decision 26).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.assignment import NodeReport
from domain.container import Observed, Want, container_state, news
from domain.node import NodeState, StartFailure
from orchestrator.store import codec
from orchestrator.store.db import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A node whose agent was heard: whether its state is another one now, whether starts are known that failed there,
    and when it is."""

    changed: bool
    failing: bool
    at: datetime


async def touch(conn: Connection, reports: Sequence[NodeReport]) -> dict[UUID, Touched]:
    """The agents were heard, by node; each node is locked until the transaction ends.

    Left out are those whose session is over, and those whose row somebody else has now. A node whose engine does not
    answer is Unreachable: nothing can be started there.
    """
    # What it locked is written by its place (`nodes.hold` says why): a row that changed since the statement began is
    # not there, and so counts as one that somebody has.
    rows = await conn.fetch(
        "UPDATE nodes n SET last_seen = clock_timestamp(), state = r.present, engine = coalesce(r.said, n.engine),"
        " applied_revision = r.applied, strangers = r.asked"
        " FROM unnest($1::uuid[], $3::text[], $4::jsonb[], $5::bigint[], $6::jsonb[])"
        " AS r(id, present, said, applied, asked) JOIN nodes b ON b.id = r.id"
        " WHERE n.ctid = ANY(ARRAY(SELECT nodes.ctid FROM nodes JOIN unnest($1::uuid[], $2::bigint[]) AS h(id, session)"
        " ON h.id = nodes.id AND h.session = nodes.session WHERE nodes.id = ANY($1)"
        " ORDER BY nodes.id FOR NO KEY UPDATE OF nodes SKIP LOCKED)) AND n.id = r.id AND b.id = ANY($1)"
        " RETURNING n.id, b.state <> n.state AS changed, n.failures IS NOT NULL AS failing, n.last_seen AS at",
        [each.node_id for each in reports],
        [each.session for each in reports],
        [(NodeState.DEPLOYED if each.engine else NodeState.UNREACHABLE).value for each in reports],
        [codec.dump(codec.ENGINE, each.engine) for each in reports],
        [each.applied_revision for each in reports],
        [codec.dump(codec.STRANGERS, each.strangers) for each in reports],
    )
    return {row["id"]: Touched(changed=row["changed"], failing=row["failing"], at=row["at"]) for row in rows}


async def over(conn: Connection, reports: Sequence[NodeReport]) -> set[UUID]:
    """The nodes whose sessions are over. That of a node which is locked just now may end in this moment."""
    rows = await conn.fetch(
        "SELECT r.id FROM unnest($1::uuid[], $2::bigint[]) AS r(id, session) LEFT JOIN nodes n ON n.id = r.id"
        " WHERE n.session IS DISTINCT FROM r.session",
        [each.node_id for each in reports],
        [each.session for each in reports],
    )
    return {row["id"] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """A container as it was before a report of it: what its state and the history of its node are made of."""

    id: UUID
    node_id: UUID
    service_id: UUID
    want: Want
    start_gen: int
    leaving: bool
    seen: Observed | None
    terminated_at: None = None


_BEFORE = """
    SELECT c.id, c.node_id, c.service_id, c.want, c.start_gen, c.leaving, c.seen::text FROM containers c
    JOIN unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[]) AS r(id, node_id, session, seq)
    ON r.id = c.id AND r.node_id = c.node_id
    WHERE c.id = ANY($1) AND c.terminated_at IS NULL AND (c.seen_session, c.seen_seq) < (r.session, r.seq)
"""
_OBSERVE = """
    UPDATE containers c SET seen = w.seen, state = w.state, seen_session = w.seen_session, seen_seq = w.seen_seq
    FROM jsonb_populate_recordset(NULL::containers, $2) w WHERE c.id = ANY($1) AND w.id = c.id
"""


async def observe(conn: Connection, reports: Sequence[NodeReport]) -> list[tuple[Before, Observed]]:
    """Write what agents saw, if it is newer than what is there and says something else; returns what was there, with
    that.

    A node writes only about its own containers (RELIABILITY S26). The caller holds the nodes' locks, and their
    sessions are the newest: an agent says one thing after the other in it, so that what was said again needs no number.
    """
    told = {
        (each.container_id, report.node_id): (report, each.observed) for report in reports for each in report.containers
    }
    if not told:
        return []
    rows = await conn.fetch(
        _BEFORE,
        [container_id for container_id, _ in told],
        [node_id for _, node_id in told],
        [report.session for report, _ in told.values()],
        [report.seq for report, _ in told.values()],
    )
    changes: list[tuple[Before, Observed]] = []
    written: list[dict[str, Any]] = []
    for row in rows:
        report, observed = told[row["id"], row["node_id"]]
        before = Before(**{**row, "want": Want(row["want"]), "seen": codec.load(codec.OBSERVED, row["seen"])})
        seen = news(before.seen, observed)
        if seen != before.seen:
            changes.append((before, seen))
            written.append(
                {
                    "id": str(before.id),
                    "seen": codec.dump(codec.OBSERVED, seen),
                    "state": container_state(replace(before, seen=seen)).value,
                    "seen_session": report.session,
                    "seen_seq": report.seq,
                }
            )
    if written:
        await conn.execute(_OBSERVE, [before.id for before, _ in changes], written)
    return changes


async def note_starts(
    conn: Connection, failed: Mapping[UUID, Sequence[StartFailure]], started: Collection[UUID]
) -> None:
    """Remember starts that failed on nodes, the newest ten of each; one that went well wipes them out."""
    if started:
        await conn.execute("UPDATE nodes SET failures = NULL WHERE id = ANY($1)", list(started))
    if failed:
        await conn.execute(
            "UPDATE nodes SET failures = (SELECT jsonb_agg(each ORDER BY n) FROM"
            " jsonb_array_elements(coalesce(failures, '[]'::jsonb) || m.more) WITH ORDINALITY AS t(each, n)"
            " WHERE n > jsonb_array_length(coalesce(failures, '[]'::jsonb) || m.more) - 10)"
            " FROM jsonb_to_recordset($2) AS m(id uuid, more jsonb) WHERE nodes.id = ANY($1) AND nodes.id = m.id",
            list(failed),
            [{"id": str(key), "more": codec.dump(codec.FAILURES, tuple(each))} for key, each in failed.items()],
        )


async def answer_images(conn: Connection, reports: Sequence[NodeReport]) -> list[UUID]:
    """Write the answers about images; the first one to a request counts. Returns the services that asked.

    Before the nodes are locked, as in passes. What an agent found out is so although its session ends in this moment.
    """
    answers = {
        (result.request_id, report.node_id): (report.session, result)
        for report in reports
        for result in reversed(report.images)
    }
    if not answers:
        return []
    rows = await conn.fetch(
        "UPDATE image_requests r SET image = a.image, error = a.error, answered_at = clock_timestamp()"
        " FROM (SELECT q.id FROM image_requests q WHERE q.id = ANY($1) AND q.node_id = ANY($2)"
        " AND q.answered_at IS NULL ORDER BY q.id FOR NO KEY UPDATE) o"
        " JOIN unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::jsonb[], $5::text[])"
        " AS a(id, node_id, session, image, error) ON a.id = o.id JOIN nodes n ON n.id = a.node_id"
        " WHERE r.id = ANY($1) AND r.id = o.id AND r.node_id = a.node_id AND n.session = a.session"
        " AND coalesce(a.image->>'reference', r.reference) = r.reference"
        " RETURNING r.service_id",
        [request_id for request_id, _ in answers],
        [node_id for _, node_id in answers],
        [session for session, _ in answers.values()],
        [codec.dump(codec.IMAGE, result.image) for _, result in answers.values()],
        [result.error for _, result in answers.values()],
    )
    return [row["service_id"] for row in rows]
