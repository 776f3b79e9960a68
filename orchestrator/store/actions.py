"""Rows of actions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.action import Action, ActionState, Request
from domain.errors import NotFound
from orchestrator.store import codec
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where

_COLUMNS = "id, account_id, service_id, verb, object_uri, state, request, message, start_date, end_date"
_FILTERS = {
    "uuid": "id",
    "state": "state",
    "object": "object_uri",
    "action": "verb",
    "method": "request->>'method'",
    "start_date": "start_date",
    "end_date": "end_date",
}


def _action(row: Any) -> Action:
    return Action(
        id=row["id"],
        account_id=row["account_id"],
        service_id=row["service_id"],
        verb=row["verb"],
        object_uri=row["object_uri"],
        state=ActionState(row["state"]),
        request=codec.load(codec.REQUEST, row["request"]) or Request(),
        message=row["message"],
        start_date=row["start_date"],
        end_date=row["end_date"],
    )


async def insert(conn: Connection, action: Action) -> None:
    """A new action."""
    await conn.execute(
        "INSERT INTO actions (id, account_id, service_id, verb, object_uri, state, request, message, start_date,"
        " end_date, parts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        action.id,
        action.account_id,
        action.service_id,
        action.verb,
        action.object_uri,
        action.state.value,
        codec.dump(codec.REQUEST, action.request),
        action.message,
        action.start_date,
        action.end_date,
        action.parts,
    )


async def end(conn: Connection, ids: Sequence[UUID], state: ActionState, message: str | None, at: datetime) -> None:
    """One part of each of the actions has ended; an action ends with its last part, failed if any part failed.

    An action that has ended keeps its end.
    """
    failed = 1 if state is ActionState.FAILED else 0
    await conn.execute(
        "UPDATE actions SET parts = parts - 1, failed_parts = failed_parts + $2,"
        " message = nullif(left(concat_ws('; ', nullif(message, ''), $3::text), 2000), ''),"
        " state = CASE WHEN parts > 1 THEN state WHEN failed_parts + $2 > 0 THEN $4 ELSE $5 END,"
        " end_date = CASE WHEN parts > 1 THEN NULL ELSE $6::timestamptz END"
        " WHERE id = ANY($1) AND end_date IS NULL",
        list(ids),
        failed,
        message,
        ActionState.FAILED.value,
        state.value if not failed else ActionState.SUCCESS.value,
        at,
    )


async def cancel(conn: Connection, asked: UUID, ids: Sequence[UUID], at: datetime) -> None:
    """The user let go of one: it ends as canceled, whatever parts are left, and so do those that end with it.

    Of one for which others work as well, a part has failed.
    """
    await conn.execute(
        "UPDATE actions SET (state, end_date, parts, failed_parts, message) = (SELECT"
        " CASE WHEN over THEN $2 ELSE state END, CASE WHEN over THEN $3::timestamptz END,"
        " CASE WHEN over THEN 0 ELSE parts - 1 END, failed_parts + (NOT over)::int,"
        " CASE WHEN over THEN message ELSE left(concat_ws('; ', nullif(message, ''), $5::text), 2000) END"
        " FROM (SELECT id = $4 OR parts < 2 AS over) AS o)"
        " WHERE id = ANY($1) AND end_date IS NULL",
        list(ids),
        ActionState.CANCELED.value,
        at,
        asked,
        "a part of it was canceled by the user",
    )


async def begin(conn: Connection, ids: Sequence[UUID]) -> None:
    """Pending actions are under way now."""
    await conn.execute(
        "UPDATE actions SET state = $2 WHERE id = ANY($1) AND end_date IS NULL",
        list(ids),
        ActionState.IN_PROGRESS.value,
    )


async def log(conn: Connection, lines: Sequence[tuple[UUID, str]]) -> None:
    """Write progress lines of actions, in their order; of an action that is no more they are dropped."""
    if lines:
        await conn.execute(
            "INSERT INTO action_logs (action_id, line) SELECT t.a, t.l"
            " FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS t(a, l, n) JOIN actions ON id = t.a ORDER BY n",
            [action_id for action_id, _ in lines],
            [text[:2000] for _, text in lines],
        )


async def get(conn: Connection, account_id: UUID, action_id: UUID) -> Action:
    """One action of the account. Raises NotFound."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM actions WHERE account_id = $1 AND id = $2",  # noqa: S608 - constants of this module
        account_id,
        action_id,
    )
    if row is None:
        raise NotFound(f"there is no action {action_id}")
    return _action(row)


async def lock(conn: Connection, account_id: UUID, action_id: UUID) -> Action:
    """The same, with its row locked; the caller holds the locks of what it acts on. Raises NotFound."""
    await conn.execute("SELECT 1 FROM actions WHERE id = $1 FOR NO KEY UPDATE", action_id)
    return await get(conn, account_id, action_id)


async def page(
    conn: Connection, account_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[Action], int]:
    """A page of the account's actions, newest first, and how many there are."""
    condition, arguments = where(filters, _FILTERS, first=2)
    base = f"FROM actions WHERE account_id = $1 AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", account_id, *arguments)
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY start_date DESC, id"
        f" LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        account_id,
        *arguments,
        limit,
        offset,
    )
    return [_action(row) for row in rows], total


async def newest_of_objects(
    conn: Connection, account_id: UUID, uris: Sequence[str], limit: int = 25
) -> dict[str, list[UUID]]:
    """The newest actions of each object, newest first."""
    rows = await conn.fetch(
        "SELECT o.uri, a.id FROM unnest($2::text[]) AS o(uri) CROSS JOIN LATERAL"
        " (SELECT id, start_date FROM actions WHERE account_id = $1 AND object_uri = o.uri"
        " ORDER BY start_date DESC, id LIMIT $3) a ORDER BY o.uri, a.start_date DESC, a.id",
        account_id,
        list(uris),
        limit,
    )
    out: dict[str, list[UUID]] = {}
    for row in rows:
        out.setdefault(row["uri"], []).append(row["id"])
    return out


async def last_failure(conn: Connection, service_id: UUID) -> str | None:
    """What the newest action of a service and its containers that took any time failed for; None where it did not."""
    row = await conn.fetchrow(
        "SELECT state, message FROM actions WHERE service_id = $1 AND end_date > start_date"
        " ORDER BY start_date DESC, id LIMIT 1",
        service_id,
    )
    return (row["message"] or "no reason was given") if row and row["state"] == ActionState.FAILED.value else None


async def purge(conn: Connection, older_than_days: int, limit: int = 500) -> int:
    """Delete actions that ended that long ago; returns how many."""
    result = await conn.execute(
        "DELETE FROM actions WHERE id IN (SELECT id FROM actions"
        " WHERE end_date < now() - make_interval(days => $1) LIMIT $2)",
        older_than_days,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
