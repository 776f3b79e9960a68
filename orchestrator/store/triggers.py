"""Rows of triggers. The caller has checked that the service is the account's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from domain.errors import NotFound
from domain.trigger import Trigger, TriggerOperation
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where

_COLUMNS = "id, service_id, name, operation, created_at"
_FILTERS = {"uuid": "id", "name": "name", "operation": "operation"}


def _trigger(row: Any) -> Trigger:
    return Trigger(
        id=row["id"],
        service_id=row["service_id"],
        name=row["name"],
        operation=TriggerOperation(row["operation"]),
        created_at=row["created_at"],
    )


async def insert(conn: Connection, trigger: Trigger) -> None:
    """A new trigger."""
    await conn.execute(
        "INSERT INTO triggers (id, service_id, name, operation, created_at) VALUES ($1, $2, $3, $4, $5)",
        trigger.id,
        trigger.service_id,
        trigger.name,
        trigger.operation.value,
        trigger.created_at,
    )


async def count(conn: Connection, service_id: UUID) -> int:
    """How many triggers the service has."""
    value: int = await conn.fetchval("SELECT count(*) FROM triggers WHERE service_id = $1", service_id)
    return value


async def page(
    conn: Connection, service_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[Trigger], int]:
    """A page of the service's triggers by age, and how many there are."""
    condition, arguments = where(filters, _FILTERS, first=2)
    base = f"FROM triggers WHERE service_id = $1 AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", service_id, *arguments)
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY created_at, id LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        service_id,
        *arguments,
        limit,
        offset,
    )
    return [_trigger(row) for row in rows], total


async def get_by_id(conn: Connection, service_id: UUID, trigger_id: UUID) -> Trigger:
    """The service's trigger, of whatever account: its uuid is the secret. Raises NotFound, without naming it."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM triggers WHERE service_id = $1 AND id = $2",  # noqa: S608 - constants of this module
        service_id,
        trigger_id,
    )
    if row is None:
        raise NotFound("there is no such trigger")
    return _trigger(row)


async def delete(conn: Connection, trigger_id: UUID) -> None:
    """The trigger is no more."""
    await conn.execute("DELETE FROM triggers WHERE id = $1", trigger_id)
