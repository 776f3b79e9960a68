"""What admins do to users, and everybody to their own keys."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

from app.commands.recording import recorded
from app.commands.services import Context
from app.keys import make_key
from app.passwords import hashed
from app.wire.users import USERS_URI, AskedChange, AskedKey, AskedUser
from domain.access import Role, at_most
from domain.errors import Invalid, NotAllowed
from orchestrator.store import quotas, users
from orchestrator.store.db import Connection
from orchestrator.store.users import ApiKey, User

MOST_KEYS = 200
MOST_NAMED = 5


def user_uri(user_id: UUID) -> str:
    """The resource path of a user."""
    return f"{USERS_URI}{user_id}/"


async def create(context: Context, asked: AskedUser) -> UUID:
    """A new user. Raises Conflict when the name is taken."""
    stored = None if asked.password is None else await asyncio.to_thread(hashed, asked.password)
    async with recorded(context, "User Create", USERS_URI) as work:
        user_id = await users.insert(work.conn, asked.username, asked.role, stored)
        work.object_uri = user_uri(user_id)
    return user_id


async def change(context: Context, user_id: UUID, asked: AskedChange) -> None:
    """Another role, another quota, let in or not, from the next request on.

    Raises NotFound, NotAllowed for the last admin.
    """
    async with recorded(context, "User Update", user_uri(user_id)) as work:
        await users.administering(work.conn)
        user = await users.get(work.conn, user_id)
        role = asked.role or user.role
        enabled = user.disabled_at is None if asked.enabled is None else asked.enabled
        if role is not Role.ADMIN or not enabled:
            await _not_the_last(work.conn, user)
        await users.set_role(work.conn, user_id, role, enabled=enabled)
        if asked.quota:
            await quotas.put(work.conn, user_id, replace(user.quota, **asked.quota))


async def delete(context: Context, user_id: UUID) -> None:
    """The user goes, with its keys. Raises NotFound, and NotAllowed while it has services and for the last admin."""
    async with recorded(context, "User Delete", user_uri(user_id)) as work:
        await users.administering(work.conn)
        user = await users.lock(work.conn, user_id)
        await _not_the_last(work.conn, user)
        running = await users.live_services(work.conn, user_id, MOST_NAMED + 1)
        if running:
            more = " and others" if len(running) > MOST_NAMED else ""
            raise NotAllowed(
                f"{user.username} has services: {', '.join(running[:MOST_NAMED])}{more}. Terminate them first, or"
                " disable the user: its services then go on and it is not let in"
            )
        await users.delete(work.conn, user_id)


async def _not_the_last(conn: Connection, user: User) -> None:
    if user.role is Role.ADMIN and user.disabled_at is None and await users.admins(conn) < 2:
        raise NotAllowed(f"{user.username} is the last admin: make another one first")


async def add_key(
    context: Context, user_id: UUID, asked: AskedKey, *, limit: Role | None, collection: str, by: UUID | None = None
) -> tuple[ApiKey, str]:
    """A new key of the user, and its secret, which is told once. Raises NotFound, NotAllowed, Invalid.

    `limit`: the most that its maker may give; None: as much as the user's role. `by`: the key that asks, which it does
    not outlive.
    """
    secret = make_key()
    async with recorded(context, "Key Create", collection) as work:
        user = await users.lock(work.conn, user_id)
        most = limit or user.role
        scope = asked.scope or most
        if not at_most(scope, most):
            raise Invalid({"scope": f"may be at most {most.value} here"})
        if await users.count_keys(work.conn, user_id) >= MOST_KEYS:
            raise NotAllowed(f"{user.username} has {MOST_KEYS} keys: revoke some first")
        key = await users.add_key(
            work.conn, user_id, secret, name=asked.name, scope=scope, expires_in=asked.expires_in, by=by
        )
        work.object_uri = f"{collection}{key.id}/"
    return key, secret


async def revoke_key(
    context: Context, user_id: UUID, key_id: UUID, collection: str, *, limit: Role | None = None
) -> None:
    """The key ends: at once for requests, within seconds for open streams. Raises NotFound, and NotAllowed for a key of
    more than the `limit`: with less one could lock its owner out."""
    async with recorded(context, "Key Revoke", f"{collection}{key_id}/") as work:
        key = await users.revoke_key(work.conn, user_id, key_id)
        if limit is not None and not at_most(key.scope, limit):
            raise NotAllowed(f"a key of scope {key.scope.value} is revoked by one of that scope, or with the password")
