"""The application in process over a real Postgres, without an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from app.main import create_app
from app.settings import Settings
from orchestrator.store import accounts
from orchestrator.store.db import Database

KEY = "k:with:colons"
API = "/api/v1"


class Client:
    """The application in process, and its database."""

    def __init__(self, db: Database, http: httpx2.AsyncClient, app: Any) -> None:
        self.db, self.http, self.app = db, http, app

    async def call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"ApiKey admin:{KEY}", **more.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **more)

    async def create(self, **body: Any) -> dict[str, Any]:
        answer = await self.call("POST", f"{API}/service/", json={"image": "tutum/hello-world", **body})
        assert answer.status_code == 201, answer.text
        out: dict[str, Any] = answer.json()
        return out

    async def count(self, table: str = "services") -> int:
        async with self.db.read() as conn:
            number: int = await conn.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a test's constant
            return number


@asynccontextmanager
async def application(database_url: str) -> AsyncIterator[Client]:
    """The application on this database, with an admin."""
    db = await Database.open(database_url, size=4)
    async with db.transaction() as conn:
        await accounts.ensure_admin(conn, "admin", KEY)
    app = create_app(Settings(), db, None)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as http:
        yield Client(db, http, app)
    await db.close()
