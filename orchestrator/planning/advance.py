"""The moves of a start, a scaling and a redeployment: image, replacements, starts, new containers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from domain.container import Container, Seen, Want
from domain.placement import Room, place, vacate
from domain.service import Verb
from domain.spec import digest
from orchestrator.planning.image import look_up
from orchestrator.planning.settled import Outcome, at_rest, complaint, gone, outcome, serving, settling
from orchestrator.planning.slots import lacking, without_volumes
from orchestrator.planning.steps import (
    CreateContainer,
    FinishOperation,
    ForgetContainer,
    LeaveSlot,
    Plan,
    RetireContainer,
    StartContainer,
    Step,
    waiting,
)
from orchestrator.planning.view import Policy, ServiceView, fleet


def advance(
    view: ServiceView,
    rows: Sequence[Container],
    kept: Sequence[Container],
    refilled: Sequence[Container],
    policy: Policy,
) -> Plan:
    """One move of a start, scaling or redeployment. `refilled`: gone containers whose slots get a successor."""
    ready, image_steps = look_up(view, policy, needed=len(kept) < len(view.slots) or _outdated(view, kept) != [])
    if ready is not None:
        return ready
    judged = [row for row in kept if _judged(view, row) and not _to_start(view, row)]
    failed = [row for row in judged if outcome(row, view, policy) is Outcome.FAILED]
    halted = bool(failed) and (view.service.spec.sequential_deployment or _rolling(view))
    steps: list[Step] = list(image_steps)
    unplaced: str | None = None
    if not halted:
        outgoing, unplaced = _replacements(view, rows, kept, policy)
        going = {step.container_id for step in outgoing if not isinstance(step, CreateContainer)}
        steps += outgoing
        steps += _starts(view, [row for row in kept if row.id not in going], policy)
        creations, no_room = fill(view, rows, refilled, view.slots, policy)
        steps += creations
        unplaced = no_room or unplaced
    if len(steps) > len(image_steps):
        return Plan(steps=tuple(steps), waits_for="its containers are being changed")
    open_rows = [row for row in rows if row.want is Want.GONE or row.slot not in view.slots]
    open_rows += [row for row in judged if row.want is Want.RUN and outcome(row, view, policy) is Outcome.WAITING]
    if _rolling(view) and not halted and unplaced is None:
        open_rows += _outdated(view, kept)
    if open_rows:
        return Plan(steps=tuple(steps), waits_for=waiting(open_rows, "to settle"))
    if unplaced and lacking(view):
        return Plan(steps=tuple(steps), waits_for=unplaced, requeue_at=view.now + policy.blocked_retry)
    if unplaced and not any(node.open for node in fleet(view)):
        return Plan(steps=tuple(steps), waits_for=unplaced)
    problems = [complaint(row) for row in failed] + ([unplaced] if unplaced else [])
    message = "; ".join(problems) or None
    cause = "not all containers could be started" if problems else "all containers are as wanted"
    return Plan(steps=(*steps, FinishOperation(success=not problems, message=message, cause=cause)))


def _rolling(view: ServiceView) -> bool:
    return view.service.operation is not None and view.service.operation.verb is Verb.REDEPLOY


def _judged(view: ServiceView, row: Container) -> bool:
    """Whether the operation answers for this container: a redeployment only for those of its generation."""
    return not _rolling(view) or row.deploy_gen == view.service.deploy_gen


def _outdated(view: ServiceView, kept: Sequence[Container]) -> list[Container]:
    """A redeployment replaces older generations; a start only what does not run and has another definition."""
    if _rolling(view):
        return [row for row in kept if row.deploy_gen < view.service.deploy_gen]
    if view.service.operation is not None and view.service.operation.verb is Verb.START:
        wanted = digest(view.service.spec)
        return [row for row in kept if row.made_from != wanted and at_rest(row) and _to_start(view, row)]
    return []


def _replacements(
    view: ServiceView, rows: Sequence[Container], kept: Sequence[Container], policy: Policy
) -> tuple[list[RetireContainer | LeaveSlot | CreateContainer], str | None]:
    """Replace what is outdated: all that serves nobody, and of the rest as many as may be missed at a time.

    What serves stays where nothing can take its successor (I7). The sentence says why, when nothing is retired: what
    is retired is waited for first.
    """
    outdated = _outdated(view, kept)
    idle = [row for row in outdated if not serving(row)]
    settled = {row.id for row in kept if _judged(view, row) and outcome(row, view, policy) is Outcome.DONE}
    counted = [row for row in kept if row.id in settled or (serving(row) and not settling(row, view))]
    missed = len(view.slots) - len(counted)
    budget = max(0, policy.max_unavailable - missed)
    room = Room(view.service.spec, fleet(view) if len(idle) < len(outdated) else ())
    busy, stuck = _replaceable(view, room, [row for row in outdated if serving(row)], budget)
    chosen = sorted([*idle, *busy], key=lambda row: row.slot)
    why: str | None = None
    if stuck is not None and not chosen:
        reason = without_volumes(view, stuck.slot)
        reason = reason or place(view.service.spec, vacate(fleet(view), stuck), only=view.slots.get(stuck.slot)).reason
        why = f"slot {stuck.slot}: {reason}"
    steps: list[RetireContainer | LeaveSlot | CreateContainer] = []
    for row in chosen:
        beside = row in busy and _in_turn(view, rows, row.slot, policy)
        steps += (_beside(view, room, row) if beside else []) or [_retired(view, row)]
    return steps, why


OUTDATED = "it is of an older definition or deployment"


def _retired(view: ServiceView, row: Container) -> RetireContainer:
    reuse = view.service.operation is None or view.service.operation.reuse_volumes
    return RetireContainer(container_id=row.id, name=row.name, cause=OUTDATED, keep_volumes=reuse)


def _beside(view: ServiceView, room: Room, row: Container) -> list[LeaveSlot | CreateContainer]:
    """The successor is made at once, where the container's own node is to have it: its agent starts it when the other
    has ended (decision 29). Nothing, where a new volume has to have the old one's name, or two may never run at once.
    """
    spec, operation = view.service.spec, view.service.operation
    new_volumes = operation is not None and not operation.reuse_volumes and bool(row.spec.mounts)
    if new_volumes or spec.single_writer or row.spec.single_writer:
        return []
    room.vacate(row)
    found = room.place(only=view.slots.get(row.slot))
    if found.node_id != row.node_id:
        return []
    room.occupy(row.node_id)
    return [
        LeaveSlot(container_id=row.id, name=row.name, want=Want.GONE, cause=OUTDATED),
        CreateContainer(
            slot=row.slot,
            node_id=row.node_id,
            cause=f"{row.name} is replaced",
            successor_of=row.id,
            follows=True,
            verdicts=found.verdicts,
        ),
    ]


def _replaceable(
    view: ServiceView, room: Room, rows: Sequence[Container], budget: int
) -> tuple[list[Container], Container | None]:
    """The first of the rows whose successors find a node, at most `budget`, and the first whose does not, if there is
    none of the others. The nodes are judged once for all rows.
    """
    found: list[Container] = []
    stuck: Container | None = None
    for row in rows:
        if without_volumes(view, row.slot) or not room.takes_after(row, only=view.slots.get(row.slot)):
            stuck = stuck or row
        elif len(found) < budget:
            found.append(row)
        if len(found) == budget and (found or stuck):
            break
    return found, stuck


def _to_start(view: ServiceView, row: Container) -> bool:
    """Whether the operation orders this container to start: it is stopped, or ended under an earlier order."""
    operation = view.service.operation
    if operation is None or operation.verb not in {Verb.START, Verb.REDEPLOY}:
        return False
    if row.want is Want.STOP:
        return True
    ended = row.seen is not None and row.seen.state in {Seen.EXITED, Seen.FAILED}
    return ended and row.start_gen < view.service.start_gen


def _starts(view: ServiceView, kept: Sequence[Container], policy: Policy) -> list[Step]:
    steps: list[Step] = []
    for row in kept:
        if _to_start(view, row) and _in_turn(view, kept, row.slot, policy):
            steps.append(StartContainer(container_id=row.id, name=row.name, cause="the service is started"))
    return steps


def fill(
    view: ServiceView,
    rows: Sequence[Container],
    refilled: Sequence[Container],
    slots: Iterable[int],
    policy: Policy,
) -> tuple[list[Step], str | None]:
    """Containers for those of the slots that are empty, and why one could not be placed."""
    occupied = {row.slot for row in rows}
    before = {row.slot: row for row in refilled}
    empty, steps = sorted(set(slots) - occupied), list[Step]()
    room, unplaced = Room(view.service.spec, fleet(view) if empty else ()), None
    for slot in empty:
        heir = before.get(slot)
        if heir is None and not _in_turn(view, rows, slot, policy):
            break
        why = without_volumes(view, slot)
        if why is not None:
            unplaced = unplaced or f"slot {slot}: {why}"
            if view.service.spec.sequential_deployment:
                break
            continue
        # One that left its node for its silence may run there; what it held is free once it is confirmed gone.
        replaced = heir is not None and not (heir.leaving and not gone(heir))
        if heir is not None and replaced:
            room.vacate(heir)
        placement = room.place(only=view.slots.get(slot))
        if placement.node_id is None:
            unplaced = unplaced or f"slot {slot}: {placement.reason}"
            if view.slots.get(slot) is None or view.service.spec.sequential_deployment:
                break
            continue  # this one is bound to its own node, and the next ones to theirs
        if heir is not None and replaced:
            steps.append(ForgetContainer(container_id=heir.id, name=heir.name, cause="its successor takes its slot"))
        steps.append(
            CreateContainer(
                slot=slot,
                node_id=placement.node_id,
                cause=f"slot {slot} is empty",
                successor_of=heir.id if heir else None,
                verdicts=placement.verdicts,
            )
        )
        room.occupy(placement.node_id)
        if view.service.spec.sequential_deployment:
            break
    return steps, unplaced


def _in_turn(view: ServiceView, rows: Sequence[Container], slot: int, policy: Policy) -> bool:
    """In a sequential service a container waits until those of all slots before it run (spec 2.19), but for one that a
    user has stopped and that the operation leaves so. On every node there may be no slot of a number: its node is
    drained or gone.
    """
    if not view.service.spec.sequential_deployment:
        return True
    there = {row.slot: row for row in rows}

    def passed(row: Container) -> bool:
        if row.want is Want.STOP:
            return not _to_start(view, row)
        return row.want is Want.RUN and outcome(row, view, policy) is Outcome.DONE

    return all(before in there and passed(there[before]) for before in view.slots if before < slot)
