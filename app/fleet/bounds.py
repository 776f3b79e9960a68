"""What a node says, cut to what it can mean: its words are listed with those of others, and counted with theirs.

A node that was let in may still lie (RELIABILITY S26, F52). What it says of its own containers is believed; a text
without end, a number that no engine counts to, or a time that cannot be reckoned with would reach the lists, the
figures and the passes of services that have containers elsewhere too. Nothing is refused for it: an agent says the
newest until it is accepted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from domain.assignment import EngineInfo, ImageResult, NodeReport, Strangers
from domain.container import Observed
from domain.engine_notes import EngineSetup
from domain.image import unusable
from domain.quarantine import SHOWN
from domain.swarm import SwarmReport

MOST_MESSAGE, MOST_WORD = 2000, 200
"""Characters."""

LARGEST = 2**31 - 1
FIRST_YEAR, LAST_YEAR = 2000, 2200


def report(said: NodeReport) -> NodeReport:
    """The report within bounds."""
    return replace(
        said,
        engine=engine(said.engine),
        containers=tuple(replace(each, observed=_observed(each.observed)) for each in said.containers),
        images=tuple(map(_found, said.images)),
        swarm=_swarm(said.swarm),
        strangers=_strangers(said.strangers),
    )


def _found(said: ImageResult) -> ImageResult:
    """An image is kept for as long as its service, and is in each of its containers."""
    why = unusable(said.image) if said.image is not None else None
    if said.image is not None and why is None:
        return ImageResult(request_id=said.request_id, image=said.image)
    return ImageResult(request_id=said.request_id, error=_text(why or said.error, MOST_MESSAGE))


def _strangers(said: Strangers | None) -> Strangers | None:
    """They are shown with the node."""
    if said is None:
        return None
    return Strangers(
        count=_number(said.count),
        owned=_number(said.owned),
        key=_word(said.key),
        names=tuple(_word(name) for name in said.names[:SHOWN]),
    )


def _swarm(said: SwarmReport | None) -> SwarmReport | None:
    """Its reason is shown with the node."""
    if said is None:
        return None
    seen = replace(
        said.seen,
        node=_word(said.seen.node),
        cluster=_word(said.seen.cluster),
        by=_word(said.seen.by),
        error=_text(said.seen.error, MOST_MESSAGE) or "",
    )
    return replace(said, seen=seen)


def engine(said: EngineInfo | None) -> EngineInfo | None:
    """The engine within bounds; None stays None."""
    if said is None:
        return None
    return EngineInfo(
        engine_id=_word(said.engine_id),
        version=_word(said.version),
        storage_driver=_word(said.storage_driver),
        cpus=_number(said.cpus),
        memory=_number(said.memory),
        gateway=_word(said.gateway),
        disk=_number(said.disk),
        disk_free=_number(said.disk_free),
        place=_word(said.place),
        setup=_setup(said.setup),
        emptied=_number(said.emptied),
    )


def _setup(said: EngineSetup | None) -> EngineSetup | None:
    """Notes with these words are shown with the node."""
    if said is None:
        return None
    return replace(
        said,
        runc=_word(said.runc),
        containerd=_word(said.containerd),
        open_api=tuple(_word(address) for address in said.open_api[:SHOWN]),
    )


def _observed(said: Observed) -> Observed:
    return replace(
        said,
        start_gen=_number(said.start_gen),
        engine_id=_text(said.engine_id, MOST_WORD),
        exit_code=None if said.exit_code is None else _number(said.exit_code, low=-LARGEST),
        restart_count=_number(said.restart_count),
        created_at=_moment(said.created_at),
        started_at=_moment(said.started_at),
        finished_at=_moment(said.finished_at),
        ip=_text(said.ip, MOST_WORD),
        message=_text(said.message, MOST_MESSAGE),
    )


def _number(said: int, *, low: int = 0) -> int:
    return min(max(said, low), LARGEST)


def _moment(said: datetime | None) -> datetime | None:
    """A time with its zone, so that it can be compared, and far enough from the ends that it can be added to."""
    if said is None or said.tzinfo is None or not FIRST_YEAR <= said.year <= LAST_YEAR:
        return None
    return said


def _text(said: str | None, most: int) -> str | None:
    """What the record can hold: no NUL, and nothing that is no character."""
    return None if said is None else said[:most].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _word(said: str) -> str:
    return _text(said, MOST_WORD) or ""
