"""Words for end-to-end tests: a user's steps over HTTP, and what the engine shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER, WEB
from tests.harness.server import TutelaProcess, wait_for

__all__ = ["SLEEPER", "SLOW", "WEB", "User", "owned", "wait_for"]

SLOW = "sh -c 'trap \"sleep 3; exit 0\" TERM; while :; do sleep 1; done'"
"""A command that takes its time when it is asked to stop."""

ACTION_HEADER = "X-Tutum-Action-URI"


class User:
    """Somebody who uses the API of a running server."""

    def __init__(self, server: TutelaProcess) -> None:
        self.server = server

    @property
    def api(self) -> Any:
        return self.server.api

    def create(self, name: str, *, image: str = SLEEPER, target: int = 1, **more: Any) -> str:
        body = {"image": image, "name": name, "target_num_containers": target, **more}
        answer = self.api.post("/api/v1/service/", json=body)
        assert answer.status == 201, answer.text
        uuid: str = answer.json["uuid"]
        return uuid

    def get(self, uuid: str) -> dict[str, Any]:
        answer = self.api.get(f"/api/v1/service/{uuid}/")
        assert answer.status == 200, answer.text
        body: dict[str, Any] = answer.json
        return body

    def do(self, uuid: str, verb: str, *, wait: str | None = None, timeout: float = 60) -> dict[str, Any]:
        """Call the operation, wait for its action to end, and optionally check how."""
        if verb == "terminate":
            answer = self.api.delete(f"/api/v1/service/{uuid}/")
        else:
            answer = self.api.post(f"/api/v1/service/{uuid}/{verb}/")
        assert answer.status == 202, answer.text
        return self.ended(answer, wait=wait, timeout=timeout)

    def patch(self, uuid: str, *, wait: str | None = None, **changes: Any) -> dict[str, Any]:
        answer = self.api.patch(f"/api/v1/service/{uuid}/", json=changes)
        assert answer.status in {200, 202}, answer.text
        return self.ended(answer, wait=wait)

    def ended(self, answer: Any, *, wait: str | None = None, timeout: float = 60) -> dict[str, Any]:
        headers = {key.lower(): value for key, value in answer.headers.items()}
        uri = headers[ACTION_HEADER.lower()]

        def over() -> dict[str, Any] | None:
            action: dict[str, Any] = self.api.get(uri).json
            return action if action["state"] in {"Success", "Failed", "Canceled"} else None

        action = wait_for(over, timeout=timeout, what=f"{uri} to end")
        if wait:
            assert action["state"] == wait, action
        return action

    def run(self, name: str, **more: Any) -> str:
        """Create and start; returns when it runs."""
        uuid = self.create(name, **more)
        self.do(uuid, "start", wait="Success")
        return uuid

    def is_in(self, uuid: str, state: str, timeout: float = 60) -> dict[str, Any]:
        def there() -> dict[str, Any] | None:
            service = self.get(uuid)
            return service if service["state"] == state else None

        return wait_for(there, timeout=timeout, what=f"service to be {state}")

    def logged(self, uuid: str, lines: int) -> None:
        """Until the service's containers have written so many lines: one runs a moment before its program says much."""
        path = f"/api/v1/service/{uuid}/logs/"
        wait_for(lambda: self.api.get(path).json["logs"].count("\n") >= lines, timeout=30, what=f"{lines} lines")

    def containers(self, uuid: str) -> list[dict[str, Any]]:
        return [self.api.get(uri).json for uri in self.get(uuid)["containers"]]


def owned(engine: PrivateEngine, *, running: bool | None = None) -> list[dict[str, Any]]:
    """The containers on the engine that Tutela made."""
    found: list[dict[str, Any]] = engine.client().containers(all=True, filters={"label": "tutela.container"})
    if running is None:
        return found
    return [each for each in found if (each["State"] == "running") is running]


def until(check: Callable[[], bool], what: str, timeout: float = 60) -> None:
    """Wait until the check holds."""
    wait_for(lambda: check() or None, timeout=timeout, what=what)
