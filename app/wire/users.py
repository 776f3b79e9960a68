"""Users, their keys and the audit log on the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.wire.reading import Reading
from app.wire.resource_input import SHORTEST_PASSWORD
from app.wire.scalars import API, date
from domain.access import Role
from domain.errors import Invalid
from orchestrator.store.audit import AuditRow
from orchestrator.store.users import ApiKey, User

USERS_URI = f"{API}/admin/user/"
OWN_KEYS_URI = f"{API}/auth/key/"
AUDIT_URI = f"{API}/admin/audit/"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
"""Host names are made of it (spec 3.9)."""
MOST_QUOTA = 1_000_000
MOST_RESOURCES = 1_000_000_000
"""MB of memory, and CPU shares."""

LIMITS = {"services": MOST_QUOTA, "containers": MOST_QUOTA, "memory": MOST_RESOURCES, "cpu_shares": MOST_RESOURCES}
"""The limits of a quota by name, and the largest of each."""

LEAST_SECONDS, MOST_SECONDS = 60, 10 * 366 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedUser:
    """A new user. `password` None: it comes in with keys only."""

    username: str
    role: Role
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedChange:
    """What of a user is to change; None: as it is. `quota` has those limits that are named, with None for no limit."""

    role: Role | None
    enabled: bool | None
    quota: Mapping[str, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedKey:
    """A new key. `scope` None: as much as its maker may give. `expires_in` in seconds, None: never."""

    name: str
    scope: Role | None
    expires_in: int | None


def read_user(body: Any) -> AskedUser:
    """The body of POST /api/v1/admin/user/. Raises Invalid."""
    reading, data = _begin(body)
    name = reading.text(data.get("username"), "username", most=63)
    if not NAME.fullmatch(name):
        reading.fail("username", "must be 1 to 63 small letters, digits and hyphens, with no hyphen at its ends")
    role = _role(reading, data.get("role", Role.MEMBER.value), "role") or Role.MEMBER
    password = data.get("password")
    if password is not None:
        password = reading.text(password, "password", most=1024)
        if len(password) < SHORTEST_PASSWORD:
            reading.fail("password", f"must have at least {SHORTEST_PASSWORD} characters")
    _done(reading)
    return AskedUser(username=name, role=role, password=password)


def read_change(body: Any) -> AskedChange:
    """The body of PATCH /api/v1/admin/user/UUID/. Raises Invalid."""
    reading, data = _begin(body)
    role = None if data.get("role") is None else _role(reading, data["role"], "role")
    enabled = None if data.get("enabled") is None else reading.boolean(data["enabled"], "enabled")
    quota = _quota(reading, data.get("quota"))
    _done(reading)
    return AskedChange(role=role, enabled=enabled, quota=quota)


def _quota(reading: Reading, value: Any) -> dict[str, int | None]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        reading.fail("quota", f"must be an object: {', '.join(LIMITS)}, each a number, or null for no limit")
        return {}
    return {
        name: None if value[name] is None else reading.integer(value[name], f"quota.{name}", low=0, high=LIMITS[name])
        for name in LIMITS
        if name in value
    }


def read_key(body: Any) -> AskedKey:
    """The body of a POST that makes a key. Raises Invalid."""
    reading, data = _begin(body)
    name = reading.text(data.get("name"), "name", most=100).strip()
    if not name:
        reading.fail("name", "is required: say what the key is for")
    scope = None if data.get("scope") is None else _role(reading, data["scope"], "scope")
    seconds = data.get("expires_in")
    if seconds is not None:
        seconds = reading.integer(seconds, "expires_in", low=LEAST_SECONDS, high=MOST_SECONDS)
    _done(reading)
    return AskedKey(name=name, scope=scope, expires_in=seconds)


def _begin(body: Any) -> tuple[Reading, Mapping[str, Any]]:
    if not isinstance(body, dict):
        raise Invalid({"body": "must be a JSON object"})
    return Reading(), body


def _done(reading: Reading) -> None:
    if reading.errors:
        raise Invalid(reading.errors)


def _role(reading: Reading, value: Any, path: str) -> Role | None:
    if isinstance(value, str):
        plain = value.strip().lower().replace("_", "-")
        for role in Role:
            if role.value == plain:
                return role
    reading.fail(path, f"must be one of {', '.join(role.value for role in Role)}")
    return None


def user_out(user: User) -> dict[str, Any]:
    """A user as admins see it."""
    return {
        "uuid": str(user.id),
        "resource_uri": f"{USERS_URI}{user.id}/",
        "username": user.username,
        "role": user.role.value,
        "enabled": user.disabled_at is None,
        "has_password": user.has_password,
        "quota": {name: getattr(user.quota, name) for name in LIMITS},
        "created": date(user.created_at),
        "disabled": date(user.disabled_at),
    }


def key_out(key: ApiKey, collection: str) -> dict[str, Any]:
    """A key without its secret; `collection` is the path that it was asked under."""
    return {
        "uuid": str(key.id),
        "resource_uri": f"{collection}{key.id}/",
        "name": key.name,
        "scope": key.scope.value,
        "created": date(key.created_at),
        "expires": date(key.expires_at),
        "last_used": date(key.last_used_at),
    }


def audit_out(row: AuditRow) -> dict[str, Any]:
    """A row of the audit log."""
    return {
        "uuid": str(row.id),
        "date": date(row.at),
        "user": row.username,
        "via": row.via,
        "key": str(row.key_id) if row.key_id else None,
        "ip": row.ip,
        "action": row.verb,
        "object": row.object_uri,
        "method": row.method,
        "path": row.path,
        "status": row.status,
        "request_id": row.request_id,
        "action_uri": f"{API}/action/{row.action_id}/" if row.action_id else None,
        "detail": row.detail,
    }
