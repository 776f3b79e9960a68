"""An operator's hand on the brake: of a service, of a node, of everything (decision 14)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Since when, and by which user. A paused service gets no passes; a paused node is told nothing new."""

    since: datetime
    by: str
