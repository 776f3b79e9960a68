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
    """A row of the record. `verb` reads `Service Start`; `object_uri` is the path of what it acts on.

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
