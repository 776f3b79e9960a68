"""The ASGI application."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig

from app import __version__
from app.api import (
    actions,
    admin_audit,
    admin_nodes,
    admin_reconciler,
    admin_users,
    auth,
    calls,
    cloud,
    containers,
    errors,
    health,
    images,
    keys,
    metrics,
    nodes,
    once,
    openapi,
    services,
    stacks,
    tags,
    triggers,
    volumes,
)
from app.api.audited import Audited
from app.api.middleware import BodyLimit, Forwarded, Heads, Paths
from app.api.observed import Observed
from app.api.routing import Operation
from app.api.shown import Made
from app.limits import Limits
from app.migrate import newest
from app.passwords import Passwords
from app.secretbox import SecretBox
from app.settings import Settings
from app.streams.hub import EventHub
from app.streams.routes import routes
from app.streams.watch import Watch
from app.wire.logs import Streams
from orchestrator.store.db import Database


def create_app(
    settings: Settings,
    db: Database,
    streams: Streams | None,
    events: asyncio.Event | None = None,
    secrets: SecretBox | None = None,
) -> FastAPI:
    """The API over this database; `streams` reaches into containers, None where no agent is in this process.

    `events` is set when there may be new rows in the table of that name. `secrets` None: the installation's.
    """
    box = secrets or SecretBox.open(settings.state_dir, settings.secret_key)
    app = _app(settings, db, box, all_routers())
    app.state.logs = streams
    app.state.hub = EventHub(db, events or asyncio.Event())
    app.router.routes.extend(routes())
    return app


def create_monitor(settings: Settings, db: Database, secrets: SecretBox) -> FastAPI:
    """Health and figures alone, for a process without the API."""
    return _app(settings, db, secrets, [health.router, metrics.router])


def _app(settings: Settings, db: Database, secrets: SecretBox, routers: list[APIRouter]) -> FastAPI:
    # Whether anybody listens to FastAPI's telemetry is asked for each request; `Observed` counts.
    quiet: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
    app = FastAPI(title="Tutela", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, telemetry=quiet)
    app.router.redirect_slashes = False
    app.state.settings = settings
    app.state.schema = newest()
    app.state.started = datetime.now(UTC)
    app.state.db = db
    app.state.secrets = secrets
    app.state.limits = Limits.of(settings)
    app.state.passwords = Passwords()
    app.state.watch = Watch(db)
    app.state.made = Made()
    errors.install(app)
    once.install(app)
    app.state.routers = routers
    for router in routers:
        strange = [each for each in router.routes if not isinstance(each, Operation)]
        if strange:
            raise TypeError(f"past the guard, as its router has no route_class=Operation: {strange}")
        # Not `include_router`, whose routes are looked through twice for each request (docs/performance.md).
        app.router.routes.extend(router.routes)
    app.add_middleware(once.Once)
    app.add_middleware(BodyLimit)
    app.add_middleware(Heads)
    app.add_middleware(Audited)
    app.add_middleware(Observed)
    app.add_middleware(Paths)
    app.add_middleware(Forwarded, proxies=settings.proxy_networks)
    return app


def all_routers() -> list[APIRouter]:
    """What is served over HTTP."""
    return [
        health.router,
        metrics.router,
        openapi.router,
        services.router,
        stacks.router,
        calls.router,
        containers.router,
        actions.router,
        auth.router,
        keys.router,
        nodes.router,
        admin_nodes.router,
        admin_users.router,
        admin_audit.router,
        admin_reconciler.router,
        tags.router,
        triggers.router,
        images.router,
        volumes.router,
        cloud.router,
    ]
