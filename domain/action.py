"""An action: the record of one request that changes something, and how it ended (spec 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class ActionState(StrEnum):
    """The wire's action states."""

    PENDING = "Pending"
    IN_PROGRESS = "In progress"
    CANCELING = "Canceling"
    CANCELED = "Canceled"
    SUCCESS = "Success"
    FAILED = "Failed"


ENDED = frozenset({ActionState.CANCELED, ActionState.SUCCESS, ActionState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asked, and how: what an action keeps of the HTTP request. Secrets are masked before this is made."""

    method: str = "POST"
    path: str = ""
    body: str = ""
    ip: str = ""
    user_agent: str = ""
    location: str = ""
    is_user_action: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A row of the record. `verb` reads `Service Start`; `object_uri` is the path of what it acts on; `parts` is
    how many services or containers work for it.

    `message` says why it failed; `service_id` None for actions without a service (a refused create).
    """

    id: UUID
    account_id: UUID
    service_id: UUID | None
    verb: str
    object_uri: str
    state: ActionState
    request: Request
    start_date: datetime
    end_date: datetime | None = None
    message: str | None = None
    parts: int = 1


_REPEATABLE = frozenset(
    f"{kind} {verb}"
    for kind, verbs in {
        "Service": ("Start", "Stop", "Scale", "Redeploy", "Terminate"),
        "Container": ("Start", "Stop", "Redeploy", "Terminate"),
        "Stack": ("Start", "Stop", "Redeploy", "Terminate"),
    }.items()
    for verb in verbs
)


def can_be_retried(action: Action) -> bool:
    """Whether the record holds all that a repetition needs: it keeps no values, so no body may be needed."""
    needs_nothing = not action.request.body and action.request.is_user_action
    return action.state in ENDED and action.verb in _REPEATABLE and needs_nothing


def can_be_canceled(action: Action) -> bool:
    """Whether it is under way and can be let go of; a termination cannot."""
    open_ = action.state in {ActionState.PENDING, ActionState.IN_PROGRESS}
    return open_ and not action.verb.endswith(" Terminate")
