"""Who is asking: `ApiKey` and `Basic`, deny by default (spec 1.2, RELIABILITY S4, S10)."""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict

from fastapi import Request
from starlette.exceptions import HTTPException

from orchestrator.store import accounts
from orchestrator.store.accounts import Account
from orchestrator.store.db import Database

FAILURES, WINDOW = 10, 60.0
_REMEMBERED = 4096


class Refused(HTTPException):
    """A refusal with its code for programs."""

    def __init__(self, status: int, text: str, code: str, headers: dict[str, str]) -> None:
        super().__init__(status, text, headers)
        self.code = code


class FailedLogins:
    """Wrong credentials by address: beyond ten a minute the answer is 429. Right ones always pass."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def count(self, address: str) -> int | None:
        """Note a failure; returns the seconds to wait when there were too many, else None."""
        now = time.monotonic()
        recent = [at for at in self._failures.pop(address, []) if now - at < WINDOW][-FAILURES:]
        wait = int(WINDOW - (now - recent[0])) + 1 if len(recent) >= FAILURES else None
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


async def account(request: Request) -> Account:
    """The account of the request. Raises 401, or 429 after too many wrong keys from one address."""
    db: Database = request.app.state.db
    given = credentials(request.headers.get("authorization", ""))
    if given is not None:
        async with db.read() as conn:
            found = await accounts.authenticate(conn, *given)
        if found is not None:
            request.state.key = given[1]
            return found
        logins: FailedLogins = request.app.state.failed_logins
        wait = logins.count(request.client.host if request.client else "")
        if wait is not None:
            text = f"Too many wrong credentials from this address: wait {wait} seconds."
            raise Refused(429, text, "throttled", {"Retry-After": str(wait)})
    text = "Wrong or missing credentials: send the header 'Authorization: ApiKey <user>:<key>'."
    raise Refused(401, text, "unauthorized", {"WWW-Authenticate": "ApiKey"})
