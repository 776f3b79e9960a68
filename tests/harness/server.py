"""The real server as a process, and a small client for its API."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.claims import free_port
from tests.harness.launch import ROOT, SERVE, Program, launch
from tests.harness.wait import wait_for

__all__ = ["ROOT", "Api", "Response", "TutelaProcess", "free_port", "wait_for"]


@dataclass(frozen=True)
class Response:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)


class Api:
    """Calls with the admin's key; a connection a call, so that a killed server leaves nothing half-open."""

    def __init__(self, port: int, key_file: Path) -> None:
        self._port = port
        self._key_file = key_file

    def call(
        self, method: str, path: str, *, json: Any = None, auth: bool = True, headers: Mapping[str, str] | None = None
    ) -> Response:
        """One request; `json` None sends no body."""
        import json as codec

        sent = {"Content-Type": "application/json", **(headers or {})}
        if auth:
            key = self.credentials()
            sent["Authorization"] = f"ApiKey {key['user']}:{key['api_key']}"
        body = None if json is None else codec.dumps(json)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Response(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def credentials(self) -> dict[str, str]:
        """The admin's `user` and `api_key`."""
        import json

        found: dict[str, str] = json.loads(self._key_file.read_text())
        return found

    def get(self, path: str, **more: Any) -> Response:
        return self.call("GET", path, **more)

    def post(self, path: str, **more: Any) -> Response:
        return self.call("POST", path, **more)

    def patch(self, path: str, **more: Any) -> Response:
        return self.call("PATCH", path, **more)

    def delete(self, path: str, **more: Any) -> Response:
        return self.call("DELETE", path, **more)


class TutelaProcess:
    """`python -m app.serve` with a state directory and a port of its own."""

    def __init__(self, *, docker_host: str, dsn: str, env: Mapping[str, str] | None = None) -> None:
        self.state_dir = Path(tempfile.mkdtemp(prefix="tutela-test-state-"))
        self.port = free_port()
        self.agent_port = free_port()
        self.api = Api(self.port, self.state_dir / "admin-key.json")
        self._env = {
            **os.environ,
            "TUTELA_STATE_DIR": str(self.state_dir),
            "TUTELA_PORT": str(self.port),
            "TUTELA_AGENT_PORT": str(self.agent_port),
            "DATABASE_URL": dsn,
            "DOCKER_HOST": docker_host,
            "PYTHONPATH": str(ROOT),
            **(env or {}),
        }
        self._process: Program | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """Of the process, and of commands about it."""
        return self._env

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = launch(SERVE, env=self._env, log=self.state_dir / "server.log")
        wait_for(self._healthy, timeout=120, what="the server to answer")
        if "agent" in self._env.get("TUTELA_ROLES", "agent"):
            wait_for(self._joined, timeout=120, what="the node to join")

    def _healthy(self) -> bool | None:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended:\n{self.log()[-3000:]}"
        try:
            return self.api.get("/health", auth=False).status == 200 or None
        except OSError:
            return None

    def _joined(self) -> bool:
        """Whether the agent in the process has registered its node, now or in an earlier life."""
        return bool(self.api.get("/api/v1/node/").json["objects"])

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=30)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)

    def log(self) -> str:
        """What it wrote so far."""
        path = self.state_dir / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End it if it runs and take its files away."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.state_dir, ignore_errors=True)
