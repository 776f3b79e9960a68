"""What commands share that work with the database while no control plane of this state directory runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from app import migrate
from app.backup import BackupRefused
from app.cli import CommandError
from app.lock import LockTaken, ServerLock
from app.postgres import EmbeddedPostgres, PostgresError
from app.settings import Settings
from orchestrator.store.errors import DatabaseAway

STOP_FIRST = "stop every control plane first (./tutela down); containers keep running"


def migrated(dsn: str, revision: str = "head") -> None:
    """Bring the schema to a revision. Raises CommandError."""
    try:
        migrate.upgrade(dsn, revision=revision)
    except Exception as error:
        raise CommandError(migrate.classify(error)[1]) from error


@contextlib.contextmanager
def database(settings: Settings, *, locked: bool = False) -> Iterator[str]:
    """Its DSN; the embedded server is started when it does not run, and stopped again. `locked`: `alone` holds."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    embedded = EmbeddedPostgres(settings.state_dir)
    if not locked and embedded.running():
        yield embedded.dsn()
        return
    with contextlib.nullcontext() if locked else alone(settings):
        if not locked:
            embedded.dsn()  # raises when there is no database yet
        dsn = embedded.start()
        try:
            yield dsn
        finally:
            embedded.stop()


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Nobody starts the control plane of this state directory meanwhile. Raises LockTaken."""
    lock = ServerLock(settings.state_dir)
    lock.take("")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def failures(path: Path) -> Iterator[None]:
    """What goes wrong with the file or the database is one sentence for people."""
    try:
        yield
    except (BackupRefused, PostgresError, DatabaseAway, LockTaken) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or path}: {error.strerror or error}") from error
