"""/health, /healthz, /readyz: for whoever watches the process, without a key; and the page for admins.

Strangers learn the names of the components, and whether each is well, and nothing else.
"""

from __future__ import annotations

import asyncio
import platform

from fastapi import APIRouter, Request, Response

from app.api.deps import database
from app.api.responses import reply
from app.api.routing import Operation
from app.lock import INSTANCE
from app.wire.health import health_out, ready_out
from app.wire.reconciler import reconciler_out
from orchestrator.store import health as store
from orchestrator.store import pauses, queue, schedule
from orchestrator.store.errors import DatabaseAway
from orchestrator.store.health import Readiness

router = APIRouter(route_class=Operation)
READY_SECONDS = 3.0


@router.get("/health", include_in_schema=False)
async def health(request: Request) -> Response:
    """200 while the API and its database answer, else 503; what older installations ask."""
    await database(request).ping()
    return reply(request, {"status": "ok", "version": request.app.version, "instance": INSTANCE})


@router.get("/healthz", include_in_schema=False)
async def alive(request: Request) -> Response:
    """200 while the process answers. Restarting it helps when this does not."""
    return reply(request, {"status": "ok"})


@router.get("/readyz", include_in_schema=False)
async def ready(request: Request) -> Response:
    """200 when the database answers, the schema is this version's, and the reconciler is not paused; else 503."""
    found: Readiness | None = None
    try:
        async with asyncio.timeout(READY_SECONDS), database(request).read() as conn:
            found = await store.readiness(conn)
    except (DatabaseAway, TimeoutError):
        pass
    shown, well = ready_out(found, request.app.state.schema)
    return reply(request, shown, 200 if well else 503)


@router.get("/api/v1/admin/health/")
async def installation(request: Request) -> Response:
    """Versions, Postgres, control planes, agents, and the age of the queue."""
    db = database(request)
    async with db.read() as conn:
        found = await store.readiness(conn)
        reconciler = reconciler_out(
            await queue.summary(conn),
            pause=await pauses.of_all(conn),
            nodes=await pauses.paused_nodes(conn),
            next_look=await schedule.soonest(conn),
        )
        shown = health_out(
            found,
            request.app.state.schema,
            versions={"tutela": request.app.version, "python": platform.python_version()},
            started=request.app.state.started,
            postgres=await store.postgres(conn),
            pool=db.pool(),
            control_planes=await store.control_planes(conn),
            agents=await store.agents(conn),
            reconciler=reconciler,
        )
    return reply(request, shown)
