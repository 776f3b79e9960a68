"""Write the outcome of a decision: one function for all steps, one transaction for all of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from domain.action import Action, ActionState, Request
from domain.assignment import ImageRequest
from domain.calls import begin_next
from domain.container import Container, Order, Want, own_volumes
from domain.errors import NotAllowed
from domain.placement import Verdict
from domain.restarts import recent
from domain.service import Effect, Service, Verb, counts, finish, service_state, start
from orchestrator.ids import new_id
from orchestrator.making import carrier, create
from orchestrator.planning.render import first_of_more_names
from orchestrator.planning.steps import (
    AdjustContainer,
    BeginQueued,
    CloseService,
    CreateContainer,
    FinishOperation,
    FinishOrder,
    FollowNodes,
    ForgetContainer,
    KeepSlot,
    LeaveSlot,
    Plan,
    RequestImage,
    RetireContainer,
    StartContainer,
    StartOnNodes,
    Step,
    StopContainer,
    TakeVolumes,
    UseImage,
    line,
)
from orchestrator.planning.view import ServiceView
from orchestrator.publish import Load, publish
from orchestrator.store import actions, drains, mounts, nodes, ports, relations, services, swarm, wake
from orchestrator.store.containers import Made
from orchestrator.store.db import Connection


async def apply(conn: Connection, view: ServiceView, plan: Plan) -> Service:
    """Carry out the plan on the record and say when to look again; returns the service as it is now.

    Agents learn of it at commit. What is done for an action is written to its log.
    """
    writing = _Writing(conn, view)
    for step in plan.steps:
        writing.log(step)
        await writing.carry_out(step)
    await actions.log(conn, writing.lines)
    service = writing.service
    if any(first_of_more_names(writing.rows[each].slot) for each in writing.made):
        await wake.clients(conn, service.id)
    # From here on the nodes are locked, and other passes wait for them.
    await publish(
        conn,
        [writing.rows[each] for each in writing.touched],
        made=[
            Made(account_id=service.account_id, row=writing.rows[each], verdicts=verdicts)
            for each, verdicts in writing.made.items()
        ],
        asked=writing.asked,
        load=writing.load,
    )
    # After its containers, so that events tell of them first.
    state = service_state(service, counts(list(writing.rows.values())))
    await services.save_pass(
        conn,
        service,
        state,
        changed=service is not view.service,
        waits_for=plan.waits_for,
        look_at=plan.requeue_at,
    )
    if view.service.operation is not None and service.operation is None:
        await relations.wake_followers(conn, service)
    # After the nodes are locked: of two passes that take the last containers away, the second sees what the first did.
    concerned = {writing.rows[each].node_id for each in (*writing.touched, *writing.made)}
    emptied = {node.node_id for node in view.nodes if node.draining} & concerned
    await drains.end_finished(conn, sorted(emptied), view.now)
    return service


class _Writing:
    """The record while a plan is carried out on it. Containers are written last, all at once: `touched` are rows that
    changed, in their order, `made` new ones, with why they are where they are."""

    def __init__(self, conn: Connection, view: ServiceView) -> None:
        self.conn = conn
        self.view = view
        self.service = view.service
        self.rows = {row.id: row for row in view.containers}
        self.touched: dict[UUID, None] = {}
        self.made: dict[UUID, Sequence[Verdict]] = {}
        self.chosen: set[ports.Key] = set()
        self.asked: set[UUID] = set()
        self.lines: list[tuple[UUID, str]] = []
        self.load = Load()

    def log(self, step: Step) -> None:
        """A line for the actions that the step is done for."""
        ids: tuple[UUID, ...] = self.service.operation.actions if self.service.operation else ()
        row = self.rows.get(step.container_id) if hasattr(step, "container_id") else None
        if row is not None and row.order is not None:
            ids = (*ids, *row.order.actions)
        self.lines += [(each, line(step)) for each in ids]

    async def carry_out(self, step: Step) -> None:
        """One step, one effect."""
        conn, service = self.conn, self.service
        match step:
            case RequestImage():
                request = ImageRequest(request_id=step.request_id, reference=step.reference, pull=step.pull)
                await nodes.request_image(conn, request, service.id, step.node_id)
                self.asked.add(step.node_id)
            case UseImage():
                operation = replace(service.operation, image_request=None) if service.operation else None
                self.service = replace(service, image=step.image, operation=operation)
            case CreateContainer():
                before = self.rows.get(step.successor_of) if step.successor_of else None
                self._make(await create(conn, self.view, service, step, before, self.chosen), step.verdicts)
                if before is not None and before.leaving:
                    self._want(before.id, refill=False, order=None)
            case StartContainer():
                start_gen = max(service.start_gen, self.rows[step.container_id].start_gen + 1)
                self._want(step.container_id, want=Want.RUN, start_gen=start_gen)
            case StopContainer():
                self._want(step.container_id, want=Want.STOP)
            case RetireContainer():
                await self._retire(step)
            case LeaveSlot():
                self._want(step.container_id, leaving=True, want=step.want, refill=True)
            case KeepSlot():
                self._want(step.container_id, leaving=False, refill=False)
            case FollowNodes():
                self.service = replace(service, target=step.target)
            case StartOnNodes():
                path = f"/api/v1/service/{service.id}/"
                action = _own_action(service, "Service Start", path, step.cause, self.view.now)
                await actions.insert(conn, action)
                self.service = start(service, action.id, self.view.now).service
            case TakeVolumes():
                self._make(await carrier(conn, self.view, step))
            case AdjustContainer():
                self._want(
                    step.container_id,
                    networks=step.networks,
                    autorestart=step.autorestart,
                    autoreplace=step.autoreplace,
                )
            case ForgetContainer():
                self.load.give_back(self.rows[step.container_id])
                self._want(step.container_id, terminated_at=self.view.now)
            case FinishOperation():
                if service.operation:
                    await actions.end(
                        conn, service.operation.actions, _outcome(step.success), step.message, self.view.now
                    )
                    await nodes.withdraw_image_requests(conn, service.id)
                self.service = finish(service)
            case FinishOrder():
                order = self.rows[step.container_id].order
                if order is not None:
                    await actions.end(conn, order.actions, _outcome(step.success), step.message, self.view.now)
                self._want(step.container_id, order=None)
            case BeginQueued():
                await self._begin_queued()
            case CloseService():
                await mounts.close(conn, service.id)
                self.asked.update(await swarm.drop_network(conn, service.id))
                self.service = replace(service, destroyed_at=self.view.now)
            case _:
                assert_never(step)

    def _make(self, row: Container, verdicts: Sequence[Verdict] = ()) -> None:
        self.rows[row.id] = row
        self.made[row.id] = verdicts
        self.load.take(row)

    def _want(self, container_id: UUID, **changes: object) -> None:
        self.rows[container_id] = replace(self.rows[container_id], **changes)  # type: ignore[arg-type]
        if container_id not in self.made:
            self.touched[container_id] = None

    async def _retire(self, step: RetireContainer) -> None:
        row, now = self.rows[step.container_id], self.view.now
        changes: dict[str, object] = {"want": Want.GONE, "refill": step.refill}
        if not step.keep_volumes:
            changes["drop_volumes"] = own_volumes(row.spec)
            await mounts.terminate(self.conn, own_volumes(row.spec))
        if step.by_policy:
            verb = Verb.REDEPLOY if step.refill else Verb.TERMINATE
            path, said = f"/api/v1/container/{row.id}/", f"{row.name}: {step.cause}"
            action = _own_action(self.service, f"Container {verb.value.capitalize()}", path, said, now)
            await actions.insert(self.conn, action)
            older = row.order.actions if row.order else ()
            changes["order"] = Order(verb=verb.value, actions=(*older, action.id), since=now)
            if step.refill:
                changes["replaced"] = (*recent(row.replaced, now), now)
        self._want(step.container_id, **changes)

    async def _begin_queued(self) -> None:
        accepted, call, left = begin_next(self.service, counts(list(self.rows.values())), self.view.now)
        self.service = left
        if isinstance(accepted, NotAllowed):
            await actions.end(self.conn, call.actions, ActionState.FAILED, str(accepted), self.view.now)
            return
        self.service = accepted.service
        if accepted.effect is Effect.BEGUN:
            await actions.begin(self.conn, call.actions)
        else:
            await actions.end(self.conn, call.actions, ActionState.SUCCESS, None, self.view.now)


def _outcome(success: bool) -> ActionState:
    return ActionState.SUCCESS if success else ActionState.FAILED


def _own_action(service: Service, verb: str, path: str, message: str, now: datetime) -> Action:
    """The record of what is done by itself: nobody asked for it (spec 4.2)."""
    return Action(
        id=new_id(),
        account_id=service.account_id,
        service_id=service.id,
        verb=verb,
        object_uri=path,
        state=ActionState.IN_PROGRESS,
        request=Request(method="POST", path=path, is_user_action=False),
        start_date=now,
        message=message,
    )
