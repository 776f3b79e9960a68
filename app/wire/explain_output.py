"""The answer to "why" as the API shows it."""

from __future__ import annotations

from typing import Any

from app.wire.others import pause_out
from app.wire.scalars import date, uri
from orchestrator.explaining import Explanation
from orchestrator.planning.explain import SlotStory


def explanation_out(explanation: Explanation) -> dict[str, Any]:
    """All of it; `slots` by number, what is on its way out last."""
    service = explanation.service
    operation = service.operation
    return {
        "service": uri("service", service.id),
        "name": service.unique_name,
        "state": explanation.state.value,
        "target_num_containers": service.target,
        "operation": operation.verb.value if operation else None,
        "operation_since": date(operation.since) if operation else None,
        "actions": [uri("action", each) for each in operation.actions] if operation else [],
        "waits_for": explanation.waits_for,
        "look_at": date(explanation.look_at),
        "paused": pause_out(explanation.paused),
        "network": explanation.network.value,
        "slots": [_slot(each) for each in explanation.slots],
    }


def _slot(story: SlotStory) -> dict[str, Any]:
    return {
        "slot": story.slot,
        "container": uri("container", story.container) if story.container else None,
        "node": story.node,
        "wanted": story.wanted,
        "seen": story.seen,
        "leaving": story.leaving,
        "reason": story.reason.value,
        "text": story.text,
        "remedy": story.remedy,
        "since": date(story.since),
        "last_seen": date(story.last_seen),
        "network": story.network.value if story.network else None,
        "network_note": story.network_note,
        "links": [{"name": each.name, "slot": each.slot, "form": each.form.value} for each in story.links],
        "placement": [
            {
                "node": each.node,
                "taken": each.taken,
                "reason": each.refusal.value if each.refusal else None,
                "text": each.text,
            }
            for each in story.verdicts
        ],
    }
