"""Postgres or the engine is away: what was accepted is kept, containers go on, everything returns by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import sweep
from tests.e2e.scenario import User, owned, until
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


class Outage:
    """A server with a Postgres of its own (fsync on) that can be killed and started again."""

    def __init__(self, postgres: TestPostgres, server: TutelaProcess) -> None:
        self.postgres, self.server = postgres, server
        self.user = User(server)

    def kill_postgres(self) -> None:
        directory = parse_qs(urlsplit(self.postgres.dsn).query)["host"][0]
        (lock,) = Path(directory).glob("**/postmaster.pid")
        pid = int(lock.read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.user.api.get("/health", auth=False).status == 503, "the API to miss its database")

    def start_postgres(self) -> None:
        self.postgres.server.start()
        until(lambda: self.user.api.get("/health", auth=False).status == 200, "the API to have its database back")


@pytest.fixture
async def outage(engine: PrivateEngine) -> AsyncIterator[Outage]:
    postgres = TestPostgres(options={})
    await postgres.make_template()
    server = TutelaProcess(docker_host=engine.base_url, dsn=await postgres.fresh())
    try:
        server.start()
        yield Outage(postgres, server)
    finally:
        server.close()
        postgres.close()
        sweep(engine)


async def test_with_postgres_killed_containers_are_kept_and_the_api_says_503(
    outage: Outage, engine: PrivateEngine
) -> None:
    uuid = outage.user.run("web", target=3, autorestart="ALWAYS")
    outage.kill_postgres()
    answer = outage.user.api.post(f"/api/v1/service/{uuid}/stop/")
    assert (answer.status, answer.json["code"]) == (503, "database_away")
    assert {key.lower(): value for key, value in answer.headers.items()}["retry-after"] == "2"
    client = engine.client()
    first, second, third = owned(engine)
    client.remove_container(first["Id"], force=True)
    client.kill(second["Id"])
    os.kill(engine.pid_of(third["Id"]), signal.SIGKILL)
    until(lambda: len(owned(engine, running=True)) == 3, "three containers to run with Postgres away")
    outage.start_postgres()
    service = outage.user.is_in(uuid, "Running")
    assert service["running_num_containers"] == 3
    outage.user.patch(uuid, target_num_containers=4, wait="Success")


async def test_what_was_accepted_before_postgres_died_is_done_after(outage: Outage, engine: PrivateEngine) -> None:
    ids = [outage.user.create(f"s{n}", target=2) for n in range(4)]
    for uuid in ids:
        assert outage.user.api.post(f"/api/v1/service/{uuid}/start/").status == 202
    outage.kill_postgres()
    outage.start_postgres()
    for uuid in ids:
        assert outage.user.is_in(uuid, "Running", timeout=60)["running_num_containers"] == 2
    assert len(owned(engine)) == 8


@pytest.fixture
def apart(own_engine: PrivateEngine, database_url: str) -> Iterator[User]:
    server = TutelaProcess(docker_host=own_engine.base_url, dsn=database_url)
    try:
        server.start()
        yield User(server)
    finally:
        server.close()


def test_a_killed_engine_comes_back_with_the_same_containers(apart: User, own_engine: PrivateEngine) -> None:
    uuid = apart.run("web", target=3, autorestart="ALWAYS")
    stopped = apart.run("resting")
    apart.do(stopped, "stop", wait="Success")
    before = {each["Id"] for each in owned(own_engine)}
    own_engine.kill()
    own_engine.restart()
    until(lambda: len(owned(own_engine, running=True)) == 3, "the wanted containers to run", timeout=60)
    assert {each["Id"] for each in owned(own_engine)} == before
    assert apart.is_in(uuid, "Running")["running_num_containers"] == 3
    assert apart.get(stopped)["state"] == "Stopped"
    started = apart.api.post(f"/api/v1/service/{stopped}/start/")
    assert apart.ended(started, wait="Success")
