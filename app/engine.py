"""Finds the Docker engine of this machine and asks it for a sign of life, without the Docker SDK."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROBE_SECONDS = 2.0
DEFAULT_SOCKET = Path("/var/run/docker.sock")


class EngineState(StrEnum):
    """What a probe showed."""

    READY = "ready"
    MISSING = "missing"
    DENIED = "denied"
    SILENT = "silent"


@dataclass(frozen=True)
class Engine:
    """An address (unix:// or tcp://), where it was found, what it answered, and what to do."""

    url: str
    source: str
    state: EngineState
    advice: str = ""

    @property
    def ready(self) -> bool:
        """True when the engine answered."""
        return self.state is EngineState.READY


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(url: str, path: str, *, timeout: float = PROBE_SECONDS) -> tuple[int, bytes]:
    """GET `path` from an engine at unix:// or tcp:// (plain). Raises OSError or http.client.HTTPException."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connection: http.client.HTTPConnection = _UnixConnection(parts.path, timeout)
    elif parts.scheme in ("tcp", "http"):
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 2375, timeout=timeout)
    else:
        raise OSError(f"cannot probe {parts.scheme}:// addresses")
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20)
    finally:
        connection.close()


def probe(url: str, source: str) -> Engine:
    """Ask one address for /_ping. Never raises; the state and the advice say what was wrong."""
    shown = url.removeprefix("unix://")
    try:
        status, _ = request(url, "/_ping")
    except FileNotFoundError:
        advice = f"no Docker engine at {shown} ({source}): start Docker, or set DOCKER_HOST to where it listens"
        return Engine(url, source, EngineState.MISSING, advice)
    except PermissionError:
        advice = (
            f"no permission to use the Docker engine at {shown} ({source}): add your user to "
            "the group docker (sudo usermod -aG docker $USER, then log in again), or run as root"
        )
        return Engine(url, source, EngineState.DENIED, advice)
    except (OSError, http.client.HTTPException) as error:
        advice = f"the Docker engine at {shown} ({source}) does not answer ({_reason(error)}): restart Docker"
        return Engine(url, source, EngineState.SILENT, advice)
    if status != 200:
        advice = f"what listens at {shown} ({source}) answered {status}, which is not a Docker engine"
        return Engine(url, source, EngineState.SILENT, advice)
    return Engine(url, source, EngineState.READY)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"silent for {PROBE_SECONDS:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def context_host(home: Path, name: str | None = None) -> str | None:
    """The engine address of the current (or named) docker context, or None for the default one."""
    config_dir = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker")
    chosen = name or os.environ.get("DOCKER_CONTEXT") or _read_json(config_dir / "config.json").get("currentContext")
    if not isinstance(chosen, str) or chosen in ("", "default"):
        return None
    digest = hashlib.sha256(chosen.encode()).hexdigest()
    meta = _read_json(config_dir / "contexts" / "meta" / digest / "meta.json")
    endpoint = meta.get("Endpoints", {}).get("docker", {}) if isinstance(meta.get("Endpoints"), dict) else {}
    host = endpoint.get("Host") if isinstance(endpoint, dict) else None
    return host if isinstance(host, str) and host else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def candidates(docker_host: str | None, *, home: Path | None = None) -> list[tuple[str, str]]:
    """Addresses to try, best first, as (url, source). A DOCKER_HOST is the only one: the user has chosen."""
    if docker_host:
        return [(docker_host, "DOCKER_HOST")]
    home = home or Path.home()
    found: list[tuple[str, str]] = []
    from_context = context_host(home)
    if from_context:
        found.append((from_context, "the current docker context"))
    sockets = [DEFAULT_SOCKET, home / ".docker" / "run" / "docker.sock"]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        sockets.append(Path(runtime) / "docker.sock")
    return found + [(f"unix://{path}", "a usual place") for path in sockets]


def find_engine(docker_host: str | None, *, home: Path | None = None) -> Engine:
    """The first engine that answers; else the most telling failure: denied, silent, missing."""
    failures: list[Engine] = []
    for url, source in candidates(docker_host, home=home):
        engine = probe(url, source)
        if engine.ready:
            return engine
        failures.append(engine)
    order = [EngineState.DENIED, EngineState.SILENT, EngineState.MISSING]
    best = min(failures, key=lambda engine: order.index(engine.state))
    if best.state is EngineState.MISSING and not docker_host:
        advice = "no Docker engine found: install Docker and start it, or set DOCKER_HOST to where it listens"
        return Engine(best.url, best.source, EngineState.MISSING, advice)
    return best


def engine_version(url: str) -> str | None:
    """The engine's own version, or None when it does not answer."""
    try:
        status, body = request(url, "/version")
        version = json.loads(body).get("Version") if status == 200 else None
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return None
    return version if isinstance(version, str) else None
