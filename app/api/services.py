"""/api/v1/service/ (seed; spec 2)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.api import shown, versions
from app.api.asking import asked
from app.api.bodies import read_json
from app.api.deps import Caller, command, database, flag, ident, log_source, settings
from app.api.logs import read_tail
from app.api.responses import encoded, reply, reply_made
from app.api.routing import Operation
from app.commands import services as commands
from app.commands.services import Done
from app.installation import installation_of
from app.wire.explain_output import explanation_out
from app.wire.lists import envelope
from app.wire.logs import joined
from app.wire.reading import Reading
from app.wire.service_input import read_create, read_patch
from domain.asked import AskedLink
from domain.errors import DomainError, Invalid
from domain.service import Effect, Service, Verb
from domain.spec import ServiceSpec
from orchestrator.explaining import explain_service
from orchestrator.planning.view import Policy
from orchestrator.store import containers, services

router = APIRouter(prefix="/api/v1/service", route_class=Operation)


@router.get("/")
async def list_services(request: Request, caller: Caller) -> Response:
    """Current and recently terminated services."""
    query = shown.query(request)
    objects, total = await shown.some(request, caller.id)
    around = encoded(envelope(request.url.path, request.query_params.multi_items(), query, total, []))
    return reply_made(request, around.removesuffix(b"]}") + b",".join(each.data for each in objects) + b"]}")


@router.post("/")
async def create_service(request: Request, caller: Caller) -> Response:
    """Create without deploying."""
    context = command(request, caller, None)
    try:
        body = await read_json(request)
        context = command(request, caller, body)
        asked = read_create(body, most_containers=settings(request).max_containers)
    except DomainError as refusal:
        await commands.record_refusal(context, "Service Create", str(refusal), None)
        raise
    done = await commands.create(
        context, name=asked.name or "", target=asked.target or 0, spec=asked.spec, links=asked.links or ()
    )
    return await _changed(request, caller.id, done, 201)


@router.get("/{uuid}/")
async def get_service(request: Request, caller: Caller, uuid: str) -> Response:
    """One service."""
    found = await shown.one(request, caller.id, ident(uuid, "service"))
    return reply_made(request, found.data, headers={"ETag": found.tag})


@router.patch("/{uuid}/")
async def update_service(request: Request, caller: Caller, uuid: str) -> Response:
    """Update, and bring the change to the containers."""
    service_id = ident(uuid, "service")
    body, context = await asked(request, caller, "Service Update", f"{commands.SERVICES_URI}{service_id}/", service_id)
    most = settings(request).max_containers

    def read(present: Service) -> tuple[ServiceSpec, int | None, tuple[AskedLink, ...] | None]:
        asked = read_patch(body, present.spec, present.name, most_containers=most)
        return asked.spec, asked.target, asked.links

    done = await commands.update(context, service_id, read)
    return await _changed(request, caller.id, done, 202 if done.effect is Effect.BEGUN else 200)


@router.delete("/{uuid}/")
async def terminate_service(request: Request, caller: Caller, uuid: str) -> Response:
    """Terminate all its containers and the service."""
    return await _operate(request, caller, uuid, Verb.TERMINATE)


@router.post("/{uuid}/start/")
async def start_service(request: Request, caller: Caller, uuid: str) -> Response:
    """Start all containers of a stopped or partly running service."""
    return await _operate(request, caller, uuid, Verb.START)


@router.post("/{uuid}/stop/")
async def stop_service(request: Request, caller: Caller, uuid: str) -> Response:
    """Stop all its containers."""
    return await _operate(request, caller, uuid, Verb.STOP)


@router.post("/{uuid}/scale/")
async def scale_service(request: Request, caller: Caller, uuid: str) -> Response:
    """Move to the target."""
    return await _operate(request, caller, uuid, Verb.SCALE)


@router.post("/{uuid}/redeploy/")
async def redeploy_service(request: Request, caller: Caller, uuid: str) -> Response:
    """Redeploy with the present definition and the newest image; `{"tag": "v2"}` changes the image's tag."""
    service_id = ident(uuid, "service")
    verb = commands.verb_name(Verb.REDEPLOY)
    body, context = await asked(request, caller, verb, f"{commands.SERVICES_URI}{service_id}/", service_id)
    async with commands.refusals_recorded(context, verb, service_id):
        reuse, tag = flag(request, "reuse_volumes", default=True), _tag(body)
    if tag is None:
        # Without a body, of which nothing was used, the action can be repeated.
        done = await commands.run(command(request, caller, None), service_id, Verb.REDEPLOY, reuse_volumes=reuse)
    else:
        done = await commands.redeploy_tag(context, service_id, tag, reuse_volumes=reuse)
    return await _changed(request, caller.id, done, 202)


@router.get("/{uuid}/logs/")
async def service_logs(request: Request, caller: Caller, uuid: str) -> Response:
    """The joined logs of its containers."""
    tail = read_tail(request)
    async with database(request).read() as conn:
        service = await services.get(conn, caller.id, ident(uuid, "service"))
        rows = (await containers.of_services(conn, [service.id]))[service.id]
    source = log_source(request)
    lines = await source.logs([row.id for row in rows], tail) if source else []
    return reply(request, {"logs": joined(lines, {row.id: row.name for row in rows}, tail)})


@router.get("/{uuid}/explain/")
async def why(request: Request, caller: Caller, uuid: str) -> Response:
    """Why it is as it is: what every slot waits for, and why its container is where it is."""
    installation = installation_of(settings(request))
    async with database(request).read() as conn:
        service = await services.get(conn, caller.id, ident(uuid, "service"))
        found = await explain_service(conn, service, installation, Policy())
    return reply(request, explanation_out(found))


async def _operate(request: Request, caller: Caller, uuid: str, verb: Verb) -> Response:
    service_id = ident(uuid, "service")
    done = await commands.run(command(request, caller, None), service_id, verb)
    return await _changed(request, caller.id, done, 202)


async def _changed(request: Request, account_id: UUID, done: Done, status: int) -> Response:
    """The service as it is by now, with the tag of what was done: another change in between is not its caller's."""
    async with database(request).read() as conn:
        found = await shown.fresh(conn, request, account_id, done.service_id)
    return reply_made(request, found.data, status, {"ETag": versions.tag(request, done.version)})


def _tag(body: Any) -> str | None:
    if not isinstance(body, dict) or body.get("tag") in (None, ""):
        return None
    reading = Reading()
    tag = reading.text(body["tag"], "tag", most=128)
    if reading.errors:
        raise Invalid(reading.errors)
    return tag
