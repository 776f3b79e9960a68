"""`tutela backup` and `tutela restore`: the record in one file, and back."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer

from app import backup, migrate
from app.cli import CommandError, process
from app.lock import LockTaken, ServerLock, prepare_state_dir
from app.postgres import EmbeddedPostgres, PostgresError
from app.settings import Settings
from orchestrator.store import dump
from orchestrator.store.errors import DatabaseAway

STOP_FIRST = "stop every control plane first (./tutela down); containers keep running"


def save(path: Path, *, secrets: bool, force: bool) -> None:
    """Write a backup; the platform may run. Raises CommandError."""
    settings = process.settings()
    if path.exists() and not force:
        raise CommandError(f"{path} is there already: name another file, or give --force")
    with (
        _failures(path),
        _database(settings) as dsn,
        tempfile.TemporaryDirectory(prefix=".tutela-", dir=path.parent) as at,
    ):
        dumped = asyncio.run(dump.dump(dsn, Path(at)))
        kept = backup.secrets_of(settings.state_dir) if secrets else {}
        manifest = backup.write(path, Path(at), dumped, kept)
    rows = {table.name: table.rows for table in manifest.tables}
    typer.echo(f"{path}: {rows.get('services', 0)} services, {rows.get('containers', 0)} containers,"
               f" {rows.get('nodes', 0)} hosts")  # fmt: skip
    if "secret-key" in manifest.secrets:
        typer.echo("It holds the installation's secrets: keep it as you keep those.")
    else:
        typer.echo("It does not hold the installation's secret: without that hosts and registries' passwords are lost.")


def put_back(path: Path, *, force: bool) -> None:
    """Fill the database from a backup. Raises CommandError."""
    settings = process.settings()
    if process.server(settings.state_dir) is not None:
        raise CommandError(f"the control plane runs: {STOP_FIRST}")
    prepare_state_dir(settings.state_dir)
    with (
        _failures(path),
        _alone(settings),
        tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.state_dir) as at,
    ):
        manifest, secrets = backup.read(path, Path(at))
        if manifest.schema > migrate.newest():
            raise CommandError(f"the backup was made by a newer Tutela ({manifest.tutela}): restore it with that one")
        with _database(settings, alone=True) as dsn:
            _put_back(dsn, Path(at), manifest, secrets, settings, force=force)
    typer.echo(f"restored: the record is as of {manifest.made:%Y-%m-%d %H:%M:%S} UTC. Now: ./tutela up")
    typer.echo(
        "Hosts that were told more since then say so in ./tutela node list, and remove nothing until you answer."
    )
    if "secret-key" not in secrets and settings.secret_key is None and not (settings.state_dir / "secret-key").exists():
        typer.echo(
            f"The secret is not in the backup: put it into {settings.state_dir / 'secret-key'} before the start."
        )


def _put_back(
    dsn: str, folder: Path, manifest: backup.Manifest, secrets: dict[str, bytes], settings: Settings, *, force: bool
) -> None:
    found = asyncio.run(dump.look(dsn))
    if found.connected:
        raise CommandError(f"{found.connected} connections of Tutela are open to this database: {STOP_FIRST}")
    if (found.users or found.services) and not force:
        raise CommandError(
            f"the database has {found.users} users and {found.services} services: with --force they are replaced by the"
            " backup's (make a backup of them first)"
        )
    # First the secrets: a record without its secret opens nothing, and a start without one would make another.
    backup.put_secrets(settings.state_dir, secrets, force=force)
    if found.schema != manifest.schema:
        asyncio.run(dump.clear(dsn))
        _migrate(dsn, manifest.schema)
    asyncio.run(dump.load(dsn, folder, manifest.tables, manifest.sequences))
    _migrate(dsn, "head")


def _migrate(dsn: str, revision: str) -> None:
    try:
        migrate.upgrade(dsn, revision=revision)
    except Exception as error:
        raise CommandError(migrate.classify(error)[1]) from error


@contextlib.contextmanager
def _database(settings: Settings, *, alone: bool = False) -> Iterator[str]:
    """Its DSN; the embedded server is started when it does not run, and stopped again. `alone`: the lock is held."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    embedded = EmbeddedPostgres(settings.state_dir)
    if not alone and embedded.running():
        yield embedded.dsn()
        return
    with contextlib.nullcontext() if alone else _alone(settings):
        if not alone:
            embedded.dsn()  # raises when there is no database yet
        dsn = embedded.start()
        try:
            yield dsn
        finally:
            embedded.stop()


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Nobody starts the control plane of this state directory meanwhile."""
    lock = ServerLock(settings.state_dir)
    lock.take("")
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _failures(path: Path) -> Iterator[None]:
    try:
        yield
    except (backup.BackupRefused, PostgresError, DatabaseAway, LockTaken) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or path}: {error.strerror or error}") from error
