"""An engine that came back without anything of ours: its data directory was wiped, or its disk is not mounted (F54).

An engine before 23 keeps its id outside of that directory, so that neither id nor directory tell. To make everything
anew there, on empty volumes, is what nobody has asked for: so it counts as another engine than it was before.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from agents.ledger import Ledger
from agents.runtime.base import ContainerRuntime
from domain.assignment import EngineInfo

log = structlog.get_logger("agent")


async def recognized(runtime: ContainerRuntime, ledger: Ledger, info: EngineInfo, life: str | None) -> EngineInfo:
    """The engine, with how often it was found emptied. `life`: its present one, other than the ledger's when it was
    started since. Raises RuntimeFailed.

    What users remove is no emptying: the last look before the engine went away had something of ours there.
    """
    info = replace(info, emptied=ledger.emptied)
    if ledger.cluster_id is None or ledger.incarnation in {None, life}:
        return info
    before = replace(info, emptied=max(ledger.emptied - 1, 0))
    if not ledger.foreign(info):
        if ledger.holds and not await _holds(runtime, ledger):
            log.error("the engine came back without anything that was here: nothing is made before somebody says so")
            ledger.emptied += 1
    elif ledger.emptied and not ledger.foreign(before) and await _holds(runtime, ledger):
        # Nothing was made meanwhile: it is what was there before.
        log.warning("the engine has again what was here")
        ledger.emptied -= 1
    return replace(info, emptied=ledger.emptied)


async def _holds(runtime: ContainerRuntime, ledger: Ledger) -> bool:
    """Whether it has anything of ours. Networks outlive containers that somebody removed."""
    if ledger.cluster_id is None:
        return False
    return bool(await runtime.list_containers(ledger.cluster_id) or await runtime.list_networks(ledger.cluster_id))
