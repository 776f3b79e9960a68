"""The frames between a joined agent and a control plane: JSON texts on one WebSocket, calls and answers by number.

What either side does not know it ignores, so that releases next to each other understand each other (I16). The
agent calls; the control plane answers, and may ask for a stream at any time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from domain.assignment import (
    Beat,
    EngineInfo,
    Heard,
    LedgerWanted,
    NodeAssignments,
    NodeHello,
    NodeReport,
    Registration,
    SessionLost,
)
from domain.errors import Conflict, DomainError, NotAllowed

T = TypeVar("T")

CONTROL_PLANE = "control-plane.tutela"
"""The name in every control plane's certificate: who it is does not depend on where it is reached."""

JOIN_PATH, SESSION_PATH, STREAM_PATH = "/join", "/session", "/stream/"
MOST_UP = 4 * 1024 * 1024
"""Bytes of one message of an agent."""

MOST_DOWN = 64 * 1024 * 1024
MOST_CALLS = 8
"""Calls of one agent that may be open at once."""

REVOKED_CODE, FOLLOWED_CODE, BROKEN_CODE, AWAY_CODE = 4403, 4409, 4400, 4503


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What changed after the revision is asked for."""

    registration: Registration
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A host asks to be a node. `request` is a certificate signing request in PEM; the key stays on the host."""

    secret: str = field(repr=False)
    name: str
    request: str
    engine: EngineInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a node proves itself with. `certificate` and `authority` in PEM."""

    cluster_id: str
    node_id: str
    name: str
    certificate: str
    authority: str
    control_planes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A node asks for a new certificate before the old one ends."""

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityFound:
    """Who signs for the installation; not secret, and not believed before its digest was compared."""

    certificate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An answer without content."""


HELLO: TypeAdapter[NodeHello] = TypeAdapter(NodeHello)
REGISTRATION: TypeAdapter[Registration] = TypeAdapter(Registration)
SINCE: TypeAdapter[Since] = TypeAdapter(Since)
ASSIGNMENTS: TypeAdapter[NodeAssignments] = TypeAdapter(NodeAssignments)
REPORT: TypeAdapter[NodeReport] = TypeAdapter(NodeReport)
DONE: TypeAdapter[Done] = TypeAdapter(Done)
AUTHORITY: TypeAdapter[AuthorityFound] = TypeAdapter(AuthorityFound)
BEAT: TypeAdapter[Beat] = TypeAdapter(Beat)
HEARD: TypeAdapter[Heard] = TypeAdapter(Heard)
JOIN: TypeAdapter[Join] = TypeAdapter(Join)
CREDENTIAL: TypeAdapter[Credential] = TypeAdapter(Credential)
RENEWAL: TypeAdapter[Renewal] = TypeAdapter(Renewal)


class Broken(Exception):
    """A frame that is none of the protocol."""


def call(number: int, name: str, adapter: TypeAdapter[T], body: T) -> str:
    """A call."""
    return json.dumps({"id": number, "call": name, "body": adapter.dump_python(body, mode="json")})


def answer(number: int, adapter: TypeAdapter[T], body: T) -> str:
    """The answer to a call. It comes from the record, so that its texts can be written in UTF-8."""
    return f'{{"id": {number}, "body": {adapter.dump_json(body).decode()}}}'


def answer_again(number: int, adapter: TypeAdapter[T], body: T) -> str:
    """The same for what is said again and again: it is written once. `body` can be hashed."""
    return f'{{"id": {number}, "body": {_written(adapter, body)}}}'


@lru_cache(maxsize=16)
def _written(adapter: TypeAdapter[Any], body: Any) -> str:
    return json.dumps(adapter.dump_python(body, mode="json"))


def ask(name: str, body: dict[str, Any]) -> str:
    """The control plane asks for something that is not answered here."""
    return json.dumps({"ask": name, "body": body})


_KINDS: tuple[tuple[str, type[Exception]], ...] = (
    ("session_lost", SessionLost),
    ("ledger_wanted", LedgerWanted),
    ("conflict", Conflict),
    ("not_allowed", NotAllowed),
    ("refused", DomainError),
    ("away", ConnectionError),
)


def failure(number: int, error: Exception) -> str:
    """The answer to a call that failed, by its kind; anything unknown counts as the control plane being away."""
    kind = next((name for name, known in _KINDS if isinstance(error, known)), "away")
    return json.dumps({"id": number, "error": {"kind": kind, "message": str(error)}})


def failed(frame: dict[str, Any]) -> Exception | None:
    """The error in an answer; None when there is none."""
    error = frame.get("error")
    if not isinstance(error, dict):
        return None
    kind = dict(_KINDS).get(str(error.get("kind")), ConnectionError)
    return kind(str(error.get("message", "")))


def parse(text: str | bytes) -> dict[str, Any]:
    """A frame. Raises Broken."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Broken("not JSON") from error
    if not isinstance(frame, dict):
        raise Broken("not an object")
    return frame


def read(adapter: TypeAdapter[T], body: Any) -> T:
    """The value in a frame. Raises Broken."""
    try:
        return adapter.validate_python(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Broken(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
