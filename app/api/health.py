"""/health: the one path that needs no credentials."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.deps import database
from app.api.responses import reply

router = APIRouter()


@router.get("/health", include_in_schema=False)
async def health(request: Request) -> Response:
    """200 while the API and its database answer, else 503."""
    await database(request).ping()
    return reply(request, {"status": "ok", "version": request.app.version})
