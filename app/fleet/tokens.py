"""Join tokens: `TUTELA-1-<SHA-256 of the authority's certificate>-<128-bit secret>`, both in hex, in one word.

With the digest a host knows whom it talks to before it says the secret (RELIABILITY S24). Only the secret's hash is
stored.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from agents.enrol import TOKEN
from app.commands.recording import recorded
from app.commands.services import Context
from app.fleet.authority import Authority
from orchestrator.store import fleet

TOKEN_URI = "/api/v1/token/"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A token as it is told once."""

    token: str = field(repr=False)
    expires_at: datetime
    uses: int


def secret_hash(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


async def make_token(context: Context, authority: Authority, *, uses: int, seconds: int) -> JoinToken:
    """A new token, with an action that records it."""
    secret = secrets.token_hex(16)
    async with recorded(context, "Token Create", TOKEN_URI) as work:
        expires = await fleet.add_token(work.conn, secret_hash(secret), context.account.id, uses, seconds)
    text = f"TUTELA-1-{authority.digest}-{secret}"
    assert re.fullmatch(TOKEN, text)  # noqa: S101 - what joining hosts take
    return JoinToken(token=text, expires_at=expires, uses=uses)
