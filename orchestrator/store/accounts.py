"""Accounts and their API keys. A key is a random 256-bit value; only its hash is stored (RELIABILITY S7)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID, uuid4

from orchestrator.store.db import Connection


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
    """Give the account one more key."""
    await conn.execute(
        "INSERT INTO api_keys (key_hash, account_id, name) VALUES ($1, $2, $3)", key_hash(key), account_id, name
    )


async def admin(conn: Connection) -> Account | None:
    """The first account, or None on a new installation."""
    row = await conn.fetchrow("SELECT id, username FROM accounts ORDER BY created_at LIMIT 1")
    return Account(id=row["id"], username=row["username"]) if row else None
