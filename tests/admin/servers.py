"""Control planes as processes, without an engine: two on one database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.harness.server import Response, TutelaProcess

SECRET = "dHV0ZWxhLXRlc3RzLXR1dGVsYS10ZXN0cy10dXRlbGE="


@contextmanager
def control_plane(dsn: str, **env: str) -> Iterator[TutelaProcess]:
    """A running server of its own; `env` beside its usual settings."""
    settings = {"TUTELA_ROLES": "api,orchestrator", "TUTELA_SECRET_KEY": SECRET, **env}
    process = TutelaProcess(docker_host="unix:///nowhere.sock", dsn=dsn, env=settings)
    try:
        process.start()
        yield process
    finally:
        process.close()


def ask(server: TutelaProcess, method: str, path: str, header: str, body: Any = None) -> Response:
    """A call with other credentials than the admin's."""
    return server.api.call(method, path, json=body, auth=False, headers={"Authorization": header})


def user_with_key(server: TutelaProcess, name: str, role: str = "member") -> tuple[str, str, str]:
    """A new user: its header, its path and its key's path."""
    user = server.api.post("/api/v1/admin/user/", json={"username": name, "role": role}).json
    key = server.api.post(f"{user['resource_uri']}key/", json={"name": "test"}).json
    return f"ApiKey {name}:{key['key']}", user["resource_uri"], key["resource_uri"]
