"""What an operation needs to know of its image first: asked of one node, and of another one when that falls silent."""

from __future__ import annotations

from domain.node import Candidate, NodeState
from domain.placement import matches, place
from domain.service import Operation, usable_image
from orchestrator.planning.steps import FinishOperation, Plan, RequestImage, Step, UseImage
from orchestrator.planning.view import ImageAnswer, ServiceView, fleet

START_ONE = "start an agent, or wait for it to come back"


def look_up(view: ServiceView, *, needed: bool) -> tuple[Plan | None, list[Step]]:
    """A plan to end with, or the steps to go on after. `needed`: whether the operation makes a container."""
    operation = view.service.operation
    if operation is None or operation.image_request is None:
        return None, []
    if not needed and usable_image(view.service) is not None:
        return None, []
    answer = view.image
    if answer is None:
        if not needed and not view.slots:
            return None, []
        return _ask_first(view, operation), []
    if answer.error is not None:
        return Plan(
            steps=(FinishOperation(success=False, message=answer.error, cause="the image is not to be had"),)
        ), []
    if answer.image is None:
        return _ask_another(view, operation, answer), []
    return None, [UseImage(image=answer.image, cause="the image was looked up")]


def _ask_first(view: ServiceView, operation: Operation) -> Plan:
    spec, able = view.service.spec, _able(view)
    if able is not None:
        return _ask(view, operation, able, "containers are made from exactly one image")
    if any(node.open for node in fleet(view)):
        why = f"slot {min(view.slots, default=1)}: {place(spec, fleet(view)).reason}"
        return Plan(steps=(FinishOperation(success=False, message=why, cause="no node may run it"),))
    up = [node for node in fleet(view) if node.state is NodeState.DEPLOYED]
    if any(node.closed is not None for node in up):
        return Plan(waits_for="every node that is up is quarantined or paused: see ./tutela node list")
    why = "every node that is up is paused" if up else "no node is up"
    return Plan(waits_for=f"{why}: {'resume one' if up else START_ONE}")


def _ask_another(view: ServiceView, operation: Operation, answer: ImageAnswer) -> Plan:
    """Who was asked may be away or paused by now; while nobody else is to be had it is waited for."""
    asked = view.by_id.get(answer.node_id)
    if asked is None:
        asked = next((node for node in fleet(view) if node.node_id == answer.node_id), None)
    if asked is None or not asked.open:
        able = _able(view)
        if able is not None:
            return _ask(view, operation, able, "the node that was asked for it does not answer now")
    return Plan(waits_for=_looked_up(view))


def _able(view: ServiceView) -> Candidate | None:
    """Only a node that the service may run on is told its image, and the registry's password with it (S26)."""
    able = (node for node in fleet(view) if node.open and matches(view.service.spec, node))
    return min(able, key=lambda node: node.name, default=None)


def _ask(view: ServiceView, operation: Operation, node: Candidate, cause: str) -> Plan:
    assert operation.image_request is not None  # noqa: S101 - `look_up` saw it
    step = RequestImage(
        node_id=node.node_id,
        request_id=operation.image_request,
        reference=view.service.spec.image,
        pull=operation.pull,
        cause=cause,
    )
    return Plan(steps=(step,), waits_for=_looked_up(view))


def _looked_up(view: ServiceView) -> str:
    return f"image {view.service.spec.image} is being looked up"
