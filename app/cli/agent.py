"""`tutela agent`: have this host join, run its agent, leave. Needs no database and no control plane on the host."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from app.cli import CommandError, process
from app.lock import Holder, prepare_state_dir
from app.settings import Settings

if TYPE_CHECKING:
    from agents.enrol import Token
    from agents.frames import Credential

app = typer.Typer(help="Have this host join, run its agent, leave.", no_args_is_help=True)
DOCKER_HELP = "The Docker engine, as in DOCKER_HOST."
START_SECONDS = 8.0


@app.command("token")
def token(
    uses: Annotated[int, typer.Option(min=1, max=100, help="How many hosts may join with it; at most 100.")] = 1,
    hours: Annotated[
        float, typer.Option(min=0.017, max=168, help="For how long it works: a minute (0.017) to 168 hours.")
    ] = 1.0,
) -> None:
    """On the control plane: make a join token, and print the command for the new host."""
    from app.cli.api import call, connected

    api = connected()
    made = call(lambda: api.post("token/", {"uses": uses, "expires_in": round(hours * 3600)}))
    _reachable(made["join_url"])
    typer.echo(f"On the new host, until {made['expires_at']}:")
    typer.echo(f"  {made['command']}")


def _reachable(door: str) -> None:
    """Raises CommandError for a door that no other host reaches."""
    from app.settings import is_loopback

    host = urlsplit(door).hostname or ""
    if is_loopback(host) or host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        raise CommandError(
            f"other hosts cannot reach {door}: restart with TUTELA_AGENT_HOST=ADDRESS (or TUTELA_AGENT_URL)"
        )


@app.command("join")
def join(
    url: Annotated[str, typer.Argument(help="The agents' door of a control plane: wss://HOST:8801.")],
    word: Annotated[str, typer.Argument(metavar="TOKEN", help="The join token; `-` reads it from stdin.")],
    name: Annotated[str, typer.Option(help="The node's name; the host's when it is left out.")] = "",
    docker_host: Annotated[str | None, typer.Option(help=DOCKER_HELP)] = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay in front, for a supervisor; log to stderr.")
    ] = False,
) -> None:
    """Make this host a node of an installation, and start its agent. Again: it stays the same node, and only makes sure
    that the agent runs; with another URL it also learns that door, for a control plane that moved.
    """
    from agents import credentials
    from agents.dial import agent_url
    from agents.enrol import read_token
    from app.fleet import joined
    from domain.errors import DomainError

    settings, began = _prepared(), time.monotonic()
    folder = joined.directory(settings.state_dir)
    try:
        door = agent_url(url)
        read = read_token(word if word != "-" else sys.stdin.readline())
        present = credentials.load(folder)
        if present is not None:
            if _digest(present.authority) != read.digest:
                raise CommandError(
                    f"this host is node {present.name} of another installation: ./tutela agent leave first"
                )
            typer.echo(f"this host is node {present.name} already")
            if door not in present.control_planes:
                _learn(settings, door)
        else:
            engine = _engine(settings, docker_host)
            found = asyncio.run(_join(door, read, folder, name or _host_name(), engine))
            credentials.store(
                folder, credentials.membership(found, (door,), docker_host or settings.docker_host), found.certificate
            )
            typer.echo(f"this host is now node {found.name} ({found.node_id})")
    except DomainError as error:
        raise CommandError(f"did not join: {error}") from error
    except OSError as error:
        raise CommandError(f"did not join: {error}") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    _start(settings, docker_host, foreground=foreground)
    typer.echo(f"done in {time.monotonic() - began:.1f} s")


@app.command("run")
def run(docker_host: Annotated[str | None, typer.Option(help=DOCKER_HELP)] = None) -> None:
    """Run the agent of a host that joined, in front, for a supervisor."""
    _start(_prepared(), docker_host, foreground=True)


@app.command("up")
def up(docker_host: Annotated[str | None, typer.Option(help=DOCKER_HELP)] = None) -> None:
    """Start the agent of a host that joined in the background, if it does not run."""
    _start(_prepared(), docker_host, foreground=False)


@app.command("down")
def down() -> None:
    """Stop the agent. Containers keep running."""
    settings = process.settings()
    found = _running(settings)
    if found is None:
        typer.echo("no agent runs")
        return
    process.stop_server(_folder(settings), found)
    typer.echo("stopped; containers are left running")


@app.command("status")
def status() -> None:
    """Say which node this host is, and whether its agent runs. Exit code 0 when it does, 3 when not."""
    from app.fleet.joined import NotJoined, member

    settings = process.settings()
    found = _running(settings)
    try:
        present = member(settings.state_dir)
        typer.echo(f"node      {present.name} ({present.node_id})")
        typer.echo(f"doors     {', '.join(present.control_planes)}")
    except NotJoined as error:
        typer.echo(f"node      {error}")
    typer.echo(f"agent     {f'running, pid {found.pid}' if found else 'not running (./tutela agent up starts it)'}")
    raise typer.Exit(0 if found else 3)


@app.command("leave")
def leave(
    force: Annotated[bool, typer.Option("--force", help="Do not ask.")] = False,
) -> None:
    """Forget the installation. Containers are left as they are; take the node out there first."""
    from agents import credentials
    from app.fleet.joined import NotJoined, member

    settings = process.settings()
    try:
        present = member(settings.state_dir)
    except NotJoined as error:
        raise CommandError(str(error)) from error
    if not force:
        if not sys.stdin.isatty():
            raise CommandError("left as it is; give --force: nobody is here to ask")
        text = f"Forget node {present.name}? Its containers stay as they are, and nobody will keep them"
        if not typer.confirm(text, default=False):
            raise CommandError("left as it is")
    found = _running(settings)
    if found is not None:
        process.stop_server(_folder(settings), found)
    credentials.forget(_folder(settings))
    typer.echo(f"this host is no node any more; take it out: ./tutela node remove {present.name}")


def _learn(settings: Settings, door: str) -> None:
    """Have the agent dial another door first. It is stopped for that: it writes the doors that it knows itself."""
    from agents import credentials
    from app.fleet.joined import member

    folder, found = _folder(settings), _running(settings)
    if found is not None:
        process.stop_server(folder, found)
    present = member(settings.state_dir)
    credentials.store_urls(folder, present, tuple(dict.fromkeys((door, *present.control_planes))))
    typer.echo(f"it dials {door} first from now on")


async def _join(door: str, token: Token, folder: Path, name: str, docker_host: str) -> Credential:
    """The host's credential. Raises DomainError, ConnectionError."""
    from agents import credentials, enrol
    from agents.frames import Join
    from agents.runtime.base import RuntimeFailed
    from agents.runtime.docker import DockerRuntime

    trusted = await enrol.authority(door, token)
    runtime = DockerRuntime(docker_host)
    try:
        engine = await runtime.info()
    except RuntimeFailed as error:
        raise ConnectionError(f"the Docker engine at {docker_host} does not answer: {error}") from error
    finally:
        await runtime.close()
    request = await asyncio.to_thread(credentials.request, folder)
    return await enrol.join(door, token, trusted, Join(secret=token.secret, name=name, request=request, engine=engine))


def _prepared() -> Settings:
    settings = process.settings()
    try:
        prepare_state_dir(settings.state_dir)
        prepare_state_dir(_folder(settings))
    except OSError as error:
        raise CommandError(f"cannot use {settings.state_dir}: {error.strerror}; set TUTELA_STATE_DIR") from error
    return settings


def _folder(settings: Settings) -> Path:
    return settings.state_dir / "agent"


def _running(settings: Settings) -> Holder | None:
    return process.server(_folder(settings))


def _engine(settings: Settings, docker_host: str | None) -> str:
    from app.engine import find_engine

    found = find_engine(docker_host or settings.docker_host)
    if not found.ready:
        raise CommandError(found.advice)
    return found.url


def _start(settings: Settings, docker_host: str | None, *, foreground: bool) -> None:
    from app.fleet.joined import NotJoined, member

    try:
        present = member(settings.state_dir)
    except NotJoined as error:
        raise CommandError(str(error)) from error
    engine = docker_host or settings.docker_host or present.docker_host
    folder, running = _folder(settings), _running(settings)
    if running is not None and foreground:
        raise CommandError(f"the agent runs already (pid {running.pid}); ./tutela agent down stops it")
    environment = {**process.server_environment(engine), "TUTELA_ROLES": "agent"}
    environment.pop("DATABASE_URL", None)
    environment.pop("TUTELA_DATABASE_URL", None)
    if foreground:
        sys.stdout.flush()
        argv = process.server_argv()
        os.execve(argv[0], argv, environment)  # noqa: S606 - our own interpreter
    if running is None:
        with process.one_at_a_time(folder):
            running = _running(settings) or _spawned(folder, environment)
    typer.echo(f"its agent runs (pid {running.pid}); log {process.log_path(folder)}")
    typer.echo("Next: ./tutela node list on a control plane shows it; ./tutela agent status here")


def _spawned(folder: Path, environment: dict[str, str]) -> Holder:
    """The agent, started in the background and connected, or at least at it."""
    child, log_start = process.spawn(folder, None, environment)
    deadline = time.monotonic() + START_SECONDS
    found: Holder | None = None
    while time.monotonic() < deadline:
        code = child.poll()
        if code is not None:
            raise CommandError(f"the agent ended at once with code {code}.\n{_tail(folder, log_start)}")
        found = process.server(folder)
        if found is not None and re.search(r'"event": "connected"', _log(folder, log_start)):
            return found
        time.sleep(0.05)
    if found is None:
        raise CommandError(f"the agent does not start.\n{_tail(folder, log_start)}")
    typer.echo(f"it is not connected yet, and goes on trying.\n{_tail(folder, log_start)}")
    return found


def _log(folder: Path, start: int) -> str:
    with process.log_path(folder).open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")


def _tail(folder: Path, start: int) -> str:
    return process.tail(process.log_path(folder), start)


def _digest(pem: str) -> str:
    import hashlib
    import ssl

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname().split(".")[0]).strip("-.")[:63] or "node"
