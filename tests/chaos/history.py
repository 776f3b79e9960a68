"""What users were answered, and what must therefore be so in the end. Pure (Jepsen's three outcomes, I1).

Each user has services of its own and makes one call at a time, so the calls about one service have an order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum


class Outcome(Enum):
    """2xx; a clear refusal; or nobody knows: no answer, or one of 5xx."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Intent(Enum):
    """What the last accepted call wants of a service."""

    MADE = "made"
    RUN = "run"
    STOP = "stop"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: what it wants (None: it leaves that as it is), and the target that it sets, if any."""

    intent: Intent | None = None
    target: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """All that may be true of a service."""

    intents: frozenset[Intent] = frozenset({Intent.MADE})
    targets: frozenset[int] = field(default_factory=frozenset)

    def after(self, call: Call, outcome: Outcome) -> Belief:
        """What may be true after a call about it with that outcome."""
        if outcome is Outcome.REFUSED:
            return self
        intents = self.intents if call.intent is None else frozenset({call.intent})
        targets = self.targets if call.target is None else frozenset({call.target})
        if outcome is Outcome.UNKNOWN:
            return replace(self, intents=intents | self.intents, targets=targets | self.targets)
        return replace(self, intents=intents, targets=targets)


STATES: dict[Intent, frozenset[str]] = {
    Intent.MADE: frozenset({"Init"}),
    Intent.RUN: frozenset({"Running"}),
    Intent.STOP: frozenset({"Stopped", "Not running"}),
    Intent.GONE: frozenset({"Terminated"}),
}


def contradiction(belief: Belief, state: str, target: int, running: Sequence[str]) -> str | None:
    """What is not as it must be; None when all is explained. `running`: names of its containers that run on engines,
    which are as many as the target when it runs and none otherwise."""
    allowed = frozenset().union(*(STATES[intent] for intent in belief.intents))
    if state not in allowed:
        return f"it is {state}; its user was told that it is {' or '.join(sorted(allowed))}"
    if state != "Terminated" and target not in belief.targets:
        return f"its target is {target}; its user was told {' or '.join(map(str, sorted(belief.targets)))}"
    wanted = target if state == "Running" else 0
    if len(running) != wanted or len(set(running)) != len(running):
        return f"it is {state} with a target of {target}, and on the engines run {', '.join(running) or 'none'}"
    return None
