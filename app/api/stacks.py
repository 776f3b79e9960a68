"""/api/v1/stack/ (spec 4.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api import versions
from app.api.asking import asked, asked_flag
from app.api.bodies import masked
from app.api.deps import Caller, command, database, ident, settings, who
from app.api.responses import reply
from app.api.routing import Operation
from app.commands import stacks as commands
from app.wire.lists import STACKS, envelope, read_query
from app.wire.stack_file import to_file
from app.wire.stack_input import read_stack
from app.wire.stack_output import StackDetails, stack_out
from domain.access import Role
from domain.service import Service, Verb
from domain.stack import Stack, StackState
from domain.versions import of_stack
from orchestrator.store import containers, services, stacks
from orchestrator.store.db import Connection

router = APIRouter(prefix="/api/v1/stack", route_class=Operation)


@router.get("/")
async def list_stacks(request: Request, caller: Caller) -> Response:
    """Current and recently terminated stacks."""
    params = request.query_params.multi_items()
    query = read_query(params, STACKS)
    wanted = [each.value for each in query.filters if each.field == "state"]
    names = [each if isinstance(each, list) else [each] for each in wanted]
    fitting = None if not names else [state for state in StackState if all(state.value in each for each in names)]
    filters = [each for each in query.filters if each.field != "state"]
    async with database(request).read() as conn:
        found, total = await stacks.page(conn, caller.id, filters, query.limit, query.offset, fitting)
        members = await services.of_stacks(conn, [stack.id for stack, _ in found])
        objects = await _shown(conn, found, members)
    return reply(request, envelope(request.url.path, params, query, total, objects))


@router.post("/")
async def create_stack(request: Request, caller: Caller) -> Response:
    """Create a stack with its services, without deploying them."""
    body, context = await asked(request, caller, "Stack Create", commands.STACKS_URI)
    done = await commands.create(
        context, lambda: read_stack(body, create=True), most_containers=settings(request).max_containers
    )
    return await _one(request, caller, done.stack_id, 201, done.version)


@router.get("/{uuid}/")
async def get_stack(request: Request, caller: Caller, uuid: str) -> Response:
    """One stack."""
    return await _one(request, caller, ident(uuid, "stack"), 200)


@router.get("/{uuid}/export/")
async def export_stack(request: Request, caller: Caller, uuid: str) -> Response:
    """The stack as a stack file: service name to its keys."""
    async with database(request).read() as conn:
        stack = await stacks.get(conn, caller.id, ident(uuid, "stack"))
        found = await services.of_stack(conn, stack.id)
        wanted = {link.to_service for service in found for link in service.spec.links}
        wanted |= {each.volumes_from for service in found for each in service.spec.bindings if each.volumes_from}
        others = await services.many(conn, caller.id, sorted(wanted))
    names = {
        each: service.name if service.stack_id in (None, stack.id) else f"{service.name}.{service.stack}"
        for each, service in others.items()
    }
    file = {service.name: to_file(service, names) for service in found}
    shown = masked(file) if who(request).role is Role.READ_ONLY else file
    return reply(request, shown, headers={"ETag": versions.tag(request, of_stack(stack, found))})


@router.patch("/{uuid}/")
async def update_stack(request: Request, caller: Caller, uuid: str) -> Response:
    """Make new services and update those of the same name; the others stay."""
    stack_id = ident(uuid, "stack")
    body, context = await asked(request, caller, "Stack Update", commands.stack_uri(stack_id))
    done = await commands.update(
        context, stack_id, lambda: read_stack(body, create=False), most_containers=settings(request).max_containers
    )
    return await _one(request, caller, stack_id, 202 if done.begun else 200, done.version)


@router.delete("/{uuid}/")
async def terminate_stack(request: Request, caller: Caller, uuid: str) -> Response:
    """Terminate all its services and the stack."""
    return await _operate(request, caller, uuid, Verb.TERMINATE)


@router.post("/{uuid}/start/")
async def start_stack(request: Request, caller: Caller, uuid: str) -> Response:
    """Start its services, link targets first."""
    return await _operate(request, caller, uuid, Verb.START)


@router.post("/{uuid}/stop/")
async def stop_stack(request: Request, caller: Caller, uuid: str) -> Response:
    """Stop its services, clients first."""
    return await _operate(request, caller, uuid, Verb.STOP)


@router.post("/{uuid}/redeploy/")
async def redeploy_stack(request: Request, caller: Caller, uuid: str) -> Response:
    """Redeploy its services, link targets first."""
    return await _operate(request, caller, uuid, Verb.REDEPLOY)


async def _operate(request: Request, caller: Caller, uuid: str, verb: Verb) -> Response:
    stack_id = ident(uuid, "stack")
    context, uri = command(request, caller, None), commands.stack_uri(stack_id)
    reuse = await asked_flag(request, context, commands.verb_name(verb), uri, "reuse_volumes", default=True)
    done = await commands.run(context, stack_id, verb, reuse_volumes=reuse)
    return await _one(request, caller, stack_id, 202, done.version)


async def _one(request: Request, caller: Caller, stack_id: UUID, status: int, version: str | None = None) -> Response:
    """`version`: of what was done; None where nothing was, for the present one."""
    async with database(request).read() as conn:
        stack = await stacks.get(conn, caller.id, stack_id)
        state = (await stacks.states(conn, [stack]))[stack.id]
        members = await services.of_stack(conn, stack.id)
        (shown,) = await _shown(conn, [(stack, state)], {stack.id: members})
    return reply(request, shown, status, {"ETag": versions.tag(request, version or of_stack(stack, members))})


async def _shown(
    conn: Connection, found: Sequence[tuple[Stack, StackState]], members: Mapping[UUID, list[Service]]
) -> list[dict[str, Any]]:
    """The representations of stacks, in a fixed number of statements."""
    outdated = await containers.outdated(conn, [service for each in members.values() for service in each])
    return [
        stack_out(
            StackDetails(
                stack=stack,
                state=state,
                services=members[stack.id],
                synchronized=outdated.isdisjoint(service.id for service in members[stack.id]),
            )
        )
        for stack, state in found
    ]
