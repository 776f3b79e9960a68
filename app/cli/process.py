"""The server's process seen from outside: is it there, start it, wait for it, stop it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from app.cli import CommandError
from app.cli.client import healthy
from app.lock import Holder, holder
from app.serve_codes import TAKEN
from app.settings import Settings, explain, get_settings

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 20.0


def settings() -> Settings:
    """The settings, or one line about what is wrong with them. Raises CommandError."""
    try:
        return get_settings()
    except ValidationError as error:
        raise CommandError(explain(error), 2) from error


def server(state_dir: Path) -> Holder | None:
    """The running server, or None. Raises CommandError when the state folder is closed to us, or a command has it to
    itself."""
    try:
        found = holder(state_dir)
    except PermissionError as error:
        raise CommandError(f"no permission to read {state_dir}: run this as the user who started Tutela") from error
    if found is not None and found.doing:
        raise CommandError(f"{found.doing} is under way (pid {found.pid}): run this again when it has ended")
    return found


@contextlib.contextmanager
def one_at_a_time(state_dir: Path) -> Iterator[None]:
    """Two `up` at once: the second waits until the first is done."""
    fd = os.open(state_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def server_environment(docker_host: str | None) -> dict[str, str]:
    """The environment of the server: ours, the code's place, and the engine that was found."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if docker_host:
        environment["DOCKER_HOST"] = docker_host
        environment.pop("TUTELA_DOCKER_HOST", None)  # which would win
    return environment


def server_argv() -> list[str]:
    """The command that becomes the server. -P: nothing of the current folder is imported."""
    return [sys.executable, "-P", "-m", "app.serve"]


def log_path(state_dir: Path) -> Path:
    """Where a detached server writes."""
    return state_dir / "tutela.log"


def spawn(
    state_dir: Path, docker_host: str | None, environment: dict[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server detached from this terminal. Returns it and where its part of the log begins.

    `environment`: all of it, when it is not what a server of this machine gets.
    """
    fd = os.open(log_path(state_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(fd, "ab") as log:
        start = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            server_argv(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state_dir,
            env=environment or server_environment(docker_host),
            start_new_session=True,
        )
    return process, start


def wait_until_healthy(
    settings: Settings,
    process: subprocess.Popen[bytes] | None,
    log_start: int,
    seconds: float = START_SECONDS,
) -> Holder:
    """Wait until the server answers. Raises CommandError with its last log lines when it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = server(settings.state_dir)
        if found is not None and ("api" not in settings.role_set or healthy(found)):
            return found
        code = process.poll() if process is not None else None
        if code is not None and code != TAKEN:  # TAKEN: another one was faster, wait for that one
            raise CommandError(
                f"the server ended at once with code {code}.\n{tail(log_path(settings.state_dir), log_start)}"
            )
        if process is None and found is None:
            raise CommandError("the running server has just stopped; run this again")
        time.sleep(0.05)
    raise CommandError(
        f"the server does not answer on {settings.local_url} after {seconds:g} s; it goes on trying.\n"
        f"{tail(log_path(settings.state_dir), log_start)}"
    )


def tail(path: Path, start: int = 0, lines: int = 8) -> str:
    """The last lines of a log from an offset on, indented, with the log's name."""
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(start)
        text = log.read().decode("utf-8", "replace").strip().splitlines()[-lines:]
        return "\n".join([*(f"  {_plain(line)}" for line in text), f"The log is {path}"])
    return f"The log is {path}"


def _plain(line: str) -> str:
    """A log line for people: of a JSON record only what happened and why."""
    try:
        record = json.loads(line)
        why = record.get("reason") or str(record.get("exception") or "").strip().rpartition("\n")[2]
        return f"{record['event']}: {why}" if why else str(record["event"])
    except (ValueError, KeyError, AttributeError):
        return line


def stop_server(state_dir: Path, found: Holder, seconds: float = STOP_SECONDS) -> bool:
    """SIGTERM, wait, and SIGKILL when that was not enough. False when it had to be killed.

    The pid is the lock holder's, and the lock is held by a living process only. Raises CommandError.
    """
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        current = server(state_dir)
        if current is None or current.pid != found.pid:
            return number is signal.SIGTERM
        try:
            os.kill(found.pid, number)
        except ProcessLookupError:
            return number is signal.SIGTERM
        except PermissionError as error:
            raise CommandError(f"no permission to stop the server (pid {found.pid})") from error
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            current = server(state_dir)
            if current is None or current.pid != found.pid:
                return number is signal.SIGTERM
            time.sleep(0.05)
    raise CommandError(f"the server (pid {found.pid}) does not end")
