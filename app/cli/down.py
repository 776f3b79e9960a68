"""`tutela down`: stop the control plane, leave the containers."""

from __future__ import annotations

import typer

from app.cli import CommandError, process
from app.postgres import EmbeddedPostgres, PostgresError


def run() -> None:
    """Stop the server and an embedded Postgres left running. Does nothing when nothing runs."""
    settings = process.settings()
    found = process.server(settings.state_dir)
    if found is not None:
        typer.echo(f"stopping the control plane (pid {found.pid})")
        if not process.stop_server(settings.state_dir, found):
            typer.echo(f"it did not stop within {process.STOP_SECONDS:g} s and was killed")
    left = _stop_postgres(EmbeddedPostgres(settings.state_dir))
    if found is None and not left:
        typer.echo("nothing runs")
        return
    typer.echo("stopped; containers are left running")


def _stop_postgres(postgres: EmbeddedPostgres) -> bool:
    """True when a server was there to stop."""
    try:
        if not postgres.running():
            return False
        typer.echo("stopping the embedded Postgres")
        postgres.stop()
    except (PostgresError, PermissionError) as error:
        raise CommandError(f"the embedded Postgres was not stopped: {error}") from error
    return True
