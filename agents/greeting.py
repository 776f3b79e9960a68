"""Who the engine is and what it ended, asked at first, after each gap in its events, and at each tick.

An engine may come back without anything of ours: its data directory was wiped, or its disk is not mounted (F54). One
before 23 keeps its id outside of that directory, so that neither id nor directory tell. To make everything anew there,
on empty volumes, is what nobody has asked for: so it counts as another engine than it was before.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import structlog

from agents.ledger import Ledger
from agents.observe import engine_time
from agents.runtime.base import ContainerRuntime, Incarnation
from domain.assignment import EngineInfo
from domain.container import Want

log = structlog.get_logger("agent")


async def greet(runtime: ContainerRuntime, ledger: Ledger, lost_at: datetime | None) -> EngineInfo:
    """The engine, after the ledger has noted what it ended. `lost_at`: since when it was missed.

    Raises RuntimeFailed.
    """
    info = replace(await runtime.info(), emptied=ledger.emptied)
    incarnation = await runtime.incarnation()
    life = incarnation.name if incarnation else None
    if ledger.foreign(info):
        before = replace(info, emptied=max(ledger.emptied - 1, 0))
        if not ledger.foreign(before) and await _containers(runtime, ledger):
            # Nothing was made meanwhile: it is what was there before, and its end was noted when it was missed.
            log.warning("the engine has again what was here")
            ledger.emptied -= 1
            ledger.began_anew(life)
        return replace(info, emptied=ledger.emptied)
    known = ledger.incarnation
    if life == known:
        return info
    # What users remove is no emptying: the last look before the engine went away had something of ours there.
    if known is not None and ledger.holds and not await _holds(runtime, ledger):
        log.error("the engine came back without anything that was here: nothing is made before somebody says so")
        ledger.emptied += 1
    if known is not None:
        log.warning("the engine was restarted", version=info.version)
        ledger.ended(_since(incarnation), lost_at)
    ledger.began_anew(life)
    return replace(info, emptied=ledger.emptied)


def _since(incarnation: Incarnation | None) -> datetime | None:
    return engine_time(incarnation.since) if incarnation else None


async def _containers(runtime: ContainerRuntime, ledger: Ledger) -> bool:
    return ledger.cluster_id is not None and bool(await runtime.list_containers(ledger.cluster_id))


async def _holds(runtime: ContainerRuntime, ledger: Ledger) -> bool:
    """Whether it has what could not have come there since: a container of ours, or all the networks, which outlive
    containers that somebody removed. Where nothing is wanted there is nothing to lose."""
    wanted = [each for each in ledger.assignments.values() if each.want is not Want.GONE]
    if ledger.cluster_id is None or not wanted or await _containers(runtime, ledger):
        return True
    there = {str(each["Name"]) for each in await runtime.list_networks(ledger.cluster_id)}
    needed = {attachment.network.name for each in wanted for attachment in each.networks}
    return bool(needed) and needed <= there
