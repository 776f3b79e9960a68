"""The installation's health on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.wire.others import engine_notes_out, quarantine_out
from app.wire.scalars import date
from domain.node import NodeState, notes_on
from orchestrator.store.db import Pool
from orchestrator.store.health import Agent, ControlPlane, Postgres, Readiness, by_state

OK, NOT_OK = "ok", "not ok"


def ready_out(found: Readiness | None, newest: str) -> tuple[dict[str, Any], bool]:
    """What strangers are told, and whether all is well. `found` None: the database does not answer."""
    well = {
        "database": found is not None,
        "migrations": found is not None and found.schema == newest,
        "reconciler": found is not None and not found.paused,
    }
    shown = {
        "status": OK if all(well.values()) else NOT_OK,
        "components": {name: OK if each else NOT_OK for name, each in well.items()},
    }
    return shown, all(well.values())


def health_out(
    found: Readiness,
    newest: str,
    *,
    versions: Mapping[str, str],
    started: datetime,
    postgres: Postgres,
    pool: Pool,
    control_planes: Sequence[ControlPlane],
    agents: Sequence[Agent],
    reconciler: dict[str, Any],
) -> dict[str, Any]:
    """The page for admins; `started` is this process's begin, `pool` its own connections.

    Not well while a node is quarantined or unreachable, or no control plane serves agents: those wait for an operator.
    What is to be said of a host's engine is shown, and no reason to be not well: most of it is how engines come.
    """
    shown, well = ready_out(found, newest)
    well = well and bool(control_planes)
    well = well and not any(each.quarantine or each.state is NodeState.UNREACHABLE for each in agents)
    return {
        **shown,
        "status": OK if well else NOT_OK,
        "versions": {**versions, "postgres": postgres.version, "schema": found.schema, "newest_schema": newest},
        "started": date(started),
        "postgres": {
            "size_bytes": postgres.size,
            "connections": postgres.connections,
            "most_connections": postgres.most_connections,
            "pool_size": pool.size,
            "pool_idle": pool.idle,
            "pool_most": pool.most,
        },
        "control_planes": [
            {"uuid": str(each.id), "agent_url": each.agent_url, "last_seen": date(each.last_seen)}
            for each in control_planes
        ],
        "agents": by_state(agents),
        "nodes": [
            {
                "name": each.name,
                "state": each.state.value,
                "last_seen": date(each.last_seen),
                "containers": each.live,
                "paused": each.paused,
                "quarantine": quarantine_out(each.quarantine),
                "engine_notes": engine_notes_out(notes_on(each.engine)),
            }
            for each in agents
        ],
        "reconciler": reconciler,
    }
