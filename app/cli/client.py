"""A small HTTP client for the local API, on the standard library."""

from __future__ import annotations

import contextlib
import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.lock import Holder

KEY_FILE = "admin-key.json"
NO_ANSWER_OF_OURS = "that is no answer of Tutela's: does another program have this port?"


@dataclass(frozen=True)
class Key:
    """Who calls, as the key file has it."""

    user: str
    api_key: str


class ApiError(RuntimeError):
    """The API refused or cannot be reached; the text is for the user."""


def read_key(state_dir: Path) -> Key | None:
    """The admin's key, or None when there is none yet or it may not be read."""
    try:
        content = json.loads((state_dir / KEY_FILE).read_text(encoding="utf-8"))
        return Key(str(content["user"]), str(content["api_key"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def no_key(state_dir: Path) -> str:
    """What to do where `read_key` finds none."""
    return (
        f"{state_dir / KEY_FILE} cannot be read: run this as who started Tutela. Of several control planes the one"
        " that started first has it; a copy is good on the others"
    )


def healthy(server: Holder, timeout: float = 2.0) -> bool:
    """True when its GET /health answers 200, and that it is this server: another one may have the port."""
    try:
        status, body = _call(server.url, "GET", "/health", {}, None, timeout)
        return status == 200 and (not server.instance or json.loads(body)["instance"] == server.instance)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True)
class Client:
    """Calls the API of one server with one key."""

    url: str
    key: Key

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """GET below /api/v1. Raises ApiError."""
        return self._request("GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST below /api/v1. Raises ApiError."""
        return self._request("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PATCH below /api/v1. Raises ApiError."""
        return self._request("PATCH", path, body)

    def delete(self, path: str, **query: str) -> dict[str, Any]:
        """DELETE below /api/v1. Raises ApiError."""
        return self._request("DELETE", path + (f"?{urlencode(query)}" if query else ""), None)

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {
            "Authorization": f"ApiKey {self.key.user}:{self.key.api_key}",
            "Accept": "application/json",
        }
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            status, answer = _call(self.url, method, f"/api/v1/{path}", headers, data, 15.0)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{self.url} does not answer: {error}") from error
        if status >= 400:
            raise ApiError(f"{method} /api/v1/{path} answered {status}: {_said(answer)}")
        try:
            value = json.loads(answer or b"{}")
        except ValueError as error:
            raise ApiError(f"{method} /api/v1/{path}: {NO_ANSWER_OF_OURS}") from error
        return value if isinstance(value, dict) else {"objects": value}


def _said(answer: bytes) -> str:
    """What a refusal says, in one line."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return " ".join(str(json.loads(answer)["error"]).split())[:500]
    return NO_ANSWER_OF_OURS


def _call(
    url: str, method: str, path: str, headers: dict[str, str], data: bytes | None, timeout: float
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    # http.client knows no proxy variables, so a proxy of the environment never sees the key.
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
