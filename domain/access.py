"""Who may do what: roles of users, scopes of their keys, and the right that a route asks for (RELIABILITY S4, S6)."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a user may do; a key's scope is one of them too, and never more than its owner's role."""

    READ_ONLY = "read-only"
    MEMBER = "member"
    ADMIN = "admin"


class Via(StrEnum):
    """How a caller has proven who it is."""

    KEY = "key"
    PASSWORD = "password"  # noqa: S105 - a name
    CONTAINER = "container"
    TRIGGER = "trigger"
    TOKEN = "token"  # noqa: S105 - a name


class Right(StrEnum):
    """What a route asks for. `OPEN`: nothing; `ACCOUNT`: to administer one's own account; `METRICS`: as `ADMIN`,
    unless the operator opened the figures to this machine."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    ACCOUNT = "account"
    ADMIN = "admin"
    METRICS = "metrics"


_ORDER = (Role.READ_ONLY, Role.MEMBER, Role.ADMIN)
_NEEDED = {
    Right.READ: Role.READ_ONLY,
    Right.WRITE: Role.MEMBER,
    Right.ACCOUNT: Role.MEMBER,
    Right.ADMIN: Role.ADMIN,
    Right.METRICS: Role.ADMIN,
}
_PEOPLE_ONLY = frozenset({Right.ACCOUNT, Right.ADMIN, Right.METRICS})


def at_most(role: Role, limit: Role) -> bool:
    """Whether the role gives no more than the limit."""
    return _ORDER.index(role) <= _ORDER.index(limit)


def least(role: Role, scope: Role) -> Role:
    """What a key of that scope may do in the hands of a user of that role."""
    return role if at_most(role, scope) else scope


def refusal(role: Role, via: Via, right: Right) -> str | None:
    """Why a caller may not use a route that asks for the right; None when it may.

    A container's token speaks for its service's owner, and administers nothing (S23).
    """
    if right is Right.OPEN:
        return None
    if via is Via.CONTAINER and right in _PEOPLE_ONLY:
        return "a container's token does not administer: use an API key"
    needed = _NEEDED[right]
    if not at_most(needed, role):
        return f"this needs the role {needed.value}; this key or user has {role.value}"
    return None
