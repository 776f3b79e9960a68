"""What Tutela's API is held against: FastAPI and asyncpg, and nothing else: `python -m bench._bare PORT DSN`.

A row for each object holds the very text that Tutela answers. One worker, on the loop and the parser that Tutela
runs on. Nobody is asked who they are.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import uvicorn
from fastapi import FastAPI, Request, Response

CONNECTIONS = 12
"""As Tutela's own pool has."""

TABLE = "CREATE TABLE objects (id uuid PRIMARY KEY, place bigserial UNIQUE, body text NOT NULL, said jsonb)"


def make_app(dsn: str) -> FastAPI:
    """The application over a database with the table."""

    @asynccontextmanager
    async def pooled(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = await asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
        app.state.example = await app.state.pool.fetchval("SELECT body FROM objects ORDER BY place LIMIT 1")
        yield
        await app.state.pool.close()

    app = FastAPI(lifespan=pooled, openapi_url=None)

    def sent(body: str, status: int = 200) -> Response:
        return Response(content=body, status_code=status, media_type="application/json")

    @app.get("/objects/")
    async def some(request: Request, limit: int) -> Response:
        rows = await request.app.state.pool.fetch("SELECT body FROM objects ORDER BY place LIMIT $1", limit)
        return sent('{"meta":{},"objects":[' + ",".join([row["body"] for row in rows]) + "]}")

    @app.get("/objects/{ident}/")
    async def one(request: Request, ident: UUID) -> Response:
        return sent(await request.app.state.pool.fetchval("SELECT body FROM objects WHERE id = $1", ident))

    @app.post("/objects/")
    async def create(request: Request) -> Response:
        said: Any = await request.body()
        await request.app.state.pool.execute(
            "INSERT INTO objects (id, body, said) VALUES ($1, $2, $3)",
            uuid4(),
            request.app.state.example,
            said.decode(),
        )
        return sent(request.app.state.example, 201)

    @app.patch("/objects/{ident}/")
    async def change(request: Request, ident: UUID) -> Response:
        said: Any = await request.body()
        return sent(
            await request.app.state.pool.fetchval(
                "UPDATE objects SET said = $2 WHERE id = $1 RETURNING body", ident, said.decode()
            )
        )

    return app


if __name__ == "__main__":
    uvicorn.run(
        make_app(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
    )
