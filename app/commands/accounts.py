"""Passwords, and the keys that logins by password are given (spec 1.4)."""

from __future__ import annotations

import asyncio

from app.commands.recording import recorded
from app.commands.services import Context
from app.passwords import hashed
from app.secretbox import SecretBox
from orchestrator.store import accounts
from orchestrator.store.accounts import Account
from orchestrator.store.db import Database

AUTH_URI = "/api/v1/auth/"


async def login_key(db: Database, secrets: SecretBox, account: Account, password_hash: str) -> str | None:
    """The key of the password that the caller has shown, which older clients keep in its place; None when another one
    was set meanwhile."""
    key = secrets.login_key(account.id, password_hash)
    async with db.transaction() as conn:
        if not await accounts.has_password(conn, account.id, password_hash):
            return None
        await accounts.add_key(conn, account.id, key, accounts.LOGIN_KEY)
    return key


async def set_password(context: Context, username: str, password: str, *, anybodys: bool) -> None:
    """Set the password of the user; without `anybodys`, of the caller. Raises NotFound."""
    stored = await asyncio.to_thread(hashed, password)
    async with recorded(context, "Account Update", AUTH_URI) as work:
        await accounts.set_password(work.conn, context.account.id, username, stored, anybodys=anybodys)
