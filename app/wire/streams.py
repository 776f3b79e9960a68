"""Frames of the Stream API (spec 4.12 to 4.14): one JSON text each."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from app.wire.logs import LogLine
from orchestrator.store.events import ActionLine, Event

UNAUTHORIZED = "UNAUTHORIZED"


def _frame(**content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace").decode()


def error_frame(message: str) -> str:
    """Sent alone, before a stream is closed."""
    return _frame(type="error", data={"errorMessage": message})


def auth_frame(cursor: str) -> str:
    """The first frame of an event stream: Go needs all keys in every frame."""
    return _frame(type="auth", action="", parents=[], resource_uri="", state="", cursor=cursor)


def event_frame(event: Event, cursor: str) -> str:
    """One event; `cursor` is ours: `?cursor=` asks for what came after."""
    return _frame(
        type=event.type,
        action=event.action,
        parents=list(event.parents),
        resource_uri=event.resource_uri,
        state=event.state,
        cursor=cursor,
    )


def log_frame(line: LogLine, source: str | None) -> str:
    """One line of a container; with the container's name in the logs of a service."""
    named = {} if source is None else {"source": source}
    seconds = int(datetime.fromisoformat(f"{line.timestamp[:19]}+00:00").timestamp())
    return _frame(type="log", **named, log=f"{line.text}\n", streamType=line.stream, timestamp=seconds)


def action_frame(line: ActionLine) -> str:
    """One line of an action: without a newline, since the CLI prints it."""
    return _frame(type="log", log=line.line.rstrip("\n"), timestamp=int(line.at.timestamp()))


def exec_frame(output: str) -> str:
    """What a process wrote on its terminal."""
    return _frame(type="exec", output=output, streamType="stdout")


EXEC_END = _frame(type="exec", output="EOF", streamType="")
"""Go stops at it, the CLI does not show it."""
