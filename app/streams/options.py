"""What a stream's path and query say."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from uuid import UUID

from app.api.logs import DEFAULT_TAIL, MOST_TAIL
from app.streams.peer import Peer
from app.wire.reading import Reading
from domain.errors import Invalid, NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How many of the lines that are there, and whether to wait for more (spec 4.13)."""

    tail: int
    follow: bool


def ident(peer: Peer, what: str) -> UUID:
    """The uuid in the path. Raises NotFound: a text that is none names nothing."""
    text = str(peer.socket.path_params["uuid"])
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"there is no {what} {text[:80]}") from None


def read_options(peer: Peer) -> LogOptions:
    """`tail` and `follow`. Raises Invalid."""
    reading = Reading()
    tail = reading.integer(peer.query("tail") or DEFAULT_TAIL, "tail", low=0, high=MOST_TAIL)
    follow = reading.boolean(peer.query("follow") or True, "follow")
    if tail is None or reading.errors:
        raise Invalid(reading.errors)
    return LogOptions(tail=tail, follow=follow)


def read_command(peer: Peer) -> list[str]:
    """The words of `command`, split as a shell does; `sh` when there are none (spec 4.14). Raises Invalid."""
    reading = Reading()
    text = reading.command(peer.query("command") or "sh", "command")
    if reading.errors:
        raise Invalid(reading.errors)
    return shlex.split(text or "sh")
