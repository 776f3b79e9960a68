"""Bugs in agents."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from agents import agent, crashes, executor, ledger, memory, observe, planning, session
from agents.fencing import Fence
from agents.steps import StartContainer, StopContainer
from agents.view import EngineView
from domain.container import Observed, Seen, Want

Bug = tuple[str, int | None, tuple[tuple[object, str, object], ...]]

_reported, _plan, _after, _observed = observe.reported, planning.plan_node, memory.after, memory.observed
_perform = executor.Executor._perform
_lost = memory.engine_lost
_seen, _accept = observe.observed_container, ledger.Ledger.accept


def _gone_at_once(assignment: Any, seen: Any, known: Any, *, gone: bool) -> Any:
    if assignment.want is Want.GONE:
        return Observed(state=Seen.GONE, start_gen=known.start_gen)
    return _reported(assignment, seen, known, gone=gone)


def _always_complete(*args: Any, **named: Any) -> Any:
    return _plan(*args, **{**named, "complete": True})


def _quiet_is_carried_out(before: Any, result: Any, order: int) -> Any:
    known = _after(before, result, order)
    if result.ok and isinstance(result.step, StartContainer):
        return replace(known, start_gen=max(known.start_gen, order), intent=None)
    return known


def _running_is_obeyed(before: Any, assignment: Any, seen: Any) -> Any:
    return replace(_observed(replace(before, stopped_run=None), assignment, seen), stopped_run=before.stopped_run)


async def _stop_is_sent(of: Any, step: Any, work: Any, cluster_id: Any) -> None:
    if not isinstance(step, StopContainer):
        return await _perform(of, step, work, cluster_id)
    stop = asyncio.create_task(_perform(of, step, work, cluster_id))
    stop.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    await asyncio.wait({stop}, timeout=0.5)


def _every_order_is_old(before: Any, assignment: Any, seen: Any) -> Any:
    return replace(_observed(before, assignment, seen), start_gen=assignment.start_gen)


def _open_at_first(of: Any) -> Fence:
    return Fence.SHUT if of.lease.lost or of._fence is Fence.SHUT else Fence.OPEN


def _only_runs_are_lost(before: Any, since: Any, lost_at: Any) -> Any:
    return before if before.run is None else _lost(before, since, lost_at)


def _on_all_along(before: Any, assignment: Any, seen: Any) -> Any:
    away = before.interrupted
    if away is not None and away.run is None and seen is not None and seen.started_at is not None:
        before = replace(before, interrupted=replace(away, run=seen.started_at))
    return _observed(before, assignment, seen)


def _nothing_before(before: Any, assignment: Any, seen: Any) -> Any:
    return replace(_observed(before, assignment, seen), over=None)


def _code_zero(assignment: Any, seen: Any, known: Any, *, gone: bool) -> Any:
    told = _reported(assignment, seen, known, gone=gone)
    return told and replace(told, exit_code=None if told.exit_code is None else 0)


def _all_answer(**view: Any) -> Any:
    return EngineView(**{**view, "unknown": frozenset()})


def _policy_unknown(*args: Any) -> Any:
    seen = _seen(*args)
    return seen and replace(seen, restart_policy="unknown")


def _a_change_is_all(open_ledger: Any, news: Any) -> bool:
    return _accept(open_ledger, replace(news, base=0) if news.containers else news)


async def _unwritten(_ledger: Any, _path: Any, _content: Any) -> None:
    return None


def _never_mended(*_args: Any, **_named: Any) -> None:
    return None


BUGS: dict[str, Bug] = {
    "gone without proof": (
        "a container counts as gone as soon as it is told to go (no tombstone)",
        44,
        ((agent, "reported", _gone_at_once),),
    ),
    "policy kept at a stop": (
        "the engine's restart policy is not cleared before a stop (E5)",
        3,
        ((planning, "_quieten", lambda *_: []),),
    ),
    "a quiet start is a start": (
        "a stop is not waited for, and what runs in its grace has obeyed the order to start (304, E10)",
        30,
        (
            (executor.Executor, "_perform", _stop_is_sent),
            (memory, "after", _quiet_is_carried_out),
            (memory, "observed", _running_is_obeyed),
        ),
    ),
    "orders are not compared": (
        "every order to start counts as carried out (generations)",
        242,
        ((memory, "observed", _every_order_is_old),),
    ),
    "an empty ledger is the truth": (
        "what is not in a ledger that never held a full set is removed (F9)",
        14,
        ((agent, "plan_node", _always_complete),),
    ),
    "the lease is ignored": (
        "single_writer containers go on without the control plane (I2b)",
        308,
        ((session.Session, "fence", property(lambda _: Fence.OPEN)),),
    ),
    "a new agent starts without a lease": (
        "what does not run is begun before a first lease is held (I2b)",
        768,
        ((session.Session, "fence", property(_open_at_first)),),
    ),
    "orphans are kept": (
        "what nobody wants stays on the engine (I5)",
        97,
        ((planning, "_orphans", lambda *_: planning._Line()),),
    ),
    "networks are kept": (
        "networks stay when their last container went (I9)",
        1,
        ((planning, "unneeded", lambda *_, **__: ([], None)),),
    ),
    "the engine's doing is the container's own": (
        "what an engine ended at its start, or a power cut, is left as a container that ended by itself (I4)",
        5,
        ((planning, "interrupted", lambda *_: False), (crashes, "interrupted", lambda *_: False)),
    ),
    "only what was seen to run was on": (
        "a run that was being started when its engine went away is left as one that ended by itself (I4)",
        680,
        ((memory, "engine_lost", _only_runs_are_lost),),
    ),
    "every run was on": (
        "a run that came after its engine's return counts as interrupted when it ends (I12)",
        28202,
        ((memory, "observed", _on_all_along),),
    ),
    "what ended before its engine ended by itself": (
        "an engine that is told to end answers while it stops its containers (E34)",
        680,
        ((memory, "observed", _nothing_before),),
    ),
    "every end is a good end": (
        "exit codes are not told (I10)",
        10,
        ((agent, "reported", _code_zero),),
    ),
    "who does not answer is not there": (
        "a container whose inspection takes too long counts as gone (I2a, E8)",
        739,
        ((observe, "EngineView", _all_answer),),
    ),
    "what is as wanted is set again": (
        "policies are set although they are as they should be (I12)",
        3,
        ((observe, "observed_container", _policy_unknown),),
    ),
    "a change is all there is": (
        "what is not in a change of the assignment is not wanted any more (I3)",
        1,
        ((ledger.Ledger, "accept", _a_change_is_all),),
    ),
    "nothing is saved": (
        "what is about to be done is not on the disk before",
        198,
        ((ledger.Ledger, "_write", _unwritten),),
    ),
    "events are all there is": (
        "an agent never looks at everything anew (E25)",
        550,
        ((agent, "RESYNC_SECONDS", 1e9), (observe.Observer, "forget", _never_mended)),
    ),
    "a successor does not wait": (
        "what follows another container on its node is started before that has ended (I2a)",
        11,
        ((planning, "in_turn", lambda lines, *_: list(lines.values())),),
    ),
    "a stop for want of a lease is for good": (
        "what was stopped for want of a lease is not started again when the lease is back",
        49,
        ((planning, "gave_way", lambda *_: False), (crashes, "gave_way", lambda *_: False)),
    ),
}
