"""Whether an account stays within its quota, asked at the end of a transaction that gives it more."""

from __future__ import annotations

from domain.errors import Invalid
from domain.quota import exceeded
from orchestrator.store import quotas
from orchestrator.store.accounts import Account
from orchestrator.store.db import Connection


async def check(conn: Connection, account: Account) -> None:
    """Raises Invalid when the account has more by now than it may.

    After everything was written: of two calls at once the second counts what the first has made.
    """
    quota = await quotas.limiting(conn, account.id)
    if quota is not None:
        found = exceeded(quota, await quotas.used(conn, account.id), account.username)
        if found:
            raise Invalid(found)
