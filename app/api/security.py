"""Who is asking, and whether it may: `ApiKey`, `Basic` and `Bearer`, deny by default (spec 1.2; S4, S10)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from app.api.audited import entry_of
from app.api.rights import right_of, template
from app.api.shown import ALONG
from app.limits import Limits, neighbourhood
from app.openapi.table import OPERATIONS
from app.passwords import Passwords
from app.secretbox import SecretBox
from app.settings import is_loopback
from domain.access import Right, Via, refusal
from domain.errors import NotFound
from orchestrator.metrics import FAILED_LOGINS
from orchestrator.store import accounts, audit
from orchestrator.store.accounts import NOTHING, Along, Known, Principal
from orchestrator.store.audit import Entry
from orchestrator.store.db import Connection, Database

AUTH_URI = "/api/v1/auth/"
CROWD_SECONDS = 3
CREATES = frozenset(("POST", f"/api/v1/{kind}/") for kind in ("service", "stack", "image", "token"))
"""What is limited by key (S10)."""

ASK_FOR_KEY = {"WWW-Authenticate": "ApiKey"}


class Refused(HTTPException):
    """A refusal with its code for programs."""

    def __init__(self, status: int, text: str, code: str, headers: dict[str, str]) -> None:
        super().__init__(status, text, headers)
        self.code = code


def credentials(header: str) -> tuple[str, str] | None:
    """User and secret of an Authorization header; None when it is not one of ours."""
    scheme, _, value = header.strip().partition(" ")
    value = value.strip().strip('"').strip()
    if scheme.lower() == "apikey":
        text = value
    elif scheme.lower() == "basic":
        try:
            text = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            return None
    else:
        return None
    user, separator, secret = text.partition(":")
    return (user, secret) if separator and "\x00" not in text else None


def bearer(header: str) -> str | None:
    """The token of a container's header `Bearer <token>` (spec 2.20); None when it is another header."""
    scheme, _, value = header.strip().partition(" ")
    return value.strip().strip('"').strip() if scheme.lower() == "bearer" else None


async def _of_container(conn: Connection, connection: HTTPConnection, token: str, along: Along) -> Known | None:
    """Whom a container's token speaks for, as long as the container lives and its service has a role."""
    box: SecretBox = connection.app.state.secrets
    container_id = box.bearer(token)
    return await accounts.of_container(conn, container_id, along) if container_id else None


async def login(connection: HTTPConnection, header: str, along: Along = NOTHING) -> tuple[Known, str]:
    """Who an Authorization header's value names, with what is read along, and the key or token in it; for REST and
    streams.

    The key is empty when a password was given. Raises 401, or 429 after too many wrong keys from one address.
    """
    db: Database = connection.app.state.db
    token = bearer(header)
    given = credentials(header) if token is None else None
    if token is not None or given is not None:
        async with db.read() as conn:
            if token is not None:
                found = await _of_container(conn, connection, token, along)
            else:
                found = await accounts.authenticate(conn, *given, along) if given else None
        if found is not None:
            return found, token or (given[1] if given else "")
        if given is not None and header.strip().lower().startswith("basic"):
            found = await _by_password(connection, *given, along)
            if found is not None:
                return found, ""
            FAILED_LOGINS.add()
        else:
            FAILED_LOGINS.add()
            throttled(limits(connection).failed.take(place(connection)), "wrong credentials from this address")
    text = "Wrong or missing credentials: send the header 'Authorization: ApiKey <user>:<key>'."
    raise Refused(401, text, "unauthorized", ASK_FOR_KEY)


async def _by_password(connection: HTTPConnection, user: str, password: str, along: Along) -> Known | None:
    """Whose password it is, or None, which is counted. Raises 429: unlike keys, passwords can be guessed.

    A check leaves a row in the audit log; one that was right a short time ago is none.
    """
    db: Database = connection.app.state.db
    passwords: Passwords = connection.app.state.passwords
    async with db.read() as conn:
        known = await accounts.by_name(conn, user)
    stored = known.principal.password_hash if known else None
    if not passwords.known(stored, password):
        failed, failed_users, where = limits(connection).failed, limits(connection).failed_users, place(connection)
        throttled(failed.waiting(where), "wrong credentials from this address")
        throttled(failed_users.waiting(user), "wrong passwords for this user name")
        throttled(CROWD_SECONDS if passwords.crowded() else None, "passwords to check at once")
        # Before the check: of guesses at the same time each is one.
        failed.take(where)
        failed_users.take(user)
        right = await passwords.check(stored, password)
        if right:
            failed.give_back(where)
            failed_users.give_back(user)
        if known is not None:
            await _note_login(connection, known.principal, right=right)
        if not right:
            return None
    if along is NOTHING:
        return known
    # Now that the password is shown: what is read along may cost more than to be asked by anybody who knows a name.
    async with db.read() as conn:
        again = await accounts.by_name(conn, user, along)
    return again if again is not None and again.principal.password_hash == stored else None


async def _note_login(connection: HTTPConnection, known: Principal, *, right: bool) -> None:
    entry = entry_of(connection.scope)
    entry.account_id, entry.username = known.account.id, known.account.username
    entry.via, entry.verb, entry.object_uri = Via.PASSWORD, "Login", AUTH_URI
    async with connection.app.state.db.transaction() as conn:
        await audit.write(conn, entry, 200 if right else 401)


def limits(connection: HTTPConnection) -> Limits:
    """What is counted in this process."""
    found: Limits = connection.app.state.limits
    return found


def place(connection: HTTPConnection) -> str:
    """Where the caller is, as far as counting goes."""
    return neighbourhood(_address(connection))


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def throttled(wait: int | None, what: str) -> None:
    """Raises Refused with 429 when there are seconds to wait."""
    if wait is not None:
        text = f"Too many {what}: wait {wait} seconds."
        raise Refused(429, text, "throttled", {"Retry-After": str(wait)})


def who_counts(principal: Principal) -> UUID:
    """Whose the calls are that are counted by key: a key's, a container's, or of one who gave a password a user's."""
    return principal.key_id or principal.container_id or principal.account.id


def identified(connection: HTTPConnection, principal: Principal) -> None:
    """Let the request's row in the audit log say who it was."""
    entry: Entry = connection.scope["tutela.audit"]
    entry.account_id, entry.username = principal.account.id, principal.account.username
    entry.via, entry.key_id = principal.via, principal.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What stands before an operation, put together once for each: its route as it is listed and counted, the right
    that it asks for, what it reads along with who asks, whether its calls are limited by key; and for the audit log the
    codes of its good answers, when all is done at once and when work for it has begun."""

    route: str
    right: Right | None
    reads: Callable[[Request], Along] | None
    creates: bool
    done: int
    begun: int

    @classmethod
    def of(cls, method: str, path: str) -> Self:
        """That of the operation of this method and route."""
        route = template(path)
        row = OPERATIONS.get((method, route))
        done, also = (row.code, row.also) if row else (200, ())
        return cls(
            route=route,
            right=right_of(method, route),
            reads=ALONG.get((method, route)),
            creates=(method, route) in CREATES,
            done=done,
            begun=202 if row is None or 202 in also else done,
        )


async def permitted(request: Request, guard: Guard) -> None:
    """The guard of every operation: the caller has the right that the route declares, or the request ends here.

    Raises 401, 429, 403, and NotFound for a namespace that is not the caller's own (spec 5.7).
    """
    right, scope = guard.right, request.scope
    scope["tutela.matched"].route = guard.route
    entry: Entry = scope["tutela.audit"]
    entry.done, entry.begun = guard.done, guard.begun
    if right is Right.OPEN or (right is Right.METRICS and _open_here(request)):
        return
    along = guard.reads(request) if guard.reads else NOTHING
    known, request.state.key = await login(request, request.headers.get("authorization", ""), along)
    principal, request.state.along = known.principal, known.along
    request.state.who = principal
    identified(request, principal)
    if scope.get("tutela.namespace", principal.account.username) != principal.account.username:
        raise NotFound("There is nothing at this path.")
    why = "nobody may use this route" if right is None else refusal(principal.role, principal.via, right)
    if why is not None:
        entry.denied = True
        raise Refused(403, f"Not permitted: {why}.", "forbidden", {})
    if guard.creates:
        throttled(limits(request).creates.take(who_counts(principal)), "objects made with this key in a minute")


def _open_here(request: Request) -> bool:
    """Whether the figures are open to this caller: the setting says so, and it is on this machine, not behind a
    proxy on it."""
    forwarded = any(name in request.headers for name in ("forwarded", "x-forwarded-for"))
    return bool(request.app.state.settings.metrics_open) and is_loopback(_address(request)) and not forwarded
