"""A container of the model, and how its processes end by themselves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from agents.runtime.base import Json

FIRST_BACKOFF = 0.1
"""Of the engine's own restarts (E19)."""

ITSELF = "itself"
RUNNING, PAUSED, RESTARTING, EXITED, CREATED, DEAD = "running", "paused", "restarting", "exited", "created", "dead"


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How the processes of an image end by themselves: after a time between two bounds, with a code. None: never."""

    lives: tuple[float, float] | None = None
    code: int = 0


@dataclass(slots=True, kw_only=True)
class Box:
    """A container. `stopping`: whose stop is in its grace. `stuck`: its removal fails. `foreign`: nobody's business.

    `half_started`: it can never be started (E33). `ended_unseen`: with which code its process ended while the daemon
    was down, or its shim did not say so. `ended_by`: who ended its last run. `shim`: None while that answers, else it
    is set when it does again (F17).
    """

    id: str
    name: str
    body: Json
    policy: str
    endpoints: dict[str, Json]
    created_at: str
    foreign: bool = False
    state: str = CREATED
    code: int = 0
    error: str = ""
    started_at: str = "0001-01-01T00:00:00Z"
    finished_at: str = "0001-01-01T00:00:00Z"
    began: float = 0.0
    restarts: int = 0
    backoff: float = FIRST_BACKOFF
    stopping: str = ""
    stuck: bool = False
    half_started: bool = False
    shim: asyncio.Event | None = None
    run: int = 0
    ended_unseen: int | None = None
    ended_by: str = ""

    @property
    def up(self) -> bool:
        """Whether its process is there."""
        return self.state in {RUNNING, PAUSED} and self.ended_unseen is None

    @property
    def labels(self) -> dict[str, str]:
        """What makes it ours."""
        labels: dict[str, str] = self.body.get("Labels") or {}
        return labels

    @property
    def ports(self) -> set[tuple[str, str]]:
        """Protocol and port of the host, of each that it takes while it runs."""
        bindings = (self.body.get("HostConfig") or {}).get("PortBindings") or {}
        return {(key.rpartition("/")[2], each["HostPort"]) for key, found in bindings.items() for each in found}

    def inspected(self) -> Json:
        """What an inspection says."""
        return {
            "Id": self.id,
            "Name": self.name,
            "Created": self.created_at,
            "Config": self.body,
            "HostConfig": {**(self.body.get("HostConfig") or {}), "RestartPolicy": {"Name": self.policy}},
            "RestartCount": self.restarts,
            "State": {
                "Status": self.state,
                "ExitCode": self.code,
                "StartedAt": self.started_at,
                "FinishedAt": self.finished_at,
                "Error": self.error,
            },
            "NetworkSettings": {"Networks": {name: dict(each) for name, each in self.endpoints.items()}},
        }
