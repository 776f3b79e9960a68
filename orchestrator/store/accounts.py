"""Who is asking: accounts, and the keys, passwords and tokens by which they are known.

A key is a random 256-bit value; only its hash is stored (RELIABILITY S7). Nothing of it is remembered between two
requests, so that what is taken away ends at once for every process (S8).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain.access import Role, Via, least
from domain.errors import NotFound
from orchestrator.ids import new_id
from orchestrator.store.db import Connection

LOGIN_KEY = "cli login"
"""The name of keys that a login by password was given."""
_IN_FORCE = "a.disabled_at IS NULL AND a.deleted_at IS NULL"
_KEY_IN_FORCE = "(k.expires_at IS NULL OR k.expires_at > clock_timestamp())"
_SPEAKS = (
    "c.terminated_at IS NULL AND c.want <> 'GONE' AND s.spec->'roles' ? 'global' AND s.want <> 'TERMINATED'"
    " AND a.disabled_at IS NULL AND a.deleted_at IS NULL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose objects are asked for."""

    id: UUID
    username: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is asking, and with what right: `role` is the least of the user's and the key's.

    `owner_role` is the user's own. One of `key_id`, `password_hash` and `container_id` says by what it is known.
    """

    account: Account
    role: Role
    owner_role: Role
    via: Via
    key_id: UUID | None = None
    container_id: UUID | None = None
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Along:
    """What is read in the statement that tells who asks, so that it is no round trip of its own.

    `row`: a SELECT of one row, in which `caller.id` is the caller's account; `arguments` are its `$2` and on. Its
    columns have other names than the caller's.
    """

    row: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Who is asking, and the row with what was read along."""

    principal: Principal
    along: Any


NOTHING = Along(row="SELECT")


def key_hash(key: str) -> bytes:
    """The stored form of an API key."""
    return hashlib.sha256(key.encode()).digest()


async def authenticate(conn: Connection, username: str, key: str, along: Along = NOTHING) -> Known | None:
    """Who this user name and key belong to, or None. The use is noted, at most once a minute."""
    row = await _first(
        conn,
        "SELECT a.id, a.username, a.role, k.id AS key_id, k.scope,"  # noqa: S608 - constants of this module
        " k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute' AS long_ago"
        f" FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE k.key_hash = $1 AND {_IN_FORCE}"
        f" AND {_KEY_IN_FORCE}",
        key_hash(key),
        along,
    )
    if row is None or not hmac.compare_digest(row["username"].encode(), username.encode()):
        return None
    if row["long_ago"]:
        await conn.execute(
            "UPDATE api_keys SET last_used_at = now() WHERE id = $1"
            " AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')",
            row["key_id"],
        )
    return Known(principal=_by_key(row), along=row)


async def _first(conn: Connection, who: str, known_by: object, along: Along) -> Any:
    """The row of a caller, if there is one, with what is read along. `who`: its statement, with one argument."""
    statement = f"SELECT * FROM ({who}) AS caller CROSS JOIN LATERAL ({along.row}) AS along"  # noqa: S608 - constants of the store
    return await conn.fetchrow(statement, known_by, *along.arguments)


def _account(row: Any) -> Account:
    return Account(id=row["id"], username=row["username"])


def _by_key(row: Any) -> Principal:
    role = Role(row["role"])
    return Principal(
        account=_account(row),
        role=least(role, Role(row["scope"])),
        owner_role=role,
        via=Via.KEY,
        key_id=row["key_id"],
    )


def _by_container(row: Any) -> Principal:
    role = Role(row["role"])
    return Principal(
        account=_account(row),
        role=least(role, Role.MEMBER),
        owner_role=role,
        via=Via.CONTAINER,
        container_id=row["container_id"],
    )


def _by_password(row: Any) -> Principal:
    role = Role(row["role"])
    return Principal(
        account=_account(row), role=role, owner_role=role, via=Via.PASSWORD, password_hash=row["password_hash"]
    )


async def by_name(conn: Connection, username: str, along: Along = NOTHING) -> Known | None:
    """The user of that name as one who logs in by password, which is not checked here; None when there is none."""
    who = f"SELECT a.id, a.username, a.role, a.password_hash FROM accounts a WHERE a.username = $1 AND {_IN_FORCE}"  # noqa: S608
    row = await _first(conn, who, username, along)
    return Known(principal=_by_password(row), along=row) if row else None


async def of_container(conn: Connection, container_id: UUID, along: Along = NOTHING) -> Known | None:
    """For whom the container may speak: its owner, while it lives and its service has the role."""
    row = await _first(
        conn,
        "SELECT a.id, a.username, a.role, c.id AS container_id FROM containers c"  # noqa: S608 - as above
        " JOIN services s ON s.id = c.service_id JOIN accounts a ON a.id = s.account_id"
        f" WHERE c.id = $1 AND {_SPEAKS}",
        container_id,
        along,
    )
    return Known(principal=_by_container(row), along=row) if row else None


async def still(conn: Connection, principals: Iterable[Principal]) -> dict[Principal, Principal]:
    """What each of them may do now; those who may do nothing any more are left out. At most three statements."""
    before = list(principals)
    keys = [each.key_id for each in before if each.via is Via.KEY]
    containers = [each.container_id for each in before if each.via is Via.CONTAINER]
    users = [each.account.id for each in before if each.via is Via.PASSWORD]
    found: dict[object, Principal] = {}
    if keys:
        rows = await conn.fetch(
            "SELECT a.id, a.username, a.role, k.id AS key_id, k.scope FROM api_keys k"  # noqa: S608 - as above
            f" JOIN accounts a ON a.id = k.account_id WHERE k.id = ANY($1) AND {_IN_FORCE} AND {_KEY_IN_FORCE}",
            keys,
        )
        found |= {row["key_id"]: _by_key(row) for row in rows}
    if containers:
        rows = await conn.fetch(
            "SELECT a.id, a.username, a.role, c.id AS container_id FROM containers c"  # noqa: S608 - as above
            " JOIN services s ON s.id = c.service_id JOIN accounts a ON a.id = s.account_id"
            f" WHERE c.id = ANY($1) AND {_SPEAKS}",
            containers,
        )
        found |= {row["container_id"]: _by_container(row) for row in rows}
    if users:
        rows = await conn.fetch(
            "SELECT a.id, a.username, a.role, a.password_hash FROM accounts a"  # noqa: S608 - as above
            f" WHERE a.id = ANY($1) AND {_IN_FORCE}",
            users,
        )
        found |= {(row["id"], row["password_hash"]): _by_password(row) for row in rows}
    now = {each: found.get(_known_by(each)) for each in before}
    return {each: present for each, present in now.items() if present is not None}


def _known_by(principal: Principal) -> object:
    if principal.via is Via.PASSWORD:
        return (principal.account.id, principal.password_hash)
    return principal.key_id or principal.container_id


async def set_password(conn: Connection, caller_id: UUID, username: str, password_hash: str, *, anybodys: bool) -> UUID:
    """A new password for the caller's own account, or with `anybodys` for any; keys of the old one's logins end.

    Returns whose it is. Raises NotFound.
    """
    account_id: UUID | None = await conn.fetchval(
        "UPDATE accounts SET password_hash = $3 WHERE username = $2 AND deleted_at IS NULL AND (id = $1 OR $4)"
        " RETURNING id",
        caller_id,
        username,
        password_hash,
        anybodys,
    )
    if account_id is None:
        raise NotFound(f"there is no user {username[:80]}")
    await conn.execute("DELETE FROM api_keys WHERE account_id = $1 AND name = $2", account_id, LOGIN_KEY)
    return account_id


async def has_password(conn: Connection, account_id: UUID, password_hash: str) -> bool:
    """Whether that is the account's password now, and until the transaction ends: who sets another one waits."""
    found = await conn.fetchval(
        "SELECT 1 FROM accounts WHERE id = $1 AND password_hash = $2 AND deleted_at IS NULL FOR SHARE",
        account_id,
        password_hash,
    )
    return found is not None


async def of_service(conn: Connection, service_id: UUID) -> tuple[Account, Role]:
    """The owner of a service, unless it is disabled or the service is terminated, and its role. Raises NotFound."""
    row = await conn.fetchrow(
        "SELECT a.id, a.username, a.role FROM services s JOIN accounts a ON a.id = s.account_id"  # noqa: S608 - as above
        f" WHERE s.id = $1 AND s.want <> 'TERMINATED' AND {_IN_FORCE}",
        service_id,
    )
    if row is None:
        raise NotFound(f"there is no service {service_id}")
    return _account(row), Role(row["role"])


async def ensure_admin(conn: Connection, username: str, key: str) -> bool:
    """On an installation without accounts, make the first one with this key; returns whether it did."""
    await conn.execute("SELECT pg_advisory_xact_lock(7226371)")
    if await conn.fetchval("SELECT 1 FROM accounts LIMIT 1"):
        return False
    account_id = new_id()
    await conn.execute(
        "INSERT INTO accounts (id, username, role) VALUES ($1, $2, $3)", account_id, username, Role.ADMIN.value
    )
    await add_key(conn, account_id, key, "first start")
    return True


async def add_key(conn: Connection, account_id: UUID, key: str, name: str) -> None:
    """Give the account one more key without bounds, if it does not have it."""
    await conn.execute(
        "INSERT INTO api_keys (key_hash, account_id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        key_hash(key),
        account_id,
        name,
    )


async def admin(conn: Connection) -> Account | None:
    """The first account, or None on a new installation."""
    row = await conn.fetchrow("SELECT id, username FROM accounts ORDER BY created_at LIMIT 1")
    return _account(row) if row else None
