"""Which endpoint answers which path, each behind the guard that all of them have.

An endpoint takes the request, the parts of its path as text, and, where its signature has a `Caller`, the account
that asks. FastAPI's own routes solve a graph of dependencies and open stacks for each request, which was the larger
part of a small one's time (docs/performance.md); nothing here needs that.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from app.api.once import begun
from app.api.security import guard_of, permitted
from orchestrator.store.lent import Lent

Endpoint = Callable[..., Awaitable[Response]]


class Operation(Route):
    """One method of one path."""

    def __init__(self, path: str, endpoint: Endpoint, method: str, *, include_in_schema: bool) -> None:
        super().__init__(path, endpoint, methods=[method], include_in_schema=include_in_schema)
        self.methods = {method}  # of HEAD `app.api.middleware.Heads` makes a GET
        self.app = _guarded(path, endpoint, method)
        self._stem = path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route; most of the many are told apart by how their paths begin."""
        return super().matches(scope) if scope["path"].startswith(self._stem) else (Match.NONE, {})


def _guarded(path: str, endpoint: Endpoint, method: str) -> Any:
    """The endpoint as an ASGI application."""
    guard = guard_of(method, path)
    _, *parameters = inspect.signature(endpoint).parameters.values()
    callers = [each.name for each in parameters if each.annotation == "Caller"]

    async def made(request: Request) -> Response:
        await permitted(request, guard)
        await begun(request)
        arguments: dict[str, Any] = {**request.scope["path_params"]}
        for name in callers:
            arguments[name] = request.state.who.account
        return await endpoint(request, **arguments)

    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        lent = scope["tutela.lent"] = Lent(scope["app"].state.db)
        try:
            response = await made(Request(scope, receive, send))
        finally:
            await lent.give_back()
        await response(scope, receive, send)

    async def change(scope: Scope, receive: Receive, send: Send) -> None:
        response = await made(Request(scope, receive, send))
        await response(scope, receive, send)

    return read if method == "GET" else change


class Router:
    """The operations of one kind of resource, below a common path."""

    def __init__(self, prefix: str = "") -> None:
        self.routes: list[Operation] = []
        self._prefix = prefix

    def get(self, path: str, *, include_in_schema: bool = True) -> Callable[[Endpoint], Endpoint]:
        """Answer GET with the decorated endpoint."""
        return self._adding("GET", path, include_in_schema)

    def post(self, path: str) -> Callable[[Endpoint], Endpoint]:
        """Answer POST with the decorated endpoint."""
        return self._adding("POST", path)

    def patch(self, path: str) -> Callable[[Endpoint], Endpoint]:
        """Answer PATCH with the decorated endpoint."""
        return self._adding("PATCH", path)

    def delete(self, path: str) -> Callable[[Endpoint], Endpoint]:
        """Answer DELETE with the decorated endpoint."""
        return self._adding("DELETE", path)

    def _adding(self, method: str, path: str, include_in_schema: bool = True) -> Callable[[Endpoint], Endpoint]:
        def add(endpoint: Endpoint) -> Endpoint:
            whole = self._prefix + path
            self.routes.append(Operation(whole, endpoint, method, include_in_schema=include_in_schema))
            return endpoint

        return add
