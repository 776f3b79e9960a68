"""When a node is left alone until an operator says what is right (RELIABILITY I13, I17, F53, F54). Pure.

Three causes, one mechanism: what the node has and what the record says differ in a way that no user asked for. Doing
nothing can be mended later, removing cannot.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from domain.assignment import EngineInfo, Position, Strangers

FEW = 5
SHARE = 0.2
"""Up to so many containers without an assignment, or that share of what is ours on the node, go without a question."""

SHOWN = 5
"""Names that a question lists."""


class Cause(StrEnum):
    """What differs; the first that holds is the one that is told."""

    ENGINE = "engine-changed"
    RECORD = "record-older"
    STRANGERS = "unassigned-containers"


class Word(StrEnum):
    """What an operator may answer to RECORD and STRANGERS: what nothing asks for goes, or stays as it is."""

    REMOVE = "remove"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Why the node is left alone, for people, and what helps. `key`: what exactly an answer would be about."""

    cause: Cause
    reason: str
    remedy: str
    key: str

    @property
    def closed(self) -> bool:
        """Whether the node takes no new containers either."""
        return self.cause is not Cause.STRANGERS


def identity(engine: EngineInfo | None) -> str:
    """Which engine it is: its own id, its data directory, and how often that was found emptied. Empty when it is not
    known.

    Not the host's name, which `place` begins with: a host may be renamed.
    """
    if engine is None:
        return ""
    return f"{engine.engine_id}:{engine.place.partition(':')[2]}" + (f"#{engine.emptied}" if engine.emptied else "")


def accepts(accepted: str, engine: EngineInfo) -> bool:
    """Whether this is the engine of that identity. One that was found emptied less often is: who counted may have lost
    the count with its ledger."""
    (known, most), (found, count) = _counted(accepted), _counted(identity(engine))
    return known == found and count <= most


def _counted(engine: str) -> tuple[str, int]:
    """An identity without its count, and the count."""
    base, _, count = engine.rpartition("#")
    return (base, int(count)) if base and count.isdigit() else (engine, 0)


def too_many(strangers: int, owned: int) -> bool:
    """Whether so many containers without an assignment may go without a question (I13)."""
    return strangers > max(FEW, SHARE * owned)


def contained(seen: Position, *, now: Position, restored: Position | None) -> bool:
    """Whether the record has all that the agent was ever told.

    `now`: where the record is. `restored`: where it was when it was last restored from a backup; what was told in
    that line up to there is in it. None: it never was.
    """
    if seen.lineage == now.lineage:
        return seen.revision <= now.revision
    return restored is not None and seen.lineage == restored.lineage and seen.revision <= restored.revision


def answer(word: Word, key: str) -> str:
    """An operator's word as it is stored and told. It counts for exactly what `key` names."""
    return f"{word.value} {key}"


def answered(said: str, key: str) -> Word | None:
    """The word in what was said, if it is about `key`."""
    for word in Word:
        if said == answer(word, key):
            return word
    return None


def position_key(seen: Position) -> str:
    """The key of a question about an older record."""
    return f"{seen.lineage}/{seen.revision}"


def quarantine(
    name: str, *, accepted: str, engine: EngineInfo | None, ahead: Position | None, strangers: Strangers | None
) -> Quarantine | None:
    """Why the node of that name is left alone; None when it is not.

    `accepted`: the identity of the engine that it joined with, or that an operator has accepted since. `ahead`: what
    its agent was told by a newer record than this one. `strangers`: what its agent asks about.
    """
    well = not accepted or engine is None or accepts(accepted, engine)
    if not well and _counted(identity(engine))[0] == _counted(accepted)[0]:
        return Quarantine(
            cause=Cause.ENGINE,
            reason=(
                f"the Docker engine of node {name} came back without anything of what Tutela had there: its data"
                " directory was wiped, or its disk is not mounted. Nothing is made or removed there, and what is shown"
                " of its containers is out of date"
            ),
            remedy=(
                "mount its disk and start Docker there again; or, when what was on it is lost, have its containers made"
                f" anew, on empty volumes: ./tutela node accept-engine {name}"
            ),
            key=identity(engine),
        )
    if not well:
        return Quarantine(
            cause=Cause.ENGINE,
            reason=(
                f"node {name} has another Docker engine, or another data directory, than it joined with (now"
                f" {_short(identity(engine))}, was {_short(accepted)}): nothing is made or removed there, and what is"
                " shown of its containers is out of date"
            ),
            remedy=(
                "bring the old engine back; or, when it will not come back, have its containers made anew on this one:"
                f" ./tutela node accept-engine {name}"
            ),
            key=identity(engine),
        )
    if ahead is not None:
        return Quarantine(
            cause=Cause.RECORD,
            reason=(
                f"node {name} was told more than this record knows (revision {ahead.revision} of line"
                f" {str(ahead.lineage)[:8]}): the database was restored from a backup. It goes on with what it was told"
                " last; nothing that is newer than the backup is removed"
            ),
            remedy=(
                f"restore a newer backup; or go on with this one: ./tutela node release {name} removes what the record"
                f" does not know, ./tutela node keep {name} leaves it running, without Tutela"
            ),
            key=position_key(ahead),
        )
    if strangers is not None:
        more = f", and {strangers.count - len(strangers.names)} more" if strangers.count > len(strangers.names) else ""
        return Quarantine(
            cause=Cause.STRANGERS,
            reason=(
                f"{strangers.count} of {strangers.owned} containers on node {name} are Tutela's, but nothing asks for"
                f" them, and no user had them removed ({', '.join(strangers.names)}{more}): they are left as they are"
            ),
            remedy=(
                f"find out why; then ./tutela node release {name} to have them removed, or ./tutela node keep {name} to"
                " leave them running, without Tutela"
            ),
            key=strangers.key,
        )
    return None


def shown_names(names: Collection[str]) -> tuple[str, ...]:
    """The first few of them, for people."""
    return tuple(sorted(names)[:SHOWN])


def _short(engine: str) -> str:
    """An engine's id is long; its data directory is what people know."""
    ident, _, place = _counted(engine)[0].rpartition(":")
    return f"{ident[:14]} in {place}" if place else ident[:14]
