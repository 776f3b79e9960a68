"""Rows of stacks. A stack's state is derived from its services, when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.errors import Conflict, NotFound
from domain.service import ServiceState, Verb
from domain.stack import Stack, StackState, stack_state
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where

_COLUMNS = (
    "k.id, k.account_id, k.name, k.nickname, k.created_at, k.deployed_at, k.terminated_at, k.operation_verb,"
    " k.operation_action"
)
_FILTERS = {"uuid": "k.id", "name": "k.name"}
# A stack's `terminated_at` is when that was asked for: it shows while it is Terminating, however long that takes.
_SHOWN = (
    "(k.terminated_at IS NULL OR k.terminated_at > now() - interval '1 hour' OR EXISTS (SELECT 1 FROM services s"
    " WHERE s.stack_id = k.id AND (s.destroyed_at IS NULL OR s.destroyed_at > now() - interval '1 hour')))"
)


def _stack(row: Any) -> Stack:
    return Stack(
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        nickname=row["nickname"],
        created_at=row["created_at"],
        deployed_at=row["deployed_at"],
        terminated_at=row["terminated_at"],
        verb=Verb(row["operation_verb"]) if row["operation_verb"] else None,
        action=row["operation_action"],
    )


async def insert(conn: Connection, stack: Stack) -> None:
    """A new stack. Raises Conflict when a live one of the account has its name."""
    if await conn.fetchval(
        "SELECT 1 FROM stacks WHERE account_id = $1 AND lower(name) = lower($2) AND terminated_at IS NULL",
        stack.account_id,
        stack.name,
    ):
        raise Conflict(f"there is a stack {stack.name} already: update it, or choose another name")
    await conn.execute(
        "INSERT INTO stacks (id, account_id, name, nickname, created_at) VALUES ($1, $2, $3, $4, $5)",
        stack.id,
        stack.account_id,
        stack.name,
        stack.nickname,
        stack.created_at,
    )
    await _tell(conn, stack, "create")


async def save(conn: Connection, stack: Stack) -> None:
    """Write what may change of a stack; the caller holds its row lock."""
    await conn.execute(
        "UPDATE stacks SET nickname = $2, deployed_at = $3, terminated_at = $4, operation_verb = $5,"
        " operation_action = $6 WHERE id = $1",
        stack.id,
        stack.nickname,
        stack.deployed_at,
        stack.terminated_at,
        stack.verb.value if stack.verb else None,
        stack.action,
    )
    await _tell(conn, stack, "update")


async def _tell(conn: Connection, stack: Stack, act: str) -> None:
    """The event of the row's change. What its services do comes as theirs."""
    state = (await states(conn, [stack]))[stack.id]
    await conn.execute(
        "SELECT tutela_event($1, 'stack', $2, $3, '{}', $4)",
        stack.account_id,
        act,
        stack.id,
        state.value,
    )


async def get(conn: Connection, account_id: UUID, stack_id: UUID, *, lock: bool = False) -> Stack:
    """One stack of the account, its row locked if asked. Raises NotFound.

    Its row is locked before those of its services: who changes a stack takes it first.
    """
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM stacks k WHERE k.account_id = $1 AND k.id = $2"  # noqa: S608
        f"{' FOR NO KEY UPDATE' if lock else ''}",
        account_id,
        stack_id,
    )
    if row is None:
        raise NotFound(f"there is no stack {stack_id}")
    return _stack(row)


async def states(conn: Connection, stacks: Sequence[Stack]) -> dict[UUID, StackState]:
    """The state of each of them."""
    rows = await conn.fetch(
        "SELECT stack_id, state FROM services WHERE stack_id = ANY($1)", [stack.id for stack in stacks]
    )
    found: dict[UUID, list[ServiceState]] = {stack.id: [] for stack in stacks}
    for row in rows:
        found[row["stack_id"]].append(ServiceState(row["state"]))
    under_way = await conn.fetch(
        "SELECT id FROM actions WHERE id = ANY($1) AND end_date IS NULL",
        [stack.action for stack in stacks if stack.action],
    )
    open_actions = {row["id"] for row in under_way}
    return {stack.id: stack_state(stack, found[stack.id], under_way=stack.action in open_actions) for stack in stacks}


async def page(
    conn: Connection,
    account_id: UUID,
    filters: Sequence[Filter],
    limit: int,
    offset: int,
    wanted: Sequence[StackState] | None,
) -> tuple[list[tuple[Stack, StackState]], int]:
    """A page of the account's stacks by age with their states, and how many there are in all.

    Terminated ones show for an hour after their last service; in a lookup by name, live matches hide them (spec 1.9).
    `wanted` None: whatever their state.
    """
    condition, arguments = where(filters, _FILTERS, first=2)
    base = f"FROM stacks k WHERE k.account_id = $1 AND {_SHOWN} AND {condition}"
    named = {each.field for each in filters}
    if "name" in named and "uuid" not in named and wanted is None:
        alive = f"SELECT 1 FROM stacks k WHERE k.account_id = $1 AND k.terminated_at IS NULL AND {condition}"  # noqa: S608
        base += f" AND (k.terminated_at IS NULL OR NOT EXISTS ({alive}))"
    if wanted is None:
        total = await conn.fetchval(f"SELECT count(*) {base}", account_id, *arguments)
        limits = f"LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}"
        rows = await conn.fetch(
            f"SELECT {_COLUMNS} {base} ORDER BY k.created_at, k.id {limits}", account_id, *arguments, limit, offset
        )
        found = [_stack(row) for row in rows]
        derived = await states(conn, found)
        return [(stack, derived[stack.id]) for stack in found], total
    rows = await conn.fetch(f"SELECT {_COLUMNS} {base} ORDER BY k.created_at, k.id", account_id, *arguments)
    found = [_stack(row) for row in rows]
    derived = await states(conn, found)
    fitting = [(stack, derived[stack.id]) for stack in found if derived[stack.id] in wanted]
    return fitting[offset : offset + limit], len(fitting)


async def purge_terminated(conn: Connection, older_than_hours: int, limit: int = 50) -> int:
    """Delete stacks that were terminated that long ago and have no services left; returns how many."""
    result = await conn.execute(
        "DELETE FROM stacks WHERE id IN (SELECT id FROM stacks k"
        " WHERE k.terminated_at < now() - make_interval(hours => $1)"
        " AND NOT EXISTS (SELECT 1 FROM services s WHERE s.stack_id = k.id) LIMIT $2)",
        older_than_hours,
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])
