"""`tutela backup` and `tutela restore`: the record in one file, and back."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import typer

from app import backup, migrate
from app.cli import CommandError, process
from app.cli.offline import STOP_FIRST, alone, database, failures, which
from app.lock import prepare_state_dir
from app.settings import Settings
from orchestrator.store import dump


def save(path: Path, *, secrets: bool, force: bool) -> None:
    """Write a backup; the platform may run. Raises CommandError."""
    settings = process.settings()
    if not path.parent.is_dir():
        raise CommandError(f"{path.parent} is no directory: make it, or name a file elsewhere")
    if path.exists() and not force:
        raise CommandError(f"{path} is there already: name another file, or give --force")
    with (
        failures(path),
        database(settings) as dsn,
        tempfile.TemporaryDirectory(prefix=".tutela-", dir=path.parent) as at,
    ):
        _check(asyncio.run(dump.look(dsn)).schema, which(settings))
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


def _check(schema: str | None, where: str) -> None:
    if schema is None:
        raise CommandError(f"there is no record of Tutela in {where}: give this command the server's DATABASE_URL")
    if schema > migrate.newest():
        raise CommandError(f"the record in {where} is of a newer Tutela: make the backup with that one")
    if schema < dump.OLDEST:
        raise CommandError(
            f"the record in {where} is of the schema {schema}, and backups begin with {dump.OLDEST}: ./tutela up brings"
            " it up to date"
        )


def put_back(path: Path, *, force: bool) -> None:
    """Fill the database from a backup. Raises CommandError."""
    settings = process.settings()
    if process.server(settings.state_dir) is not None:
        raise CommandError(f"the control plane runs: {STOP_FIRST}")
    prepare_state_dir(settings.state_dir)
    with (
        failures(path),
        alone(settings),
        tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.state_dir) as at,
    ):
        manifest, secrets = backup.read(path, Path(at))
        if manifest.schema > migrate.newest():
            raise CommandError(f"the backup was made by a newer Tutela ({manifest.tutela}): restore it with that one")
        with database(settings, locked=True) as dsn:
            _put_back(dsn, Path(at), manifest, secrets, settings, force=force)
    typer.echo(f"It was written into {which(settings)}.")
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
    with backup.secrets_last(settings.state_dir, secrets, force=force):
        asyncio.run(dump.load(dsn, folder, manifest.schema, manifest.tables, manifest.sequences))
