"""Write the outcome of a decision: one function for all steps, one transaction for all of a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never
from uuid import UUID, uuid4

from domain.action import ActionState
from domain.assignment import ImageRequest
from domain.container import Container, Want
from domain.service import Service, counts, finish, service_state, usable_image
from domain.spec import digest
from orchestrator.planning.render import attachments, container_name, container_spec, effective_ports
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
    StopContainer,
    UseImage,
)
from orchestrator.planning.view import ServiceView
from orchestrator.store import actions, containers, nodes, services, wake
from orchestrator.store.db import Connection


async def apply(conn: Connection, view: ServiceView, plan: Plan) -> Service:
    """Carry out the plan on the record and say when to look again; returns the service as it is now.

    Agents learn of it at commit: each touched node gets one new revision, in id order.
    """
    service = view.service
    rows = {row.id: row for row in view.containers}
    touched: list[Container] = []
    asked: set[UUID] = set()

    async def want(container_id: UUID, **changes: object) -> None:
        row = replace(rows[container_id], **changes)  # type: ignore[arg-type]
        rows[container_id] = row
        touched.append(row)
        await containers.update_wanted(conn, row)

    for step in plan.steps:
        match step:
            case RequestImage():
                request = ImageRequest(request_id=step.request_id, reference=step.reference, pull=step.pull)
                await nodes.request_image(conn, request, service.id, step.node_id)
                asked.add(step.node_id)
            case UseImage():
                operation = replace(service.operation, image_request=None) if service.operation else None
                service = replace(service, image=step.image, operation=operation)
            case CreateContainer():
                row = await _create(conn, view, service, step)
                rows[row.id] = row
                touched.append(row)
            case StartContainer():
                start_gen = max(service.start_gen, rows[step.container_id].start_gen + 1)
                await want(step.container_id, want=Want.RUN, start_gen=start_gen)
            case StopContainer():
                await want(step.container_id, want=Want.STOP)
            case RetireContainer():
                await want(step.container_id, want=Want.GONE)
            case AdjustContainer():
                await want(step.container_id, networks=step.networks, autorestart=step.autorestart)
            case ForgetContainer():
                rows[step.container_id] = replace(rows[step.container_id], terminated_at=view.now)
                touched.append(rows[step.container_id])
                await containers.forget(conn, step.container_id, view.now)
            case FinishOperation():
                if service.operation:
                    outcome = ActionState.SUCCESS if step.success else ActionState.FAILED
                    await actions.end(conn, service.operation.actions, outcome, step.message, view.now)
                    await nodes.withdraw_image_requests(conn, service.id, keep=None)
                service = finish(service)
            case CloseService():
                service = replace(service, destroyed_at=view.now)
            case _:
                assert_never(step)

    state = service_state(service, counts(list(rows.values())))
    await services.save(conn, service, state)
    await services.set_schedule(conn, service.id, waits_for=plan.waits_for, look_at=plan.requeue_at)
    await _publish(conn, touched, asked)
    return service


async def _create(conn: Connection, view: ServiceView, service: Service, step: CreateContainer) -> Container:
    image = usable_image(service)
    if image is None:
        raise LookupError(f"service {service.id} has no image for slot {step.slot}: a plan must look it up first")
    container_id = uuid4()
    name = container_name(view, step.slot)
    asked = effective_ports(service.spec.ports, image)
    row = Container(
        id=container_id,
        service_id=service.id,
        node_id=step.node_id,
        slot=step.slot,
        name=name,
        spec=container_spec(view, slot=step.slot, container_id=container_id, node=step.node_id, image=image, ports=()),
        made_from=digest(service.spec),
        deploy_gen=service.deploy_gen,
        want=Want.RUN,
        start_gen=max(service.start_gen, 1),
        autorestart=service.spec.autorestart,
        networks=attachments(view, name),
        created_at=view.now,
    )
    if not any(port.published for port in asked):
        row = replace(row, spec=replace(row.spec, ports=containers.unpublished(asked)))
        await containers.insert(conn, row, service.account_id)
        return row
    await containers.insert(conn, row, service.account_id)
    ports = await containers.hold_ports(conn, container_id, step.node_id, asked)
    row = replace(row, spec=replace(row.spec, ports=ports))
    await containers.set_spec(conn, row)
    return row


async def _publish(conn: Connection, touched: list[Container], asked: set[UUID]) -> None:
    for node_id in sorted({row.node_id for row in touched} | asked):
        revision = await nodes.bump_revision(conn, node_id)
        changed = [row.id for row in touched if row.node_id == node_id]
        if changed:
            await containers.assign(conn, changed, node_id, revision)
        await wake.node(conn, node_id)
