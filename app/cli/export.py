"""`tutela export`: the services of the admin with their containers, as JSON that can be compared."""

from __future__ import annotations

from typing import Any

from app.cli.api import as_json, connected, listed

MOMENTARY = frozenset({"actions", "last_seen", "last_metric", "stale", "paused"})
"""What tells of the moment, or of requests, and not of what is wanted and runs."""


def run() -> None:
    """Print it. Raises CommandError."""
    api = connected()
    as_json({kind: _settled(listed(api, f"{kind}/")) for kind in ("service", "container")})


def _settled(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is there, without what is momentary, in the order of their uuids, each with its keys in order."""
    there = [each for each in found if each["destroyed_datetime"] is None]
    kept = [{key: each[key] for key in sorted(each) if key not in MOMENTARY} for each in there]
    return sorted(kept, key=lambda each: str(each["uuid"]))
