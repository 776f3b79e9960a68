"""`tutela status`: what runs, without importing the server, the Docker SDK or the database driver."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import typer

from app.cli import CommandError, client, process
from app.engine import engine_version, find_engine
from app.lock import Holder
from app.settings import Settings

RUNNING, NOT_RUNNING = 0, 3


def run() -> int:
    """Print one line for each part. Returns 0 when the server runs, 3 when not."""
    settings = process.settings()
    try:
        found = process.server(settings.state_dir)
    except CommandError as error:
        typer.echo(f"server    {error}")
        return NOT_RUNNING
    typer.echo(f"server    {_server(found, settings)}")
    typer.echo(f"postgres  {_postgres(settings)}")
    typer.echo(f"engine    {_engine(settings)}")
    if found is not None and "api" in settings.role_set:
        typer.echo(f"running   {_counts(settings, found)}")
    return RUNNING if found is not None else NOT_RUNNING


def _server(found: Holder | None, settings: Settings) -> str:
    if found is None:
        return "not running (./tutela up starts it)"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.started_at))
    answers = client.healthy(found)
    return f"running, pid {found.pid}, {found.url}, since {since}" + ("" if answers else ", NOT ANSWERING")


def _postgres(settings: Settings) -> str:
    if settings.database_url:
        parts = urlsplit(settings.database_url)
        return f"from DATABASE_URL, host {parts.hostname or 'local socket'}"  # never the password
    from app.postgres import EmbeddedPostgres

    try:
        state = "running" if EmbeddedPostgres(settings.state_dir).running() else "not running"
    except OSError as error:
        state = f"unknown ({error.strerror})"
    return f"embedded, {state}, {settings.state_dir / 'postgres'}"


def _engine(settings: Settings) -> str:
    engine = find_engine(settings.docker_host)
    if not engine.ready:
        return engine.advice
    return f"Docker {engine_version(engine.url) or '(unknown version)'} at {engine.url}"


def _counts(settings: Settings, found: Holder) -> str:
    from domain.service import ServiceState

    key = client.read_key(settings.state_dir)
    if key is None:
        return f"unknown: {settings.state_dir / client.KEY_FILE} cannot be read"
    api = client.Client(found.url, key)
    try:
        counts = {
            name: api.get(f"{name}/", state=ServiceState.RUNNING.value, limit=1)["meta"]["total_count"]
            for name in ("service", "container")
        }
    except (client.ApiError, KeyError, TypeError) as error:
        return f"unknown: {error}"
    return f"{counts['service']} services, {counts['container']} containers"
