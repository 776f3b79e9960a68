"""The one seam where database errors become ours."""

from __future__ import annotations

import asyncpg

from domain.errors import Conflict, Invalid


class DatabaseAway(Exception):
    """Postgres cannot be reached or does not answer in time; what was under way is unknown. 503."""


_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.DiskFullError,
)

_TAKEN = {
    "services_unique_name": "a service of that unique name was created at the same moment: try again",
    "services_subnet": "a service was created at the same moment: try again",
    "stacks_name": "a stack of that name was created at the same moment: update it, or choose another name",
    "image_name": "an image of that name is registered already",
    "nodes_name_key": "another node has that name",
    "accounts_username": "another user has that name",
    "port_taken": "the port was taken at the same moment",
}


def translate(error: BaseException) -> BaseException:
    """A domain error or DatabaseAway for what Postgres or the way to it raised; anything else as it is."""
    if isinstance(error, asyncpg.UniqueViolationError):
        name = getattr(error, "constraint_name", None) or ""
        return Conflict(_TAKEN.get(name, f"a unique value is taken ({name})"))
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return Conflict("something that it belongs to was deleted at the same moment")
    # The server's DataError, or the client's of the same meaning, which is an InterfaceError and a ValueError.
    if isinstance(error, asyncpg.DataError) or (
        isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    ):
        return Invalid({"body": "holds a value that cannot be stored"})
    if isinstance(error, _AWAY):
        return DatabaseAway(f"the database does not answer ({type(error).__name__})")
    return error
