"""The decision about one service: from what is wanted and what is seen to the next steps.

Order of thought (DESIGN 3.4): forget what is confirmed gone, retire what is too much, replace what is
outdated, start what is to be started, fill empty slots, end the operation when all is settled. A slot is
empty only when its previous container is confirmed gone: that is what keeps a slot from running twice.

Slots are filled while an operation is under way, and when a container was taken away to be replaced; one that
a user or a policy took away for good stays away until somebody asks again (spec 2.15, 2.18).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from domain.container import Container, Want
from domain.placement import vacate
from domain.service import ServiceWant, usable_image
from domain.spec import CrashPolicy, Strategy
from orchestrator.planning.advance import advance, fill
from orchestrator.planning.leaving import leave
from orchestrator.planning.render import attachments
from orchestrator.planning.rest import forget, judge_orders, policies
from orchestrator.planning.settled import at_rest, gone
from orchestrator.planning.slots import wanted_slots
from orchestrator.planning.steps import (
    AdjustContainer,
    BeginQueued,
    CloseService,
    FinishOperation,
    FollowNodes,
    LeaveSlot,
    Plan,
    RetireContainer,
    StartOnNodes,
    Step,
    StopContainer,
    TakeVolumes,
    waiting,
)
from orchestrator.planning.view import Policy, ServiceView, fleet


def plan_service(view: ServiceView, policy: Policy) -> Plan:
    """The next steps for the service; planning again over the applied rows gives no further ones."""
    view = replace(view, slots=wanted_slots(view))
    over, left = _over(view.containers)
    leavers = [row for row in left if row.leaving]
    # A definition whose image nobody looked up, since its deployment failed, fills nothing before the next operation.
    fills = view.service.want is ServiceWant.RUNNING and (view.service.operation or usable_image(view.service))
    rows = [row for row in left if not row.leaving]
    # One that was to be followed is not where its own predecessor has the slot again: a drain was given up.
    empty = set(view.slots) - {row.slot for row in rows}
    refilled = [row for row in [*over, *leavers] if fills and row.refill and row.slot in empty]
    over = [row for row in over if row not in refilled]
    # What they held is free for whoever is placed by this plan: they are forgotten first.
    view = replace(view, nodes=vacate(view.nodes, *_freed([*over, *leavers], over, rows)))
    steps = forget(over)
    orders, looking = judge_orders([*rows, *refilled], policy, view.now)
    plan = _want(view, rows, leavers, refilled, policy)
    plan = replace(plan, steps=(*steps, *orders, *plan.steps))
    if {row.slot for row in over} & {row.slot for row in leavers if row.want is Want.RUN}:
        looking = view.now  # one that had left its slot may have it again, once this one is forgotten
    return _requeued(plan, looking)


def _over(containers: Sequence[Container]) -> tuple[list[Container], list[Container]]:
    """Those that are gone for good, and all others by slot. A successor that was made beside its predecessor, and is
    gone before it ever ran, holds their slot until both are: nobody may have it while the other ends.
    """
    staying = {row.id for row in containers if not gone(row)}
    began = {row.id for row in containers if row.seen is not None and row.seen.started_at is not None}
    left = [row for row in containers if row.id in staying or (row.follows in staying and row.id not in began)]
    holding = {row.id for row in left}
    return [row for row in containers if row.id not in holding], sorted(left, key=lambda row: row.slot)


def _freed(leaving: Sequence[Container], over: Sequence[Container], rows: Sequence[Container]) -> list[Container]:
    """Of those on their way out whose place is free: who is gone, and who has a successor beside it, since what both
    reserve counts once. That has its ports, whoever of them is still there.
    """
    followed, gone_for_good = {row.follows for row in rows if row.follows}, {row.id for row in over}
    return [
        replace(row, spec=replace(row.spec, ports=())) if row.id in followed else row
        for row in leaving
        if row.id in followed or row.id in gone_for_good
    ]


def _want(
    view: ServiceView,
    rows: Sequence[Container],
    leavers: Sequence[Container],
    refilled: Sequence[Container],
    policy: Policy,
) -> Plan:
    service, operation = view.service, view.service.operation
    if service.queued and (operation is None or service.want is ServiceWant.TERMINATED):
        # On a dying service it is refused, which ends its action.
        begin = BeginQueued(cause="its turn has come")
        return Plan(steps=(begin,), waits_for="a queued call is begun", requeue_at=view.now)
    if operation is not None and view.behind:
        if view.now >= operation.since + policy.deadline:
            # What is wanted stays so, and nobody is waited for any more.
            over = _overdue(view, policy, f"{', '.join(view.behind)} did not finish first")
            return Plan(steps=(over,), requeue_at=view.now)
        return Plan(waits_for=f"{', '.join(view.behind)} to finish first", requeue_at=view.now + policy.queue_retry)
    match service.want:
        case ServiceWant.INIT:
            return Plan()
        case ServiceWant.TERMINATED:
            return _terminate(view, [*rows, *leavers])
        case ServiceWant.STOPPED:
            return _stop(view, rows, leavers, policy)
        case ServiceWant.RUNNING:
            return _run(view, rows, leavers, refilled, policy)
        case _:
            assert_never(service.want)


def _requeued(plan: Plan, at: datetime | None) -> Plan:
    if at is None:
        return plan
    return replace(plan, requeue_at=at if plan.requeue_at is None else min(at, plan.requeue_at))


def _terminate(view: ServiceView, rows: Sequence[Container]) -> Plan:
    left = _left_volumes(view, above=0)
    if left:
        return Plan(steps=(*_retire(rows, "the service is terminated"), *left), waits_for="its volumes to be removed")
    if not rows:
        if view.service.destroyed_at is not None:
            return Plan()
        cause = "its last container is gone"
        done: list[Step] = [FinishOperation(success=True, message=None, cause=cause)] if view.service.operation else []
        return Plan(steps=(*done, CloseService(cause=cause)))
    return Plan(steps=tuple(_retire(rows, "the service is terminated")), waits_for=waiting(rows, "to be removed"))


def _stop(view: ServiceView, rows: Sequence[Container], leavers: Sequence[Container], policy: Policy) -> Plan:
    steps: list[Step] = [*_excess(view, rows), *leave(view, rows, leavers, policy).steps]
    going = {step.container_id for step in steps if isinstance(step, RetireContainer)}
    kept = [row for row in rows if row.slot in view.slots and row.want is not Want.GONE and row.id not in going]
    steps += [
        StopContainer(container_id=row.id, name=row.name, cause="the service is stopped")
        for row in kept
        if row.want is Want.RUN
    ]
    steps += _adjustments(view, kept)
    # What ended before it could be stopped is stopped: its agent says nothing more of it that would bring another look.
    running = [row for row in [*rows, *leavers] if not at_rest(row)]
    if view.service.operation is None:
        return Plan(steps=tuple(steps))
    if not running:
        steps.append(FinishOperation(success=True, message=None, cause="all containers are stopped"))
        return Plan(steps=tuple(steps), requeue_at=_next(view))
    return Plan(steps=tuple(steps), waits_for=waiting(running, "to stop"))


def _run(
    view: ServiceView,
    rows: Sequence[Container],
    leavers: Sequence[Container],
    refilled: Sequence[Container],
    policy: Policy,
) -> Plan:
    service, operation = view.service, view.service.operation
    every = service.spec.deployment_strategy is Strategy.EVERY_NODE
    steps: list[Step] = []
    # A node that goes and comes back is no reason to look again for an image that was not found.
    unknown = operation is None and not view.containers and usable_image(service) is None
    if every and service.target != len(view.slots) and not (unknown and len(view.slots) < service.target):
        steps.append(FollowNodes(target=len(view.slots), cause="it has one container on every node that matches"))
    steps += _excess(view, rows)
    moved = leave(view, rows, leavers, policy)
    if moved.steps:
        steps += [*moved.steps, *_after(view, rows, moved.steps, policy)]
        return Plan(steps=tuple(steps), waits_for="its containers leave a node", requeue_at=view.now)
    retry = view.now + policy.blocked_retry if moved.stuck else None
    due = min((each for each in (moved.due, retry) if each is not None), default=None)
    kept = [row for row in rows if row.slot in view.slots and row.want is not Want.GONE]
    steps += _adjustments(view, kept)
    if every and unknown and len(view.slots) > service.target:
        steps.append(StartOnNodes(cause="a node matches it, and its image was not looked up"))
        return Plan(steps=tuple(steps), waits_for="it is started on its nodes", requeue_at=view.now)
    if operation is None:
        steps += policies(view, kept, policy)
        slots = view.slots if every and usable_image(service) else [row.slot for row in refilled]
        filling, unplaced = fill(view, rows, refilled, slots, policy)
        later = view.now + policy.blocked_retry if unplaced else None
        why = "; ".join(each for each in (unplaced, moved.stuck) if each) or None
        return _requeued(Plan(steps=(*steps, *filling), waits_for=why, requeue_at=later), due)
    deadline = operation.since + policy.deadline
    plan = advance(view, rows, kept, refilled, policy)
    plan = replace(plan, steps=(*steps, *plan.steps))
    if plan.waits_for is None:
        # What was left to crash policies and to waiting calls while it was under way comes next.
        return _requeued(replace(plan, requeue_at=_next(view)), due)
    if view.now >= deadline:
        return _requeued(Plan(steps=(*steps, _overdue(view, policy, plan.waits_for)), requeue_at=_next(view)), due)
    # A node's return wakes who waits; the retry covers a pass that read the nodes just before it (DESIGN 3.4).
    blocked = not (any(node.open for node in view.nodes) or any(node.open for node in fleet(view)))
    later = min(deadline, view.now + policy.blocked_retry) if blocked else deadline
    return _requeued(replace(plan, requeue_at=min(later, plan.requeue_at or later)), due)


def _after(view: ServiceView, rows: Sequence[Container], moved: Sequence[Step], policy: Policy) -> list[Step]:
    """The successors of those that leave their slots, at once: of many services that lose a node none gives up a slot
    for room that another takes.
    """
    leaving = {step.container_id: step.want for step in moved if isinstance(step, LeaveSlot)}
    left = [replace(row, leaving=True, want=leaving[row.id], refill=True) for row in rows if row.id in leaving]
    staying = [row for row in rows if row.id not in leaving]
    return fill(view, staying, left, [row.slot for row in left], policy)[0] if left else []


def _overdue(view: ServiceView, policy: Policy, what: str) -> FinishOperation:
    message = f"gave up after {int(policy.deadline.total_seconds() // 60)} minutes: {what}"
    return FinishOperation(success=False, message=message, cause="its deadline has passed")


def _next(view: ServiceView) -> datetime | None:
    """When to look again after an operation ended: at once if something waited for that."""
    service = view.service
    waited = service.queued or not (service.spec.autoreplace is service.spec.autodestroy is CrashPolicy.OFF)
    waited = waited or service.spec.deployment_strategy is Strategy.EVERY_NODE  # it fills its slots at rest as well
    return view.now if waited or any(row.refill for row in view.containers) else None


def _excess(view: ServiceView, rows: Sequence[Container]) -> list[Step]:
    over = [row for row in rows if row.slot not in view.slots]
    every = view.service.spec.deployment_strategy is Strategy.EVERY_NODE
    cause = "its node is none of the service's" if every else f"its slot is above the target of {view.service.target}"
    left = [] if every else _left_volumes(view, above=view.service.target)
    return [*_retire(over, cause), *left]


def _left_volumes(view: ServiceView, *, above: int) -> list[Step]:
    """Volumes of slots that are no longer wanted and have no container to take them along; one that is gone by now was
    to leave them to its successor.
    """
    occupied = {row.slot for row in view.containers if not gone(row)}
    return [
        TakeVolumes(slot=slot, node_id=node, cause="nothing will use them")
        for slot, node in sorted(view.pinned.items())
        if slot > above and slot not in occupied
    ]


def _retire(rows: Sequence[Container], cause: str) -> list[Step]:
    return [
        RetireContainer(container_id=row.id, name=row.name, cause=cause)
        for row in sorted(rows, key=lambda row: -row.slot)
        if row.want is not Want.GONE
    ]


def _adjustments(view: ServiceView, kept: Sequence[Container]) -> list[Step]:
    """What a change of links or of a crash policy means for the containers that stay."""
    spec = view.service.spec
    steps: list[Step] = []
    for row in kept:
        networks = attachments(view, row.name, row.slot, row.node_id) if not row.spec.host_network else ()
        if (row.networks, row.autorestart, row.autoreplace) != (networks, spec.autorestart, spec.autoreplace):
            steps.append(
                AdjustContainer(
                    container_id=row.id,
                    name=row.name,
                    networks=networks,
                    autorestart=spec.autorestart,
                    autoreplace=spec.autoreplace,
                    cause="links or crash policies of the service changed",
                )
            )
    return steps
