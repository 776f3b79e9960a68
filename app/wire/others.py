"""Actions and nodes as the API shows them (spec 4.2, 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.wire.scalars import date, uri
from domain.action import Action, can_be_canceled, can_be_retried
from domain.engine_notes import EngineNote
from domain.names import node_fqdn
from domain.networks import Form
from domain.node import Node, notes_on
from domain.pause import Pause
from domain.quarantine import Quarantine


def action_out(action: Action) -> dict[str, Any]:
    """The whole representation of an action. `message` says why it failed."""
    return {
        "uuid": str(action.id),
        "resource_uri": uri("action", action.id),
        "action": action.verb,
        "object": action.object_uri,
        "state": action.state.value,
        "message": action.message or "",
        "method": action.request.method,
        "path": action.request.path,
        "body": action.request.body,
        "ip": action.request.ip,
        "location": action.request.location,
        "user_agent": action.request.user_agent,
        "is_user_action": action.request.is_user_action,
        "start_date": date(action.start_date),
        "end_date": date(action.end_date),
        "can_be_canceled": can_be_canceled(action),
        "can_be_retried": can_be_retried(action),
    }


def pause_out(pause: Pause | None) -> dict[str, Any] | None:
    """Since when something is paused, and by whom; None when it is not."""
    return {"since": date(pause.since), "by": pause.by} if pause else None


def quarantine_out(found: Quarantine | None) -> dict[str, Any] | None:
    """Why a node is left alone, and what helps; None when it is not."""
    return {"cause": found.cause.value, "reason": found.reason, "remedy": found.remedy} if found else None


def engine_notes_out(found: Sequence[EngineNote] | None) -> list[dict[str, str]] | None:
    """What is wrong with how a node's engine is set up, and what helps; None while its agent has not said."""
    if found is None:
        return None
    return [{"code": each.code.value, "says": each.says, "remedy": each.remedy} for each in found]


def node_out(node: Node, *, containers: int, account: str, domain: str) -> dict[str, Any]:
    """A node as a client needs it to show its containers (spec 4.1 quirk, 4.5); its outside name is each account's own.

    Where there is no public domain the node's address stands in (spec 3.9), and its name for one that is not known.
    """
    engine = node.engine
    return {
        "uuid": str(node.id),
        "resource_uri": uri("node", node.id),
        "state": node.state.value,
        "name": node.name,
        "nickname": node.nickname or node.name,
        "external_fqdn": node_fqdn(node.id, account=account, domain=domain) if domain else node.reach or node.name,
        "public_ip": node.public_ip,
        "private_ips": [],
        "tags": [{"name": name} for name in node.tags],
        "cpu": engine.cpus if engine else 0,
        "memory": engine.memory if engine else 0,
        "disk": engine.disk // 1024 if engine else 0,
        "docker_version": engine.version if engine else "",
        "docker_graphdriver": engine.storage_driver if engine else "",
        "docker_execdriver": "",
        "current_num_containers": containers,
        "cordoned": node.cordoned,
        "draining": node.drain_action is not None,
        "paused": pause_out(node.paused),
        "quarantine": quarantine_out(node.quarantine),
        "network": (Form.OVERLAY if node.overlay else Form.BRIDGE).value,
        "network_note": node.network_note,
        "engine_notes": engine_notes_out(notes_on(engine)),
        "last_metric": None,
        "last_seen": date(node.last_seen),
        "deployed_datetime": date(node.created_at),
        "destroyed_datetime": date(node.terminated_at),
        "node_cluster": None,
        "region": None,
        "node_type": None,
        "availability_zone": None,
        "tunnel": None,
    }
