"""The decision about one service: from what is wanted and what is seen to the next steps.

Order of thought (DESIGN 3.4): forget what is confirmed gone, retire what is too much, replace what is
outdated, start what is to be started, fill empty slots, end the operation when all is settled. A slot is
empty only when its previous container is confirmed gone: that is what keeps a slot from running twice.

Slots are filled only while an operation is under way: a container that a user or a policy took away stays
away until somebody asks again (spec 2.15, 2.18).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from domain.container import Container, Seen, Want
from domain.node import NodeState
from domain.placement import NoRoom, choose_node, occupy
from domain.service import ServiceWant, Verb, usable_image
from domain.spec import digest
from orchestrator.planning.render import attachments
from orchestrator.planning.settled import Outcome, at_rest, complaint, outcome, serving
from orchestrator.planning.steps import (
    AdjustContainer,
    CloseService,
    CreateContainer,
    FinishOperation,
    ForgetContainer,
    Plan,
    RequestImage,
    RetireContainer,
    StartContainer,
    Step,
    StopContainer,
    UseImage,
)
from orchestrator.planning.view import Policy, ServiceView


def plan_service(view: ServiceView, policy: Policy) -> Plan:
    """The next steps for the service; planning again over the applied rows gives no further ones."""
    forgotten = [row for row in view.containers if row.want is Want.GONE and row.seen and row.seen.state is Seen.GONE]
    steps: list[Step] = [
        ForgetContainer(container_id=row.id, name=row.name, cause="its node confirmed that it is gone")
        for row in forgotten
    ]
    rows = sorted((row for row in view.containers if row not in forgotten), key=lambda row: row.slot)
    match view.service.want:
        case ServiceWant.INIT:
            return Plan(steps=tuple(steps))
        case ServiceWant.TERMINATED:
            return _plus(steps, _terminate(view, rows))
        case ServiceWant.STOPPED:
            return _plus(steps, _stop(view, rows))
        case ServiceWant.RUNNING:
            return _plus(steps, _run(view, rows, policy))


def _plus(steps: Sequence[Step], plan: Plan) -> Plan:
    return replace(plan, steps=(*steps, *plan.steps))


def _terminate(view: ServiceView, rows: Sequence[Container]) -> Plan:
    if not rows:
        if view.service.destroyed_at is not None:
            return Plan()
        cause = "its last container is gone"
        done: list[Step] = [FinishOperation(success=True, message=None, cause=cause)] if view.service.operation else []
        return Plan(steps=(*done, CloseService(cause=cause)))
    return Plan(steps=tuple(_retire(rows, "the service is terminated")), waits_for=_waiting(rows, "to be removed"))


def _stop(view: ServiceView, rows: Sequence[Container]) -> Plan:
    steps: list[Step] = list(_excess(view, rows))
    kept = [row for row in rows if row.slot <= view.service.target and row.want is not Want.GONE]
    steps += [
        StopContainer(container_id=row.id, name=row.name, cause="the service is stopped")
        for row in kept
        if row.want is Want.RUN
    ]
    steps += _adjustments(view, kept)
    running = [row for row in rows if row.want is Want.RUN or not at_rest(row)]
    if view.service.operation is None:
        return Plan(steps=tuple(steps))
    if not running:
        steps.append(FinishOperation(success=True, message=None, cause="all containers are stopped"))
        return Plan(steps=tuple(steps))
    return Plan(steps=tuple(steps), waits_for=_waiting(running, "to stop"))


def _run(view: ServiceView, rows: Sequence[Container], policy: Policy) -> Plan:
    service, operation = view.service, view.service.operation
    steps: list[Step] = list(_excess(view, rows))
    kept = [row for row in rows if row.slot <= service.target and row.want is not Want.GONE]
    steps += _adjustments(view, kept)
    if operation is None:
        return Plan(steps=tuple(steps))
    deadline = operation.since + policy.deadline
    plan = _advance(view, rows, kept, policy)
    plan = replace(plan, steps=(*steps, *plan.steps))
    if plan.waits_for is None:
        return plan
    if view.now >= deadline:
        message = f"gave up after {int(policy.deadline.total_seconds() // 60)} minutes: {plan.waits_for}"
        return Plan(steps=(*steps, FinishOperation(success=False, message=message, cause="its deadline has passed")))
    # A node's return wakes who waits; the retry covers a pass that read the nodes just before it (DESIGN 3.4).
    blocked = not any(node.state is NodeState.DEPLOYED for node in view.nodes)
    return replace(plan, requeue_at=min(deadline, view.now + policy.blocked_retry) if blocked else deadline)


def _advance(view: ServiceView, rows: Sequence[Container], kept: Sequence[Container], policy: Policy) -> Plan:
    """One move of a start, scaling or redeployment."""
    ready, image_steps = _image(view, needed=len(kept) < view.service.target or _outdated(view, kept) != [])
    if ready is not None:
        return replace(ready, steps=(*image_steps, *ready.steps))
    judged = [row for row in kept if _judged(view, row) and not _to_start(view, row)]
    failed = [row for row in judged if outcome(row, view, policy) is Outcome.FAILED]
    halted = bool(failed) and (view.service.spec.sequential_deployment or _rolling(view))
    steps: list[Step] = list(image_steps)
    unplaced: str | None = None
    if not halted:
        outgoing = _replacements(view, rows, kept, policy)
        going = {step.container_id for step in outgoing}
        steps += outgoing
        steps += _starts(view, [row for row in kept if row.id not in going], policy)
        creations, unplaced = _creations(view, rows, policy)
        steps += creations
    if len(steps) > len(image_steps):
        return Plan(steps=tuple(steps), waits_for="its containers are being changed")
    open_rows = [row for row in rows if row.want is Want.GONE or row.slot > view.service.target]
    open_rows += [row for row in judged if row.want is Want.RUN and outcome(row, view, policy) is Outcome.WAITING]
    if open_rows:
        return Plan(steps=tuple(steps), waits_for=_waiting(open_rows, "to settle"))
    if unplaced and not any(node.state is NodeState.DEPLOYED for node in view.nodes):
        return Plan(steps=tuple(steps), waits_for=unplaced)
    problems = [complaint(row) for row in failed] + ([unplaced] if unplaced else [])
    message = "; ".join(problems) or None
    cause = "not all containers could be started" if problems else "all containers are as wanted"
    return Plan(steps=(*steps, FinishOperation(success=not problems, message=message, cause=cause)))


def _image(view: ServiceView, *, needed: bool) -> tuple[Plan | None, list[Step]]:
    """What the operation needs to know of its image first: a plan to end with, or the steps to go on after."""
    operation = view.service.operation
    if operation is None or operation.image_request is None:
        return None, []
    if not needed and usable_image(view.service) is not None:
        return None, []
    answer = view.image
    if answer is None:
        if not needed and view.service.target == 0:
            return None, []
        able = sorted((node for node in view.nodes if node.state is NodeState.DEPLOYED), key=lambda node: node.name)
        if not able:
            return Plan(waits_for="no node is up: start an agent, or wait for it to come back"), []
        step = RequestImage(
            node_id=able[0].node_id,
            request_id=operation.image_request,
            reference=view.service.spec.image,
            pull=operation.pull,
            cause="containers are made from exactly one image",
        )
        return Plan(steps=(step,), waits_for=f"image {view.service.spec.image} is being looked up"), []
    if answer.error is not None:
        return Plan(
            steps=(FinishOperation(success=False, message=answer.error, cause="the image is not to be had"),)
        ), []
    if answer.image is None:
        return Plan(waits_for=f"image {view.service.spec.image} is being looked up"), []
    return None, [UseImage(image=answer.image, cause="the image was looked up")]


def _rolling(view: ServiceView) -> bool:
    return view.service.operation is not None and view.service.operation.verb is Verb.REDEPLOY


def _judged(view: ServiceView, row: Container) -> bool:
    """Whether the operation answers for this container: a redeployment only for those of its generation."""
    return not _rolling(view) or row.deploy_gen == view.service.deploy_gen


def _outdated(view: ServiceView, kept: Sequence[Container]) -> list[Container]:
    """A redeployment replaces older generations; a start only what does not run and has another definition."""
    operation = view.service.operation
    if operation is None:
        return []
    if operation.verb is Verb.REDEPLOY:
        return [row for row in kept if row.deploy_gen < view.service.deploy_gen]
    if operation.verb is Verb.START:
        wanted = digest(view.service.spec)
        return [row for row in kept if row.made_from != wanted and at_rest(row) and _to_start(view, row)]
    return []


def _replacements(
    view: ServiceView, rows: Sequence[Container], kept: Sequence[Container], policy: Policy
) -> list[RetireContainer]:
    """Retire what is outdated: all that serves nobody, and of the rest as many as may be missed at a time."""
    outdated = _outdated(view, kept)
    idle = [row for row in outdated if not serving(row)]
    settled = [row for row in kept if _judged(view, row) and outcome(row, view, policy) is Outcome.DONE]
    missed = view.service.target - sum(1 for row in kept if serving(row) or row in settled)
    budget = max(0, policy.max_unavailable - missed)
    busy = [row for row in outdated if serving(row)][:budget]
    chosen = sorted([*idle, *busy], key=lambda row: row.slot)
    return [
        RetireContainer(container_id=row.id, name=row.name, cause="it is of an older definition or deployment")
        for row in chosen
    ]


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


def _creations(view: ServiceView, rows: Sequence[Container], policy: Policy) -> tuple[list[Step], str | None]:
    """Containers for the empty slots, and why a slot could not be placed."""
    occupied = {row.slot for row in rows}
    nodes, steps = view.nodes, list[Step]()
    for slot in (slot for slot in range(1, view.service.target + 1) if slot not in occupied):
        if not _in_turn(view, rows, slot, policy):
            break
        node = choose_node(view.service.spec, nodes)
        if isinstance(node, NoRoom):
            return steps, f"slot {slot}: {node.reason}"
        steps.append(CreateContainer(slot=slot, node_id=node, cause=f"slot {slot} is empty"))
        nodes = occupy(view.service.spec, nodes, node)
        if view.service.spec.sequential_deployment:
            break
    return steps, None


def _in_turn(view: ServiceView, rows: Sequence[Container], slot: int, policy: Policy) -> bool:
    """In a sequential service a container waits until all before it run (spec 2.19)."""
    if not view.service.spec.sequential_deployment:
        return True
    before = {row.slot: row for row in rows if row.slot < slot}
    return len(before) == slot - 1 and all(
        row.want is Want.RUN and outcome(row, view, policy) is Outcome.DONE for row in before.values()
    )


def _excess(view: ServiceView, rows: Sequence[Container]) -> list[Step]:
    over = [row for row in rows if row.slot > view.service.target]
    return _retire(over, f"its slot is above the target of {view.service.target}")


def _retire(rows: Sequence[Container], cause: str) -> list[Step]:
    return [
        RetireContainer(container_id=row.id, name=row.name, cause=cause)
        for row in sorted(rows, key=lambda row: -row.slot)
        if row.want is not Want.GONE
    ]


def _adjustments(view: ServiceView, kept: Sequence[Container]) -> list[Step]:
    """What a change of links or of autorestart means for the containers that stay."""
    steps: list[Step] = []
    for row in kept:
        networks = attachments(view, row.name)
        if row.networks != networks or row.autorestart is not view.service.spec.autorestart:
            steps.append(
                AdjustContainer(
                    container_id=row.id,
                    name=row.name,
                    networks=networks,
                    autorestart=view.service.spec.autorestart,
                    cause="links or autorestart of the service changed",
                )
            )
    return steps


def _waiting(rows: Sequence[Container], what: str) -> str:
    names = ", ".join(row.name for row in rows[:5]) + (" and more" if len(rows) > 5 else "")
    return f"{names} {'has' if len(rows) == 1 else 'have'} {what}"
