"""Join tokens on the wire (spec 4.6): what may be asked for, what is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.wire.reading import Reading
from app.wire.scalars import date
from domain.errors import Invalid

USES, MOST_USES = 1, 100
SECONDS, LEAST_SECONDS, MOST_SECONDS = 3600, 60, 7 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """How often and for how many seconds the token works."""

    uses: int
    expires_in: int


def read_token_request(body: Any) -> TokenRequest:
    """The body of POST /api/v1/token/, which may be empty. Raises Invalid."""
    reading = Reading()
    given: Mapping[str, Any] = reading.mapping({} if body is None else body, "body")
    uses = reading.integer(given.get("uses", USES), "uses", low=1, high=MOST_USES)
    seconds = reading.integer(given.get("expires_in", SECONDS), "expires_in", low=LEAST_SECONDS, high=MOST_SECONDS)
    if reading.errors or uses is None or seconds is None:
        raise Invalid(reading.errors)
    return TokenRequest(uses=uses, expires_in=seconds)


def token_out(token: str, expires_at: datetime, uses: int, url: str) -> dict[str, Any]:
    """A token as it is told, once; with the command for the host that is to join."""
    return {
        "token": token,
        "uses": uses,
        "expires_at": date(expires_at),
        "join_url": url,
        "command": f"./tutela agent join {url} {token}",
    }
