"""`tutela rebuild`: with the database lost, begin a record that is made anew from what hosts keep (decision 21)."""

from __future__ import annotations

import asyncio

import typer

from app.cli import CommandError, process
from app.cli.offline import STOP_FIRST, alone, database, failures, which
from app.fleet import kept
from app.lock import prepare_state_dir
from app.secretbox import KEY_FILE, SecretBox
from app.settings import Settings
from orchestrator.store import dump, rebuild


def run(*, force: bool) -> None:
    """Prepare an empty database; the start after this asks the hosts. Raises CommandError."""
    settings = process.settings()
    if process.server(settings.state_dir) is not None:
        raise CommandError(f"the control plane runs: {STOP_FIRST}")
    prepare_state_dir(settings.state_dir)
    with failures(settings.state_dir), alone(settings):
        found = _authority(settings)
        with database(settings, locked=True) as dsn:
            already = _begun(dsn, found, force=force)
            if not already:
                asyncio.run(_begin(dsn, found))
    typer.echo(f"A record for what hosts keep was begun {'already ' if already else ''}in {which(settings)}.")
    typer.echo("Now: ./tutela up. Hosts come back by themselves, with what they have; see ./tutela node list.")
    typer.echo("When all are there: ./tutela admin resume all. Nothing is decided, started or removed before.")


def _authority(settings: Settings) -> kept.Kept:
    """Whom hosts trust. Without it, or without its secret, none of them would come back."""
    path = settings.state_dir / kept.FILE
    found = kept.read(settings.state_dir)
    if found is None:
        raise CommandError(f"{path} is not there: without it hosts do not know this installation again")
    if settings.secret_key is None and not (settings.state_dir / KEY_FILE).exists():
        raise CommandError(f"{settings.state_dir / KEY_FILE} is not there: without the secret {path} cannot be opened")
    try:
        box = SecretBox.open(settings.state_dir, settings.secret_key)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if box.unseal(found.sealed_key) is None:
        raise CommandError(f"{path} was sealed with another secret than this installation has now")
    return found


def _begun(dsn: str, found: kept.Kept, *, force: bool) -> bool:
    """Whether it is begun already; with `force` it is begun anew. Raises CommandError for another record."""
    there = asyncio.run(dump.look(dsn))
    if there.connected:
        raise CommandError(f"{there.connected} connections of Tutela are open to this database: {STOP_FIRST}")
    if force:
        return False
    if there.users or there.services:
        raise CommandError(
            f"the database is not lost: it has {there.users} users and {there.services} services; with --force they"
            " are given up for what hosts have (make a backup first)"
        )
    if there.authority not in {None, found.certificate}:
        raise CommandError("the database has the authority of another installation: with --force it is given up")
    return there.authority is not None


async def _begin(dsn: str, found: kept.Kept) -> None:
    async with dump.anew(dsn) as conn:
        await rebuild.begin(conn, found.cluster_id, found.certificate, found.sealed_key)
