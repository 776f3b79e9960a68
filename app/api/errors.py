"""Every error in the API's own shape: `{"error": sentence, "code": slug, "fields": {...}}` (spec 1.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from app.api.responses import reply
from app.api.security import Refused
from domain.errors import Conflict, DomainError, Invalid, NotAllowed, NotFound, Stale, Unversioned
from orchestrator.store.errors import DatabaseAway

log = structlog.get_logger("api")
_STATUS: dict[type[DomainError], tuple[int, str]] = {
    Invalid: (400, "invalid"),
    NotFound: (404, "not_found"),
    NotAllowed: (409, "not_allowed"),
    Conflict: (409, "conflict"),
    Stale: (412, "stale"),
    Unversioned: (412, "no_version"),
}


def body(error: str, code: str, **more: Any) -> dict[str, Any]:
    """The error body."""
    return {"error": error, "code": code, **more}


def install(app: FastAPI) -> None:
    """Teach the application these answers."""
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(DatabaseAway, _away)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _domain(request: Request, error: Exception) -> Any:
    status, code = next(found for kind, found in _STATUS.items() if isinstance(error, kind))
    more = {"fields": error.fields} if isinstance(error, Invalid) else {}
    if isinstance(error, NotFound):
        # What was not done to anything is not recorded.
        request.state.action_id = None
    return reply(request, body(str(error), code, **more), status)


async def _away(request: Request, _error: Exception) -> Response:
    return away(request)


def away(request: Request) -> Response:
    """503: what became of the request is not known."""
    text = "The database does not answer; what was accepted is kept. Try again in a moment."
    return reply(request, body(text, "database_away"), 503, {"Retry-After": "2"})


async def _http(request: Request, error: Exception) -> Any:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
    headers: Mapping[str, str] = error.headers or {}
    request.state.action_id = None  # refused before anything was recorded
    if isinstance(error, Refused):
        return reply(request, body(error.detail, error.code), error.status_code, headers)
    if error.status_code == 405:
        allow = ", ".join(_methods(request))
        text = f"{request.method} is not possible here; possible: {allow}"
        return reply(request, body(text, "method_not_allowed"), 405, {"Allow": allow})
    if error.status_code == 404:
        return reply(request, body("There is nothing at this path.", "not_found"), 404)
    code = "unsupported_media_type" if error.status_code == 415 else "error"
    return reply(request, body(str(error.detail), code), error.status_code, headers)


def _methods(request: Request) -> list[str]:
    """What the path takes, over all routes that fit it. HEAD goes where GET does (`app.api.middleware.Heads`)."""
    path = request.scope["path"]
    found = {
        method
        for router in request.app.state.routers
        for route in router.routes
        if isinstance(route, Route) and route.path_regex.match(path)
        for method in route.methods or ()
    }
    return sorted(found | {"HEAD"} if "GET" in found else found)


async def _unexpected(request: Request, error: Exception) -> Any:
    ident = request.scope.get("tutela.request_id", "")
    log.error("request failed", request_id=ident, path=request.url.path, exc_info=error)
    text = f"Something went wrong on the server; its log has the details under request {ident}."
    return reply(request, body(text, "internal", request_id=ident), 500)
