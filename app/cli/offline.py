"""What commands share that work with the database while no control plane of this state directory runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from app.backup import BackupRefused
from app.cli import CommandError, process
from app.lock import LockTaken, ServerLock
from app.postgres import EmbeddedPostgres, PostgresError
from app.settings import Settings
from orchestrator.store.dump import DatabaseRefused
from orchestrator.store.errors import DatabaseAway

STOP_FIRST = "stop every control plane first (./tutela down); containers keep running"


@contextlib.contextmanager
def database(settings: Settings, *, locked: bool = False) -> Iterator[str]:
    """Its DSN; the embedded server is started when it does not run, and stopped again. `locked`: `alone` holds."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    embedded = EmbeddedPostgres(settings.state_dir)
    running = None if locked else process.server(settings.state_dir)
    if not locked and embedded.running():
        yield embedded.dsn()
        return
    if running is not None:
        raise CommandError(
            f"the control plane of {settings.state_dir} runs on another database (or is just starting): give this"
            " command the DATABASE_URL that it was started with"
        )
    with contextlib.nullcontext() if locked else alone(settings):
        if not locked:
            embedded.dsn()  # raises when there is no database yet
        dsn = embedded.start()
        try:
            yield dsn
        finally:
            embedded.stop()


def which(settings: Settings) -> str:
    """The database that `database` gives, for people: without a password."""
    if settings.database_url is None:
        return f"the embedded Postgres in {settings.state_dir / 'postgres'}"
    parts = urlsplit(settings.database_url)
    hosts = parts.netloc.rpartition("@")[2]
    where = hosts or dict(parse_qsl(parts.query)).get("host") or "a local socket"
    return f"the database {parts.path.strip('/') or '(default)'} at {where}, from DATABASE_URL"


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Nobody starts the control plane of this state directory meanwhile. Raises LockTaken."""
    lock = ServerLock(settings.state_dir)
    lock.take("", doing="a backup, restore or rebuild")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def failures(path: Path) -> Iterator[None]:
    """What goes wrong with the file or the database is one sentence for people."""
    try:
        yield
    except (BackupRefused, PostgresError, DatabaseAway, DatabaseRefused, LockTaken) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or path}: {error.strerror or error}") from error
