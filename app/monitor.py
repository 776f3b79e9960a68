"""Health and figures of a process that does not serve the API: each role alone is watched like the whole."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog
import uvicorn
from starlette.types import ASGIApp

from app.settings import Settings

log = structlog.get_logger("monitor")
RETRY_SECONDS = 5.0


async def listen(settings: Settings, app: ASGIApp, serve: Callable[[ASGIApp], uvicorn.Server]) -> None:
    """Serve the app at the settings' host and port until cancelled. A port that is taken ends no role: it is logged."""
    said = False
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    while True:
        try:
            sock = socket.create_server((settings.host, settings.port), family=family)
        except OSError as error:
            if not said:
                log.warning("health and metrics are not served: give this process a TUTELA_PORT of its own",
                            host=settings.host, port=settings.port, reason=str(error))  # fmt: skip
            said = True
            await asyncio.sleep(RETRY_SECONDS)
            continue
        log.info("health and metrics are served", host=settings.host, port=settings.port)
        with sock:
            await serve(app).serve(sockets=[sock])
