"""What is measured on: a private engine with the test images, a Postgres with fsync on, the real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from tests.harness.engine import PrivateEngine
from tests.harness.images import ensure_images
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess


@contextlib.contextmanager
def stage() -> Iterator[tuple[PrivateEngine, TutelaProcess]]:
    """The engine and the running server; all of it ends with the block."""
    engine, postgres = PrivateEngine(), TestPostgres(options={})
    try:
        engine.start()
        ensure_images(engine.client())
        asyncio.run(postgres.make_template())
        server = TutelaProcess(docker_host=engine.base_url, dsn=asyncio.run(postgres.fresh()))
        try:
            server.start()
            yield engine, server
        finally:
            server.close()
    finally:
        engine.stop()
        postgres.close()
