"""Installs and starts the Docker engine where that is ours to do: Debian or Ubuntu, as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from app.engine import DEFAULT_SOCKET, Engine, EngineState, find_engine, probe

PACKAGES = ("docker.io", "iproute2", "iptables", "busybox-static")
PID_FILE = Path("/var/run/docker.pid")
CONTAINERD_PID_FILE = Path("/var/run/docker/containerd/containerd.pid")
START_SECONDS = 60.0
START_TRIES = 2


class EngineError(RuntimeError):
    """There is no usable engine; the text is one sentence saying what to do."""


def require_engine(docker_host: str | None, state_dir: Path, *, yes: bool, say: Callable[[str], None]) -> Engine:
    """The engine, started or installed when that is allowed. Raises EngineError with what to do instead."""
    engine = find_engine(docker_host)
    if engine.ready:
        return engine
    if docker_host or engine.state is EngineState.DENIED:
        raise EngineError(engine.advice)
    root = os.geteuid() == 0
    if not _dockerd():
        if not root or not _is_debian():
            hint = " (as root on Debian or Ubuntu, `./tutela up --yes` does it)" if _is_debian() else ""
            raise EngineError(engine.advice + hint)
        _ask_to_install(yes)
        say("installing Docker: " + " ".join(PACKAGES))
        apt_install(PACKAGES, state_dir / "apt.log")
    elif not root:
        raise EngineError(f"{engine.advice} (Docker is installed: sudo systemctl start docker)")
    engine = find_engine(None)
    if engine.ready:  # the package starts it where systemd runs
        return engine
    say("starting the Docker engine")
    return start_engine(state_dir)


def _dockerd() -> str | None:
    return shutil.which("dockerd", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


def _is_debian() -> bool:
    return Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def _ask_to_install(yes: bool) -> None:
    """Consent, from TUTELA_INSTALL_DOCKER, --yes or a terminal. Raises EngineError without it."""
    decision = os.environ.get("TUTELA_INSTALL_DOCKER", "")
    if decision in ("0", "false", "no"):
        raise EngineError("no Docker engine found, and TUTELA_INSTALL_DOCKER=0 forbids to install one")
    if yes or decision in ("1", "true", "yes"):
        return
    if not sys.stdin.isatty():
        raise EngineError("no Docker engine found: install docker.io, or run `./tutela up --yes` to let me do it")
    question = f"No Docker engine found. Install {' '.join(PACKAGES)} with apt-get? [Y/n] "
    if input(question).strip().lower() not in ("", "y", "yes"):
        raise EngineError("no Docker engine, and not allowed to install one: install Docker and run this again")


def apt_install(packages: Sequence[str], log_path: Path) -> None:
    """apt-get update and install, output to the log. Raises EngineError naming the log."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log_path.open("ab") as log:
        for argv in (
            ["apt-get", "update"],
            ["apt-get", "install", "-y", "--no-install-recommends", *packages],
        ):
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, check=False)
            if done.returncode != 0:
                raise EngineError(f"`{' '.join(argv[:2])}` failed ({done.returncode}); its output is in {log_path}")


def start_engine(state_dir: Path) -> Engine:
    """Start the installed engine by systemd, else detached; wait until it answers."""
    process: subprocess.Popen[bytes] | None = None
    log_path = state_dir / "dockerd.log"
    tries = 1
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"], stdin=subprocess.DEVNULL, check=False)
    else:
        process = _spawn_dockerd(log_path)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        engine = probe(f"unix://{DEFAULT_SOCKET}", "started by Tutela")
        if engine.ready:
            return engine
        if process is not None and process.poll() is not None:
            if tries < START_TRIES:  # after a kill -9 the first start may stumble over what was left behind
                tries += 1
                process = _spawn_dockerd(log_path)
                continue
            raise EngineError(f"dockerd ended at once: {_last_line(log_path)} (the log is {log_path})")
        time.sleep(0.05)
    where = f"see {log_path}" if process is not None else "see `journalctl -u docker`"
    raise EngineError(f"the Docker engine did not answer within {START_SECONDS:g} s: {where}")


def _spawn_dockerd(log_path: Path) -> subprocess.Popen[bytes]:
    program = _dockerd()
    if program is None:
        raise EngineError("dockerd is not installed")
    _drop_stale_pid(PID_FILE, "dockerd")
    _drop_stale_pid(CONTAINERD_PID_FILE, "containerd")
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # dockerd starts containerd and runc by name; a user's PATH may lack the system folders.
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with os.fdopen(fd, "ab") as log:
        return subprocess.Popen(
            [program],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd="/", env={**os.environ, "PATH": path}, start_new_session=True,
        )  # fmt: skip


def _drop_stale_pid(path: Path, program: str) -> bool:
    """Remove a pid file whose process is gone: dead, a zombie, or the pid is something else."""
    try:
        pid = int(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return False
    command = b""
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if Path(os.fsdecode(command.split(b"\0")[0])).name == program:
        return False
    path.unlink(missing_ok=True)
    return True


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines:
            return lines[-1][:300]
    return "no output"
