"""The API's routes: FastAPI's, with a request handler of our own behind each (its `route_class`).

An endpoint takes the request, the parts of its path as text, and, where its signature has a `Caller`, the account
that asks. FastAPI's handler solves a graph of dependencies for each request to find these out, which was a good part
of a small one's time (docs/performance.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from app.api.audited import SAFE
from app.api.deps import Caller, account
from app.api.once import begun
from app.api.security import Guard, permitted
from app.api.versions import HEADER, expected
from app.openapi.table import OPERATIONS


class Operation(APIRoute):
    """One method of one path, behind the guard that all of them have."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request. Raises TypeError for an endpoint with parameters of other kinds."""
        endpoint, callers = self.endpoint, _callers(self.endpoint)
        versioned = any(_versioned(method, self.path) for method in self.methods or ())
        guards = {method: Guard.of(method, self.path) for method in self.methods or ()}

        async def answer(request: Request) -> Response:
            await permitted(request, guards[request.method])
            await begun(request)
            if HEADER in request.headers and request.method not in SAFE:
                expected(request, versioned=versioned)
            asking = {name: account(request) for name in callers}
            response: Response = await endpoint(request, **request.path_params, **asking)
            return response

        return answer

    @cached_property
    def _begin(self) -> str:
        return self.path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route; most of the many are told apart by how their paths begin, before their patterns are tried."""
        return super().matches(scope) if scope["path"].startswith(self._begin) else (Match.NONE, {})


def _versioned(method: str, path: str) -> bool:
    row = OPERATIONS.get((method, path))
    return row is not None and row.conditional(method, path)


def _callers(endpoint: Callable[..., Any]) -> list[str]:
    """The names of its parameters that are a `Caller`."""
    request, *others = inspect.signature(endpoint, eval_str=True).parameters.values()
    if request.annotation is not Request or any(each.annotation not in (str, Caller) for each in others):
        raise TypeError(f"{endpoint.__name__} takes a Request first, then parts of its path (str) and a Caller")
    return [each.name for each in others if each.annotation == Caller]
