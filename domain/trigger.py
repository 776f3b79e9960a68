"""A trigger: a secret address that redeploys or enlarges a service when it is called (spec 4.10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class TriggerOperation(StrEnum):
    """What a call does."""

    REDEPLOY = "REDEPLOY"
    SCALEUP = "SCALEUP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A row of the record. Who knows `id` may call it, so it stays out of logs and actions."""

    id: UUID
    service_id: UUID
    name: str
    operation: TriggerOperation
    created_at: datetime
