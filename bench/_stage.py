"""What is measured on: private engines with the test images, a Postgres with fsync on, the real server and agents."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from tests.harness.engine import PrivateEngine
from tests.harness.hosts import Hosts
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


@contextlib.contextmanager
def stage_of(count: int) -> Iterator[Hosts]:
    """So many engines on a bridge, joined agents, a control plane beside them; all of it ends with the block."""
    postgres = TestPostgres(options={})
    try:
        asyncio.run(postgres.make_template())
        # Not in swarm mode of its own: that is what the same engines are measured with.
        hosts = Hosts(asyncio.run(postgres.fresh()), count, network="ports")
        try:
            hosts.start()
            yield hosts
        finally:
            hosts.close()
    finally:
        postgres.close()
