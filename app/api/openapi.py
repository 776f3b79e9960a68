"""/openapi.json: the description of the API, for people and programs that have no key yet."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastapi import APIRouter, Request, Response

from app.api.responses import reply
from app.api.routing import Operation
from app.openapi.document import Served, document

router = APIRouter(route_class=Operation)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The document, made once."""
    state = request.app.state
    if not hasattr(state, "document"):
        state.document = document(request.app.version, served(state.routers))
    return reply(request, state.document)


def served(routers: Iterable[APIRouter]) -> list[Served]:
    """Each operation of the API; `{name:path}` without its converter."""
    return [
        Served(
            method=method,
            path=re.sub(r"{(\w+):\w+}", r"{\1}", route.path),
            summary=(route.endpoint.__doc__ or "").strip().split("\n", 1)[0],
        )
        for router in routers
        for route in router.routes
        if isinstance(route, Operation) and route.include_in_schema
        for method in sorted(route.methods or ())
    ]
