"""Rows of users and of their keys, as those who administer them see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.access import Role
from domain.errors import NotFound
from domain.quota import Quota
from orchestrator.ids import new_id
from orchestrator.store.accounts import key_hash
from orchestrator.store.db import Connection
from orchestrator.store.filters import Filter, where
from orchestrator.store.quotas import quota_of

_COLUMNS = (
    "id, username, role, created_at, disabled_at, password_hash IS NOT NULL AS has_password, most_services,"
    " most_containers, most_memory, most_cpu_shares"
)
_FILTERS = {"uuid": "id", "username": "username", "role": "role", "enabled": "(disabled_at IS NULL)"}
_KEY_COLUMNS = "id, account_id, name, scope, created_at, expires_at, last_used_at"
_KEY_FILTERS = {"uuid": "id", "name": "name", "scope": "scope"}


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user. `disabled_at`: nothing of it is let in since then; what it runs goes on."""

    id: UUID
    username: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None
    has_password: bool
    quota: Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret."""

    id: UUID
    account_id: UUID
    name: str
    scope: Role
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


def _user(row: Any) -> User:
    return User(
        id=row["id"],
        username=row["username"],
        role=Role(row["role"]),
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        has_password=row["has_password"],
        quota=quota_of(row),
    )


def _key(row: Any) -> ApiKey:
    return ApiKey(**{**row, "scope": Role(row["scope"])})


async def administering(conn: Connection) -> None:
    """One who changes users at a time, so that two admins do not take each other's role away."""
    await conn.execute("SELECT pg_advisory_xact_lock(7226371)")


async def admins(conn: Connection) -> int:
    """How many enabled admins there are."""
    value: int = await conn.fetchval(
        "SELECT count(*) FROM accounts WHERE role = $1 AND disabled_at IS NULL AND deleted_at IS NULL", Role.ADMIN.value
    )
    return value


async def insert(conn: Connection, username: str, role: Role, password_hash: str | None) -> UUID:
    """A new user. Raises Conflict when the name is taken."""
    user_id = new_id()
    await conn.execute(
        "INSERT INTO accounts (id, username, role, password_hash) VALUES ($1, $2, $3, $4)",
        user_id,
        username,
        role.value,
        password_hash,
    )
    return user_id


async def get(conn: Connection, user_id: UUID) -> User:
    """One user. Raises NotFound."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM accounts WHERE id = $1 AND deleted_at IS NULL",  # noqa: S608 - constants of this module
        user_id,
    )
    if row is None:
        raise NotFound(f"there is no user {user_id}")
    return _user(row)


async def page(conn: Connection, filters: Sequence[Filter], limit: int, offset: int) -> tuple[list[User], int]:
    """A page of the users by age, and how many there are."""
    condition, arguments = where(filters, _FILTERS, first=1)
    base = f"FROM accounts WHERE deleted_at IS NULL AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", *arguments)
    rows = await conn.fetch(
        f"SELECT {_COLUMNS} {base} ORDER BY created_at, id LIMIT ${len(arguments) + 1} OFFSET ${len(arguments) + 2}",
        *arguments,
        limit,
        offset,
    )
    return [_user(row) for row in rows], total


async def set_role(conn: Connection, user_id: UUID, role: Role, *, enabled: bool) -> None:
    """Write the user's role and whether it is let in."""
    await conn.execute(
        "UPDATE accounts SET role = $2,"
        " disabled_at = CASE WHEN $3 THEN NULL ELSE coalesce(disabled_at, clock_timestamp()) END WHERE id = $1",
        user_id,
        role.value,
        enabled,
    )


async def lock(conn: Connection, user_id: UUID) -> User:
    """One user, and until the transaction ends nobody makes a service for it. Raises NotFound."""
    await conn.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", user_id)
    return await get(conn, user_id)


async def live_services(conn: Connection, user_id: UUID, most: int) -> list[str]:
    """The names of some of the user's services that are not destroyed."""
    rows = await conn.fetch(
        "SELECT unique_name FROM services WHERE account_id = $1 AND destroyed_at IS NULL ORDER BY created_at LIMIT $2",
        user_id,
        most,
    )
    return [row["unique_name"] for row in rows]


async def delete(conn: Connection, user_id: UUID) -> None:
    """The user is gone, with its keys and the credentials it registered; what it did stays on record."""
    await conn.execute("DELETE FROM api_keys WHERE account_id = $1", user_id)
    await conn.execute("DELETE FROM images WHERE account_id = $1", user_id)
    await conn.execute(
        "UPDATE stacks SET terminated_at = clock_timestamp() WHERE account_id = $1 AND terminated_at IS NULL", user_id
    )
    await conn.execute(
        "UPDATE accounts SET deleted_at = clock_timestamp(), password_hash = NULL WHERE id = $1", user_id
    )


async def purge_deleted(conn: Connection, limit: int = 50) -> int:
    """Drop the rows of deleted users that nothing refers to any more; returns how many.

    An image that was registered at the same moment as the user was deleted goes with it.
    """
    result = await conn.execute(
        "WITH old AS (SELECT id FROM accounts a WHERE deleted_at < now() - interval '1 day'"
        " AND NOT EXISTS (SELECT 1 FROM services WHERE account_id = a.id)"
        " AND NOT EXISTS (SELECT 1 FROM stacks WHERE account_id = a.id)"
        " AND NOT EXISTS (SELECT 1 FROM volume_groups WHERE account_id = a.id)"
        " AND NOT EXISTS (SELECT 1 FROM volumes WHERE account_id = a.id)"
        " AND NOT EXISTS (SELECT 1 FROM actions WHERE account_id = a.id) LIMIT $1),"
        " left_ AS (DELETE FROM images WHERE account_id IN (SELECT id FROM old))"
        " DELETE FROM accounts WHERE id IN (SELECT id FROM old)",
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])


async def add_key(
    conn: Connection, user_id: UUID, key: str, *, name: str, scope: Role, expires_in: int | None, by: UUID | None
) -> ApiKey:
    """One more key of the user; `expires_in` in seconds. It ends with the key `by` at the latest."""
    row = await conn.fetchrow(
        "INSERT INTO api_keys (key_hash, account_id, name, scope, expires_at)"  # noqa: S608 - as above
        " VALUES ($1, $2, $3, $4, least(clock_timestamp() + make_interval(secs => $5),"
        " (SELECT expires_at FROM api_keys WHERE id = $6)))"
        f" RETURNING {_KEY_COLUMNS}",
        key_hash(key),
        user_id,
        name,
        scope.value,
        expires_in,
        by,
    )
    return _key(row)


async def count_keys(conn: Connection, user_id: UUID) -> int:
    """How many keys of the user are in force."""
    value: int = await conn.fetchval(
        "SELECT count(*) FROM api_keys WHERE account_id = $1"
        " AND (expires_at IS NULL OR expires_at > clock_timestamp())",
        user_id,
    )
    return value


async def purge_keys(conn: Connection, limit: int) -> int:
    """Delete keys that ended a day ago; returns how many."""
    result = await conn.execute(
        "DELETE FROM api_keys WHERE id IN"
        " (SELECT id FROM api_keys WHERE expires_at < now() - interval '1 day' LIMIT $1)",
        limit,
    )
    return int(result.rsplit(" ", 1)[-1])


async def revoke_key(conn: Connection, user_id: UUID, key_id: UUID) -> ApiKey:
    """The key ends; returns what it was. Raises NotFound, for a key of another user too."""
    row = await conn.fetchrow(
        f"DELETE FROM api_keys WHERE account_id = $1 AND id = $2 RETURNING {_KEY_COLUMNS}",  # noqa: S608 - as above
        user_id,
        key_id,
    )
    if row is None:
        raise NotFound(f"there is no key {key_id}")
    return _key(row)


async def keys(
    conn: Connection, user_id: UUID, filters: Sequence[Filter], limit: int, offset: int
) -> tuple[list[ApiKey], int]:
    """A page of the user's keys by age, and how many there are."""
    condition, arguments = where(filters, _KEY_FILTERS, first=2)
    base = f"FROM api_keys WHERE account_id = $1 AND {condition}"
    total = await conn.fetchval(f"SELECT count(*) {base}", user_id, *arguments)
    rows = await conn.fetch(
        f"SELECT {_KEY_COLUMNS} {base} ORDER BY created_at, id"
        f" LIMIT ${len(arguments) + 2} OFFSET ${len(arguments) + 3}",
        user_id,
        *arguments,
        limit,
        offset,
    )
    return [_key(row) for row in rows], total
