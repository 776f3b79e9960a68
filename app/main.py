"""The ASGI application."""

from __future__ import annotations

from fastapi import FastAPI

from app.api import actions, containers, errors, health, reading, services
from app.api.middleware import BodyLimit, Paths
from app.api.security import FailedLogins
from app.settings import Settings
from app.wire.logs import LogSource
from orchestrator.store.db import Database

VERSION = "0.1.0"


def create_app(settings: Settings, db: Database, logs: LogSource | None) -> FastAPI:
    """The API over this database; `logs` reads containers' output, None where no agent is in this process."""
    app = FastAPI(title="Tutela", version=VERSION, docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    app.state.settings = settings
    app.state.db = db
    app.state.logs = logs
    app.state.failed_logins = FailedLogins()
    errors.install(app)
    app.state.routers = [
        health.router,
        services.router,
        containers.router,
        actions.router,
        reading.router,
    ]
    for router in app.state.routers:
        app.include_router(router)
    app.add_middleware(BodyLimit)
    app.add_middleware(Paths)
    return app
