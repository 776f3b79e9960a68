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
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.api.once import begun
from app.api.security import guard_of, permitted

Endpoint = Callable[..., Awaitable[Response]]


class Operation(Route):
    """One method of one path."""

    def __init__(self, path: str, endpoint: Endpoint, method: str, *, include_in_schema: bool) -> None:
        super().__init__(path, endpoint, methods=[method], include_in_schema=include_in_schema)
        self.methods = {method}  # of HEAD `app.api.middleware.Heads` makes a GET
        self.app = _guarded(path, endpoint, method)


def _guarded(path: str, endpoint: Endpoint, method: str) -> Any:
    """The endpoint as an ASGI application."""
    guard = guard_of(method, path)
    _, *parameters = inspect.signature(endpoint).parameters.values()
    callers = [each.name for each in parameters if each.annotation == "Caller"]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        await permitted(request, guard)
        await begun(request)
        arguments: dict[str, Any] = scope["path_params"]
        for name in callers:
            arguments[name] = request.state.who.account
        response = await endpoint(request, **arguments)
        await response(scope, receive, send)

    return answer


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
