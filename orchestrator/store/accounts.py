"""Accounts and their API keys. A key is a random 256-bit value; only its hash is stored (RELIABILITY S7)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from domain.errors import NotFound
from orchestrator.store.db import Connection

LOGIN_KEY = "cli login"
"""The name of keys that a login by password was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who is asking."""

    id: UUID
    username: str


def key_hash(key: str) -> bytes:
    """The stored form of an API key."""
    return hashlib.sha256(key.encode()).digest()


async def authenticate(conn: Connection, username: str, key: str) -> Account | None:
    """The account that this user name and key belong to, or None."""
    row = await conn.fetchrow(
        "SELECT a.id, a.username FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE k.key_hash = $1",
        key_hash(key),
    )
    if row is None or not hmac.compare_digest(row["username"].encode(), username.encode()):
        return None
    return Account(id=row["id"], username=row["username"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An account with what is stored of its password; None: it has none."""

    account: Account
    password_hash: str | None = field(repr=False)


async def by_name(conn: Connection, username: str) -> Login | None:
    """The account of that name, or None."""
    row = await conn.fetchrow("SELECT id, username, password_hash FROM accounts WHERE username = $1", username)
    if row is None:
        return None
    return Login(account=Account(id=row["id"], username=row["username"]), password_hash=row["password_hash"])


async def set_password(conn: Connection, caller_id: UUID, username: str, password_hash: str) -> None:
    """A new password for the caller's own account, or by an admin for any; keys of the old one's logins end.

    Raises NotFound.
    """
    account_id = await conn.fetchval(
        "UPDATE accounts SET password_hash = $3 WHERE username = $2"
        " AND (id = $1 OR EXISTS (SELECT 1 FROM accounts WHERE id = $1 AND role = 'admin')) RETURNING id",
        caller_id,
        username,
        password_hash,
    )
    if account_id is None:
        raise NotFound(f"there is no user {username[:80]}")
    await conn.execute("DELETE FROM api_keys WHERE account_id = $1 AND name = $2", account_id, LOGIN_KEY)


async def of_service(conn: Connection, service_id: UUID) -> Account:
    """The owner of a service. Raises NotFound."""
    row = await conn.fetchrow(
        "SELECT a.id, a.username FROM services s JOIN accounts a ON a.id = s.account_id WHERE s.id = $1", service_id
    )
    if row is None:
        raise NotFound(f"there is no service {service_id}")
    return Account(id=row["id"], username=row["username"])


async def of_container(conn: Connection, container_id: UUID) -> Account | None:
    """The account for which the container may speak: its owner's, while it lives and its service has the role."""
    row = await conn.fetchrow(
        "SELECT a.id, a.username FROM containers c JOIN services s ON s.id = c.service_id"
        " JOIN accounts a ON a.id = s.account_id WHERE c.id = $1 AND c.terminated_at IS NULL AND c.want <> 'GONE'"
        " AND s.spec->'roles' ? 'global' AND s.want <> 'TERMINATED'",
        container_id,
    )
    return Account(id=row["id"], username=row["username"]) if row else None


async def ensure_admin(conn: Connection, username: str, key: str) -> bool:
    """On an installation without accounts, make the first one with this key; returns whether it did."""
    await conn.execute("SELECT pg_advisory_xact_lock(7226371)")
    if await conn.fetchval("SELECT 1 FROM accounts LIMIT 1"):
        return False
    account_id = uuid4()
    await conn.execute("INSERT INTO accounts (id, username, role) VALUES ($1, $2, 'admin')", account_id, username)
    await add_key(conn, account_id, key, "first start")
    return True


async def add_key(conn: Connection, account_id: UUID, key: str, name: str) -> None:
    """Give the account one more key, if it does not have it."""
    await conn.execute(
        "INSERT INTO api_keys (key_hash, account_id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        key_hash(key),
        account_id,
        name,
    )


async def admin(conn: Connection) -> Account | None:
    """The first account, or None on a new installation."""
    row = await conn.fetchrow("SELECT id, username FROM accounts ORDER BY created_at LIMIT 1")
    return Account(id=row["id"], username=row["username"]) if row else None


async def is_admin(conn: Connection, account_id: UUID) -> bool:
    """Whether the account may do what concerns the whole installation."""
    return bool(await conn.fetchval("SELECT role = 'admin' FROM accounts WHERE id = $1", account_id))
