"""What is recorded of a run: every call with its times and what is known of its outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

NEVER = math.inf
"""When a call ended that never did, as far as anybody knows: its effect may come at any later time."""


class Kind(StrEnum):
    """What a call asks for. ADD: a trigger's call, which adds containers."""

    CREATE = "create"
    PATCH = "patch"
    ADD = "add"
    DELETE = "delete"


class Outcome(StrEnum):
    """OK: answered with 2xx. FAIL: certainly not done. UNKNOWN: all else."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


VERBS = {
    Kind.CREATE: "Service Create",
    Kind.PATCH: "Service Update",
    Kind.ADD: "Service Scale",
    Kind.DELETE: "Service Terminate",
}
"""The action that each leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation, from its first sending to its last answer (times in seconds of one clock).

    `name` is of the service, and of one create alone. `values`: of a create and a patch, what they set, by register;
    each value is written by one operation only. `amount`: what an ADD adds. `key`: it was sent with one, and again
    with it while its outcome was unknown; without one it was sent once. `action`: the one that the answer names.
    """

    kind: Kind
    name: str
    invoked: float
    ended: float
    outcome: Outcome
    values: Mapping[str, str | int] = field(default_factory=dict)
    amount: int = 0
    key: str | None = None
    action: str | None = None
    sendings: int = 1

    def __str__(self) -> str:
        what = f"+{self.amount}" if self.kind is Kind.ADD else ", ".join(f"{k}={v}" for k, v in self.values.items())
        keyed = f"key {self.key}" if self.key else "no key"
        return (
            f"{self.invoked:.3f}-{self.ended:.3f} {self.kind} {self.name} {what} {self.outcome} ({keyed},"
            f" {self.sendings} sendings, action {self.action})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A list by name was answered: how many services had it, and the registers and target of the one."""

    name: str
    invoked: float
    ended: float
    found: int
    registers: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """An answered request was sent again with its key: the action of its answer now, and whether it was marked."""

    key: str
    action: str | None
    status: int
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A service at the end. `registers` has the target as `target`."""

    name: str
    terminated: bool
    registers: Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRow:
    """An action at the end; `failed` is also one that records a refusal."""

    id: str
    name: str
    verb: str
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """What is there in the end."""

    services: Sequence[Row]
    actions: Sequence[ActionRow]


@dataclass(slots=True, kw_only=True)
class History:
    """The record of a run; written by its clients."""

    ops: list[Op] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    again: list[Again] = field(default_factory=list)

    def acked(self) -> int:
        """How many operations were answered as done."""
        return sum(op.outcome is Outcome.OK for op in self.ops)
