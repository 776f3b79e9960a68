"""The body of a request that changes something, with the record of one that cannot be read (spec 1.11)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Request

from app.api.bodies import read_json
from app.api.deps import Caller, command, flag
from app.commands.services import Context, record_refusal
from domain.errors import DomainError


async def asked(
    request: Request, caller: Caller, verb: str, object_uri: str, service_id: UUID | None = None
) -> tuple[Any, Context]:
    """The body and the context of its command. Raises Invalid for a body that is no JSON, and records that;
    NotFound where there is no such service either."""
    context = command(request, caller, None)
    try:
        body = await read_json(request)
    except DomainError as refusal:
        await record_refusal(context, verb, str(refusal), service_id, object_uri)
        raise
    return body, command(request, caller, body)


async def asked_flag(
    request: Request, context: Context, verb: str, object_uri: str, name: str, *, default: bool
) -> bool:
    """A boolean of the query string. Raises Invalid in any other spelling, and records that."""
    try:
        return flag(request, name, default=default)
    except DomainError as refusal:
        await record_refusal(context, verb, str(refusal), None, object_uri)
        raise
