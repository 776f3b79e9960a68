"""What an operation needs to know of its image first: asked of one node, and of another one when that falls silent."""

from __future__ import annotations

from uuid import UUID

from domain.image import Pull
from domain.node import Candidate, NodeState
from domain.placement import matches, place
from domain.service import usable_image
from orchestrator.planning.steps import FinishOperation, Plan, RequestImage, Step, UseImage
from orchestrator.planning.view import ImageAnswer, Policy, ServiceView, fleet

START_ONE = "start an agent, or wait for it to come back"


def look_up(view: ServiceView, policy: Policy, *, needed: bool) -> tuple[Plan | None, list[Step]]:
    """A plan to end with, or the steps to go on after. `needed`: whether the operation makes a container."""
    operation = view.service.operation
    request = operation.image_request if operation is not None else None
    if operation is None or request is None:
        return None, []
    if not needed and usable_image(view.service) is not None:
        return None, []
    answer = view.image
    if answer is not None and answer.error is not None:
        cause = "the image is not to be had"
        return Plan(steps=(FinishOperation(success=False, message=answer.error, cause=cause),)), []
    if answer is not None and answer.image is not None:
        return None, [UseImage(image=answer.image, cause="the image was looked up")]
    if not needed and not view.slots:
        return None, []
    if answer is None:
        return _ask_first(view, request, operation.pull, policy), []
    return _wait(view, request, operation.pull, answer, policy), []


def _ask_first(view: ServiceView, request: UUID, pull: Pull, policy: Policy) -> Plan:
    spec, able = view.service.spec, _able(view)
    if able is not None:
        return _ask(view, request, pull, able, "containers are made from exactly one image", policy)
    if any(node.open for node in fleet(view)):
        why = f"slot {min(view.slots, default=1)}: {place(spec, fleet(view)).reason}"
        return Plan(steps=(FinishOperation(success=False, message=why, cause="no node may run it"),))
    up = [node for node in fleet(view) if node.state is NodeState.DEPLOYED]
    if any(node.closed is not None for node in up):
        return Plan(waits_for="every node that is up is quarantined or paused: see ./tutela node list")
    why = "every node that is up is paused" if up else "no node is up"
    return Plan(waits_for=f"{why}: {'resume one' if up else START_ONE}")


def _wait(view: ServiceView, request: UUID, pull: Pull, answer: ImageAnswer, policy: Policy) -> Plan:
    """For the answer, and for who was asked to come back: it may be the only one that has the image. One that was asked
    so long ago as `lost_after`, or that is paused or quarantined, is not waited for where another may be asked."""
    asked = view.by_id.get(answer.node_id)
    if asked is None:
        return _ask_first(view, request, pull, policy)  # it is no more, or all nodes are wanted for that
    if asked.open:
        return Plan(waits_for=_looked_up(view))
    why = f"{_looked_up(view)} on node {asked.name}, which does not answer now"
    patience = answer.asked_at + policy.lost_after
    if asked.paused is None and asked.closed is None and view.now < patience:
        return Plan(waits_for=why, requeue_at=patience)
    able = _able(view)
    if able is None:
        return Plan(waits_for=why)
    why = f"node {asked.name}, which was asked for it, does not answer now"
    return _ask(view, request, pull, able, why, policy)


def _able(view: ServiceView) -> Candidate | None:
    """Only a node that the service may run on is told its image, and the registry's password with it (S26)."""
    able = (node for node in fleet(view) if node.open and matches(view.service.spec, node))
    return min(able, key=lambda node: node.name, default=None)


def _ask(view: ServiceView, request: UUID, pull: Pull, node: Candidate, cause: str, policy: Policy) -> Plan:
    """The look that follows is for a node that is lost or paused just now: nothing here waited for it yet."""
    step = RequestImage(
        node_id=node.node_id,
        request_id=request,
        reference=view.service.spec.image,
        pull=pull,
        cause=cause,
    )
    return Plan(steps=(step,), waits_for=_looked_up(view), requeue_at=view.now + policy.blocked_retry)


def _looked_up(view: ServiceView) -> str:
    return f"image {view.service.spec.image} is being looked up"
