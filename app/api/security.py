"""Who is asking: `ApiKey` and `Basic`, deny by default (spec 1.2, RELIABILITY S4, S10)."""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from app.passwords import Passwords
from app.secretbox import SecretBox
from domain.errors import NotFound
from orchestrator.store import accounts
from orchestrator.store.accounts import Account
from orchestrator.store.db import Connection, Database

FAILURES, WINDOW = 10, 60.0
_REMEMBERED = 4096


class Refused(HTTPException):
    """A refusal with its code for programs."""

    def __init__(self, status: int, text: str, code: str, headers: dict[str, str]) -> None:
        super().__init__(status, text, headers)
        self.code = code


class FailedLogins:
    """Wrong credentials by address: beyond ten a minute the answer is 429. Right keys always pass."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def waiting(self, address: str) -> int | None:
        """The seconds to wait when there were too many failures already, else None."""
        now = time.monotonic()
        recent = [at for at in self._failures.get(address, []) if now - at < WINDOW][-FAILURES:]
        return int(WINDOW - (now - recent[0])) + 1 if len(recent) >= FAILURES else None

    def count(self, address: str) -> int | None:
        """Note a failure; returns the seconds to wait when there were too many, else None."""
        now, wait = time.monotonic(), self.waiting(address)
        recent = [at for at in self._failures.pop(address, []) if now - at < WINDOW][-FAILURES:]
        if wait is None:
            recent.append(now)
        self._failures[address] = recent
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        return wait


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


async def _of_container(conn: Connection, connection: HTTPConnection, token: str) -> Account | None:
    """The account that a container's token speaks for, as long as the container lives and its service has a role."""
    box: SecretBox = connection.app.state.secrets
    container_id = box.bearer(token)
    return await accounts.of_container(conn, container_id) if container_id else None


async def login(connection: HTTPConnection, header: str) -> tuple[Account, str]:
    """The account that an Authorization header's value names, and the key or token in it; for REST and streams.

    The key is empty when a password was given. Raises 401, or 429 after too many wrong keys from one address.
    """
    db: Database = connection.app.state.db
    token = bearer(header)
    given = credentials(header) if token is None else None
    if token is not None or given is not None:
        async with db.read() as conn:
            if token is not None:
                found = await _of_container(conn, connection, token)
            else:
                found = await accounts.authenticate(conn, *given) if given else None
        if found is not None:
            return found, token or (given[1] if given else "")
        if given is not None and header.strip().lower().startswith("basic"):
            found = await _by_password(connection, *given)
            if found is not None:
                return found, ""
        _throttled(_logins(connection).count(_address(connection)))
    text = "Wrong or missing credentials: send the header 'Authorization: ApiKey <user>:<key>'."
    raise Refused(401, text, "unauthorized", {"WWW-Authenticate": "ApiKey"})


async def _by_password(connection: HTTPConnection, user: str, password: str) -> Account | None:
    """The account whose password it is, or None. Raises 429: unlike keys, passwords can be guessed."""
    db: Database = connection.app.state.db
    passwords: Passwords = connection.app.state.passwords
    async with db.read() as conn:
        known = await accounts.by_name(conn, user)
    stored = known.password_hash if known else None
    if not passwords.known(stored, password):
        _throttled(_logins(connection).waiting(_address(connection)))
        if not await passwords.check(stored, password):
            return None
    return known.account if known else None


def _logins(connection: HTTPConnection) -> FailedLogins:
    logins: FailedLogins = connection.app.state.failed_logins
    return logins


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def _throttled(wait: int | None) -> None:
    if wait is not None:
        text = f"Too many wrong credentials from this address: wait {wait} seconds."
        raise Refused(429, text, "throttled", {"Retry-After": str(wait)})


async def account(request: Request) -> Account:
    """The account of the request. Raises 401 or 429, and NotFound for a namespace that is not its own (spec 5.7)."""
    found, request.state.key = await login(request, request.headers.get("authorization", ""))
    if request.scope.get("tutela.namespace", found.username) != found.username:
        raise NotFound("There is nothing at this path.")
    return found
