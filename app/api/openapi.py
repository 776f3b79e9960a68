"""/openapi.json: the description of the API, for people and programs that have no key yet."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.responses import reply
from app.openapi.document import document

router = APIRouter()


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """The document, made once."""
    state = request.app.state
    if not hasattr(state, "document"):
        found = [route for each in state.routers for route in each.routes]
        state.document = document(request.app.version, found)
    return reply(request, state.document)
