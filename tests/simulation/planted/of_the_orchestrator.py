"""Bugs in the orchestrator."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.commands import services as commands
from app.fleet import polls
from domain import placement
from domain.assignment import SILENT_SECONDS
from domain.container import Seen, Want
from domain.node import NodeState
from orchestrator import apply, dispatch, reconciler, worker
from orchestrator.planning import advance, image, leaving, service
from orchestrator.planning.settled import gone
from orchestrator.planning.steps import FinishOperation, RetireContainer, StopContainer
from orchestrator.store import actions, ports, reports
from orchestrator.store.errors import DatabaseAway

Bug = tuple[str, int | None, tuple[tuple[object, str, object], ...]]

_observe, _replacements, _look_up, _end = reports.observe, advance._replacements, image.look_up, actions.end
_plan, _run, _left_volumes = service.plan_service, commands.run, service._left_volumes
_in_turn, _stop = advance._in_turn, service._stop
_newer = itertools.count(1_000_000)


async def _stale_is_news(conn: Any, said: Any) -> Any:
    return await _observe(conn, [replace(each, seq=next(_newer)) for each in said])


def _silent_is_lost(view: Any, row: Any, policy: Any) -> Any:
    node = next((each for each in view.nodes if each.node_id == row.node_id), None)
    if node is None or node.state is not NodeState.UNREACHABLE or node.last_seen is None:
        return None
    return node.last_seen + timedelta(seconds=SILENT_SECONDS)


def _all_at_once(view: Any, rows: Any, kept: Any, policy: Any) -> Any:
    return _replacements(view, rows, kept, replace(policy, max_unavailable=99))


def _over_is_over(containers: Any) -> Any:
    over = [row for row in containers if gone(row)]
    return over, sorted((row for row in containers if row not in over), key=lambda row: row.slot)


def _image_later(view: Any, policy: Any, *, needed: bool) -> Any:
    ready, steps = _look_up(view, policy, needed=needed)
    if ready is None or view.service.operation is None:
        return ready, steps
    old = [
        RetireContainer(container_id=row.id, name=row.name, cause="planted", keep_volumes=True)
        for row in view.containers
        if row.want is Want.RUN and row.deploy_gen < view.service.deploy_gen
    ]
    return replace(ready, steps=(*ready.steps, *old)), steps


def _gone_take_none(view: Any, *, above: int) -> Any:
    slots = {row.slot for row in view.containers}
    return [step for step in _left_volumes(view, above=above) if getattr(step, "slot", None) not in slots]


async def _first_action_only(conn: Any, ids: Any, state: Any, message: Any, at: Any) -> None:
    await _end(conn, list(ids)[:1], state, message, at)


def _absent_is_gone(view: Any, policy: Any) -> Any:
    away = {node.node_id for node in view.nodes if node.state is NodeState.UNREACHABLE}
    rows = tuple(
        replace(row, seen=replace(row.seen, state=Seen.GONE))
        if row.want is Want.GONE and row.node_id in away and row.seen is not None
        else row
        for row in view.containers
    )
    return _plan(replace(view, containers=rows), policy)


def _whose_turn(view: Any, rows: Any, slot: int, policy: Any) -> bool:
    before = [each for each in view.slots if each < slot] if view.service.spec.sequential_deployment else []
    stopped = {row.slot for row in rows if row.want is Want.STOP}
    return not stopped & set(before) and _in_turn(view, rows, slot, policy)


def _word_is_waited_for(view: Any, rows: Any, leavers: Any, policy: Any) -> Any:
    plan = _stop(view, rows, leavers, policy)
    if not any(isinstance(step, StopContainer) for step in plan.steps):
        return plan
    steps = tuple(step for step in plan.steps if not isinstance(step, FinishOperation))
    return replace(plan, steps=steps, waits_for="planted", requeue_at=None)


async def _no_ports_are_taken(_conn: Any, _wanted: Any) -> Any:
    return {}


def _as_it_was(node: Any, _leaving: Any) -> Any:
    return node


async def _yes(context: Any, service_id: Any, verb: Any) -> Any:
    try:
        return await _run(context, service_id, verb)
    except DatabaseAway:
        return None


def _never(*_: int) -> bool:
    return False


async def _nobody_expires(_db: Any, *, patient: bool = False) -> datetime:
    return datetime.max.replace(tzinfo=UTC)


BUGS: dict[str, Bug] = {
    "a stale report is news": (
        "a report is taken in although a newer one was (sequence numbers)",
        40,
        ((reports, "observe", _stale_is_news),),
    ),
    "gone is over": (
        "a slot is empty once its successor is gone, although who that was to follow still ends (I2a)",
        89,
        ((service, "_over", _over_is_over),),
    ),
    "silent is lost": (
        "the slots of a silent node are filled elsewhere, whoever asked (eager replacement, I2b)",
        27,
        ((leaving, "replaced_at", _silent_is_lost),),
    ),
    "all at once": (
        "a redeployment stops all containers together (I7)",
        76,
        ((advance, "_replacements", _all_at_once),),
    ),
    "the image comes later": (
        "old containers are stopped before the new image is known (I7)",
        68,
        ((advance, "look_up", _image_later),),
    ),
    "joined actions are forgotten": (
        "of the actions that an operation took over only the first ends (I11)",
        3,
        ((actions, "end", _first_action_only),),
    ),
    "absent is gone": (
        "a container on a node that is away is forgotten as soon as it is told to go (I9)",
        90,
        ((reconciler, "plan_service", _absent_is_gone),),
    ),
    "ports are free": (
        "placement does not look at the ports that are taken",
        24,
        ((ports, "ports_taken", _no_ports_are_taken),),
    ),
    "a port is taken by its predecessor": (
        "a successor is not placed where its predecessor frees the port; was in the product until seed 8 found it",
        58,
        ((placement, "vacated", _as_it_was),),
    ),
    "who was stopped has no turn": (
        "in a sequential service a container that a user stopped is waited for; was in the product until seed 64428",
        13,
        ((advance, "_in_turn", _whose_turn),),
    ),
    "who ended is waited for": (
        "a stop waits for word of what ended before it; was in the product until seed 68706 found it",
        5,
        ((service, "_stop", _word_is_waited_for),),
    ),
    "nobody looks without being told": (
        "a lost notification is never made up for (no tick)",
        16,
        ((worker, "TICK_SECONDS", 1e9),),
    ),
    "hosts are only told what is said": (
        "a lost notification of a host's news is never made up for (no look for all)",
        2,
        ((polls, "LOOK_SECONDS", 1e9),),
    ),
    "no answer is a yes": (
        "a request whose transaction failed is accepted (I1, F28)",
        10,
        ((commands, "run", _yes),),
    ),
    "volumes outlive their service": (
        "the volumes of what is gone for good stay on the host (I9)",
        1,
        ((apply, "own_volumes", lambda _: ()), (service, "_left_volumes", lambda *_, **__: [])),
    ),
    "the gone keep their volumes": (
        "what a redeployment kept for a successor stays when the service ends meanwhile (I9)",
        171,
        ((service, "_left_volumes", _gone_take_none),),
    ),
    "all that are silent are lost": (
        "the slots of silent hosts are filled elsewhere although most hosts were silent at once (I2b)",
        816,
        ((leaving, "mass_silence", _never), (dispatch, "mass_silence", _never)),
    ),
    "nobody expires": (
        "a node that is silent counts as there",
        27,
        ((dispatch, "expire", _nobody_expires),),
    ),
}
