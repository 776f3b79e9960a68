"""`tutela up`: the engine, the server, and what to type next."""

from __future__ import annotations

import os
import sys
import time

import typer

from app.cli import CommandError, client, process
from app.engine_install import EngineError, require_engine
from app.lock import Holder, prepare_state_dir
from app.settings import Settings


def run(*, sample: bool, yes: bool, foreground: bool) -> None:
    """Start what does not run yet and print how to use it. Raises CommandError."""
    if sample and foreground:
        raise CommandError("--sample needs the running server: give it to ./tutela up from another terminal", 2)
    settings = process.settings()
    try:
        prepare_state_dir(settings.state_dir)
    except OSError as error:
        raise CommandError(f"cannot use {settings.state_dir}: {error.strerror}; set TUTELA_STATE_DIR") from error
    first = client.read_key(settings.state_dir) is None
    found = process.server(settings.state_dir)
    if found is not None and foreground:
        raise CommandError(f"a server runs already (pid {found.pid}); `./tutela down` stops it")
    started = found is None
    if found is None:
        with process.one_at_a_time(settings.state_dir):
            found = process.server(settings.state_dir)
            if found is None:
                engine = _engine(settings, yes)
                if foreground:
                    _become_server(engine)
                child, log_start = process.spawn(settings.state_dir, engine)
                found = process.wait_until_healthy(settings, child, log_start)
            else:
                started = False
    if not started:
        found = process.wait_until_healthy(settings, None, 0)
    show(settings, found, first=first and started)
    if not started:
        typer.echo("It ran already: changed settings or a new version count after ./tutela down and ./tutela up.")
        _engine(settings, yes)  # it may have ended since
    if sample or (first and started and _wants_sample()):
        from app.cli.sample import start_sample

        start_sample(settings, found.url)


def _engine(settings: Settings, yes: bool) -> str | None:
    if "agent" not in settings.role_set:
        return None
    try:
        engine = require_engine(settings.docker_host, settings.state_dir, yes=yes, say=typer.echo)
    except EngineError as error:
        raise CommandError(str(error)) from error
    return engine.url


def _become_server(docker_host: str | None) -> None:
    """Replace this process by the server: a supervisor sees one process, Ctrl-C reaches it."""
    sys.stdout.flush()
    argv = process.server_argv()
    os.execve(argv[0], argv, process.server_environment(docker_host))  # noqa: S606 - our own interpreter


def _wants_sample() -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return typer.confirm("Start a sample, two linked services?", default=True)


def show(settings: Settings, found: Holder, *, first: bool) -> None:
    """Print where the server is, how to sign in and what to type next."""
    key_path = settings.state_dir / client.KEY_FILE
    key = client.read_key(settings.state_dir)
    user = key.user if key else "admin"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.started_at))
    typer.echo(f"Tutela runs (pid {found.pid}, since {since}).")
    typer.echo(f"  URL       {settings.public_url}")
    typer.echo(f"  User      {user}")
    if first and key is not None:
        typer.echo(f"  API key   {key.api_key}  (shown this once)")
    typer.echo(f"  Key file  {key_path}")
    typer.echo(f"  Log       {process.log_path(settings.state_dir)}")
    if "agent" in settings.role_set:
        typer.echo("  Note      the control plane holds the Docker engine's socket: its key is as good as root here")
    if settings.exposed:
        typer.echo(f"  WARNING   listening on {settings.host} without TLS: keys travel in the clear")
    typer.echo("Next:")
    key_of_file = f"""$(sed 's/.*"api_key": "\\([^"]*\\)".*/\\1/' {key_path})"""
    typer.echo(f'  curl -H "Authorization: ApiKey {user}:{key_of_file}" {found.url}/api/v1/service/')
