import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from app.postgres import EmbeddedPostgres

N = [0]


@pytest.fixture(scope="session")
def pg():
    pg = EmbeddedPostgres(
        Path("/tmp/smokepg2"), options={"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    )
    dsn = pg.start()
    yield dsn
    pg.stop()


@pytest.fixture
async def database_url(pg):
    N[0] += 1
    import os

    name = f"t{os.getpid()}_{N[0]}"
    c = await asyncpg.connect(pg)
    await c.execute(f"CREATE DATABASE {name}")
    await c.close()
    dsn = pg.replace("/tutela?", f"/{name}?")
    subprocess.run([sys.executable, "-m", "app.migrate", dsn], check=True)
    yield dsn
