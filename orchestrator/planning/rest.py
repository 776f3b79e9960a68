"""What is decided beside a service's operation: orders to single containers, and crash policies.

Policies wait while an operation is under way: it judges the containers first (spec 2.18).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain import restarts
from domain.container import Container, Seen, Want, obeyed
from domain.orders import settled
from domain.restarts import Fate
from domain.service import Verb, usable_image
from orchestrator.planning.settled import Outcome, complaint, gone, ran
from orchestrator.planning.steps import FinishOrder, ForgetContainer, RetireContainer, Step
from orchestrator.planning.view import Policy, ServiceView


def forget(over: Sequence[Container]) -> list[Step]:
    """Free the slots of containers that are gone for good; their orders end with that."""
    steps: list[Step] = []
    for row in over:
        if row.order is not None:
            well = row.order.verb in {Verb.TERMINATE, Verb.STOP}
            message = None if well else f"{row.name} was terminated before that was done"
            steps.append(
                FinishOrder(container_id=row.id, name=row.name, success=well, message=message, cause="it is gone")
            )
        steps.append(ForgetContainer(container_id=row.id, name=row.name, cause="its node confirmed that it is gone"))
    return steps


def judge_orders(rows: Sequence[Container], policy: Policy, now: datetime) -> tuple[list[Step], datetime | None]:
    """End the orders that are done, and when to look at the first of the open ones."""
    steps: list[Step] = []
    due: datetime | None = None
    for row in rows:
        if row.order is None:
            continue
        ended, cause = _judged(row, policy), "its order is done"
        deadline = row.order.since + policy.deadline
        if ended is None and now >= deadline:
            minutes = int(policy.deadline.total_seconds() // 60)
            ended, cause = f"gave up after {minutes} minutes: {_overdue(row)}", "its deadline has passed"
        if ended is None:
            due = deadline if due is None else min(due, deadline)
            continue
        steps.append(
            FinishOrder(container_id=row.id, name=row.name, success=not ended, message=ended or None, cause=cause)
        )
    return steps, due


def _overdue(row: Container) -> str:
    if row.want is not Want.GONE:
        return complaint(row)
    if gone(row):
        return f"{row.name} has no successor yet"
    return f"the node of {row.name} did not confirm that it is gone"


def _judged(row: Container, policy: Policy) -> str | None:
    ended = settled(row)
    if ended is not None or row.order is None or row.want is not Want.RUN:
        return ended
    found = ran(row, policy)
    if found is Outcome.WAITING:
        return None
    return complaint(row) if found is Outcome.FAILED else ""


def policies(view: ServiceView, kept: Sequence[Container], policy: Policy) -> list[Step]:
    """Replace or destroy the containers that ended for good and whose policy says so."""
    spec = view.service.spec
    steps: list[Step] = []
    for row in kept:
        seen = row.seen
        if seen is None or row.want is not Want.RUN or not obeyed(row) or seen.will_restart:
            continue
        if seen.state not in {Seen.EXITED, Seen.FAILED} or (row.order and _judged(row, policy) is None):
            continue
        code = seen.exit_code if seen.state is Seen.EXITED else None
        fate = restarts.after_end(
            autoreplace=spec.autoreplace,
            autodestroy=spec.autodestroy,
            exit_code=code,
            ended_at=seen.finished_at or row.created_at,
            replaced=row.replaced,
        )
        how = f"it ended with exit code {code}" if code is not None else "it could not start"
        if fate is Fate.REPLACE and usable_image(view.service) is not None:
            steps.append(
                RetireContainer(
                    container_id=row.id,
                    name=row.name,
                    cause=f"{how}, and autoreplace is {spec.autoreplace.value}",
                    keep_volumes=True,
                    refill=True,
                    by_policy=True,
                )
            )
        elif fate is Fate.DESTROY:
            steps.append(
                RetireContainer(
                    container_id=row.id,
                    name=row.name,
                    cause=f"{how}, and autodestroy is {spec.autodestroy.value}",
                    by_policy=True,
                )
            )
    return steps
