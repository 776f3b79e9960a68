"""One server for the scenarios that only use it: to start a process for each took longer than what they try."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import docker.errors
import pytest

from tests.conftest import sweep
from tests.e2e.scenario import owned, wait_for
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess

DELETABLE = {200, 202, 404}


@pytest.fixture(scope="module")
async def shared_server(engine: PrivateEngine, postgres: TestPostgres) -> AsyncIterator[TutelaProcess]:
    """A running Tutela on the session's engine.

    For one module: all test databases are copies and have one cluster id, so that two servers on one engine would
    remove each other's containers.
    """
    dsn = await postgres.fresh()
    process = TutelaProcess(docker_host=engine.base_url, dsn=dsn)
    try:
        process.start()
        yield process
    finally:
        process.close()
        sweep(engine)
        await postgres.drop(dsn)


@pytest.fixture
def server(shared_server: TutelaProcess, engine: PrivateEngine) -> Iterator[TutelaProcess]:
    """The server with nothing on it. Modules whose tests kill it, or want another, ask for `own_server` instead."""
    yield shared_server
    clear(shared_server, engine)


def clear(server: TutelaProcess, engine: PrivateEngine) -> None:
    """Terminate every service, without the patience of users; returns when no container is left."""

    def ended() -> bool:
        answer = server.api.get("/api/v1/service/?limit=100")
        left = [each for each in answer.json["objects"] if each["state"] != "Terminated"]
        if all(each["state"] == "Terminating" for each in left):
            for each in owned(engine, running=True):
                with contextlib.suppress(docker.errors.APIError):  # it has gone by itself
                    engine.client().kill(each["Id"])
        for each in left:
            if each["state"] != "Terminating" and server.api.delete(each["resource_uri"]).status not in DELETABLE:
                cancel(server, each["resource_uri"])
        return not left and not owned(engine)

    wait_for(ended, timeout=60, what="the services of the test to be gone", every=0.1)


def cancel(server: TutelaProcess, service: str) -> None:
    """Whatever is under way of the service."""
    for action in server.api.get(f"/api/v1/action/?object={service}&limit=100").json["objects"]:
        if action["end_date"] is None:
            server.api.post(f"{action['resource_uri']}cancel/")
