"""Counts and times every request, by the template of its route."""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.metrics import REQUEST_SECONDS, REQUESTS

METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"})


@dataclass(slots=True)
class Matched:
    """The route that took the request; the guard of the routers fills it in."""

    route: str = "none"


class Observed:
    """Gives each request its `scope["tutela.matched"]`, and counts its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        matched = scope["tutela.matched"] = Matched()
        began, status = time.monotonic(), 500

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answering)
        finally:
            # A method is the client's text: only known ones become labels.
            method = scope["method"] if scope["method"] in METHODS else "other"
            REQUESTS.add(method, matched.route, str(status))
            REQUEST_SECONDS.observe(time.monotonic() - began, method, matched.route)
