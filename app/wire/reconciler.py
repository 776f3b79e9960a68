"""The reconciler and its queue on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.wire.others import pause_out
from app.wire.scalars import date, uri
from domain.pause import Pause
from orchestrator.store.queue import Summary, Waiting


def reconciler_out(
    summary: Summary, *, pause: Pause | None, nodes: Sequence[str], next_look: float | None
) -> dict[str, Any]:
    """The queue in figures, and what is paused. `next_look` in seconds: when the next service is due."""
    return {
        "paused": pause_out(pause),
        "due": summary.due,
        "oldest_due_seconds": round(summary.age, 3),
        "blocked": summary.blocked,
        "paused_services": summary.paused,
        "paused_nodes": list(nodes),
        "next_look_seconds": None if next_look is None else round(max(next_look, 0.0), 3),
    }


def waiting_out(waiting: Waiting) -> dict[str, Any]:
    """A service in the queue."""
    return {
        "uuid": str(waiting.service_id),
        "resource_uri": uri("service", waiting.service_id),
        "name": waiting.name,
        "user": waiting.username,
        "state": waiting.state,
        "due": waiting.due,
        "due_seconds": round(waiting.age, 3),
        "look_at": date(waiting.look_at),
        "waits_for": waiting.waits_for,
        "waits_since": date(waiting.waits_since),
        "paused": pause_out(waiting.pause),
    }
