"""Nodes that are being emptied: marked by a user, ended by the pass that takes the last container away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from domain.action import ActionState
from orchestrator.store import actions, wake
from orchestrator.store.db import Connection

# A container with mounts has its data on the node and stays (RELIABILITY I2b).
_STAYS = "jsonb_array_length(coalesce(c.spec->'mounts', '[]'::jsonb)) > 0"


async def begin(conn: Connection, node_id: UUID, action_id: UUID) -> None:
    """From now on the node takes nothing new, and passes move away what they can."""
    await conn.execute("UPDATE nodes SET cordoned = true, drain_action = $2 WHERE id = $1", node_id, action_id)


async def cordon(conn: Connection, node_id: UUID, *, cordoned: bool) -> UUID | None:
    """Let the node take containers, or not. A drain under way ends when it may; returns that drain's action."""
    action: UUID | None = await conn.fetchval("SELECT drain_action FROM nodes WHERE id = $1", node_id)
    await conn.execute(
        "UPDATE nodes SET cordoned = $2, drain_action = CASE WHEN $2 THEN drain_action END WHERE id = $1",
        node_id,
        cordoned,
    )
    return None if cordoned else action


async def end_finished(conn: Connection, node_ids: Sequence[UUID], at: datetime) -> None:
    """End the drains of those nodes on which nothing is left that can be moved. The caller has locked the nodes."""
    for node_id in sorted(node_ids):
        row = await conn.fetchrow(
            f"SELECT n.drain_action, n.name, count(c.id) FILTER (WHERE NOT {_STAYS}) AS moving,"  # noqa: S608
            f" array_agg(c.name ORDER BY c.name) FILTER (WHERE {_STAYS}) AS staying"
            " FROM nodes n LEFT JOIN containers c ON c.node_id = n.id AND c.terminated_at IS NULL"
            " WHERE n.id = $1 AND n.drain_action IS NOT NULL GROUP BY n.id",
            node_id,
        )
        if row is None or row["moving"]:
            continue
        staying = row["staying"] or []
        message = None
        if staying:
            names = ", ".join(staying[:10]) + (" and more" if len(staying) > 10 else "")
            message = f"{len(staying)} containers stay, because their data is on node {row['name']}: {names}"
        state = ActionState.FAILED if staying else ActionState.SUCCESS
        await actions.end(conn, [row["drain_action"]], state, message, at)
        await conn.execute("UPDATE nodes SET drain_action = NULL WHERE id = $1", node_id)


async def give_up(conn: Connection, minutes: int, at: datetime) -> None:
    """End the drains that could not be done within that time; their nodes stay cordoned (I11)."""
    rows = await conn.fetch(
        "SELECT n.id, n.name, n.drain_action, count(c.id) AS left_there FROM nodes n"
        " JOIN actions a ON a.id = n.drain_action"
        " LEFT JOIN containers c ON c.node_id = n.id AND c.terminated_at IS NULL"
        " WHERE n.drain_action IS NOT NULL AND a.start_date < $1::timestamptz - make_interval(mins => $2)"
        " GROUP BY n.id",
        at,
        minutes,
    )
    for row in rows:
        text = (
            f"gave up after {minutes} minutes: {row['left_there']} containers are still on node {row['name']}, which"
            " stays cordoned; GET /api/v1/service/UUID/explain/ says what each waits for"
        )
        # Another drain may have begun meanwhile. What left its slot and has no successor is to have it again.
        over = "UPDATE nodes SET drain_action = NULL WHERE id = $1 AND drain_action = $2"
        await conn.execute(over, row["id"], row["drain_action"])
        await actions.end(conn, [row["drain_action"]], ActionState.FAILED, text, at)
        await wake.services_on(conn, row["id"])


async def let_go(conn: Connection, action_id: UUID) -> UUID | None:
    """The user cancels a drain: its node stays cordoned; returns the node."""
    value: UUID | None = await conn.fetchval(
        "UPDATE nodes SET drain_action = NULL WHERE drain_action = $1 RETURNING id", action_id
    )
    if value is not None:
        await wake.services_on(conn, value)
    return value
