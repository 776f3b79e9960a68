"""Each role alone as a process: API, orchestrator and agent on one database."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app import monitor
from app.first_start import KEY_FILE
from app.settings import Settings
from tests.agents.harness import eventually
from tests.conftest import sweep
from tests.e2e.scenario import User, owned
from tests.fleet.hosts import control_plane, echoed
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import Api, TutelaProcess
from tests.harness.wait import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


class Split(NamedTuple):
    """The three processes."""

    api: TutelaProcess
    orchestrator: TutelaProcess
    agent: TutelaProcess


@pytest.fixture(scope="module")
async def dsn(postgres: TestPostgres) -> str:
    return await postgres.fresh()


@pytest.fixture(scope="module")
def split(engine: PrivateEngine, dsn: str) -> Iterator[Split]:
    api = control_plane(dsn, roles="api")
    orchestrator = control_plane(dsn, roles="orchestrator")
    agent = control_plane(dsn, docker_host=engine.base_url, roles="agent")
    made = Split(api, orchestrator, agent)
    try:
        api.start()
        # They have no key of their own, and what they serve needs none.
        agent.api = Api(api.port, api.state_dir / KEY_FILE)
        with ThreadPoolExecutor(2) as at_once:
            list(at_once.map(TutelaProcess.start, (orchestrator, agent)))
        yield made
    finally:
        for each in made:
            each.close()
        sweep(engine)


def figure(server: TutelaProcess, name: str, split: Split) -> float:
    """A figure of the process, asked with the admin's key."""
    text = Api(server.port, split.api.state_dir / KEY_FILE).get("/metrics").text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def status(server: TutelaProcess, path: str) -> int:
    """What anybody is answered there."""
    return Api(server.port, server.state_dir / "none").get(path, auth=False).status


async def test_each_role_alone_and_all_together(split: Split, engine: PrivateEngine) -> None:
    api, orchestrator, agent = split
    user = User(api)
    uuid = await asyncio.to_thread(user.run, "web", target=2, run_command="sh -c 'echo begun; exec sleep 1000'")
    # Each says how it is, and counts what is its own work.
    for each in split:
        assert [status(each, path) for path in ("/health", "/healthz", "/readyz", "/metrics")] == [200, 200, 200, 401]
    assert {status(each, "/api/v1/service/") for each in (orchestrator, agent)} == {404}
    passes = 'tutela_passes_total{outcome="done"}'
    assert [figure(each, passes, split) > 0 for each in split] == [False, True, False]
    assert [figure(each, "tutela_reports_total", split) > 0 for each in split] == [False, False, True]
    # Logs and commands reach through to the agent's process.
    wait_for(lambda: user.api.get(f"/api/v1/service/{uuid}/logs/").json["logs"].count("begun") == 2, timeout=20,
             what="the logs of both")  # fmt: skip
    container = user.containers(uuid)[0]["uuid"]
    assert await echoed(api, container) == ("there\r\nEOF", 1000)


def test_what_is_asked_without_the_orchestrator_is_done_when_it_is_back(split: Split, engine: PrivateEngine) -> None:
    api, orchestrator, _ = split
    user = User(api)
    first = user.run("first")
    there, *others = owned(engine, running=True)
    orchestrator.kill()
    uuid = user.create("asked")
    answer = user.api.post(f"/api/v1/service/{uuid}/start/")
    assert answer.status == 202, answer.text
    orchestrator.start()
    assert user.ended(answer, wait="Success")
    api.kill()
    # The others need no API: what dies is brought back.
    engine.client().remove_container(there["Id"], force=True)
    wait_for(lambda: len(owned(engine, running=True)) == len(others) + 2, timeout=30, what="all to run")
    api.start()
    wait_for(lambda: user.get(first)["state"] == "Running", timeout=30, what="it to be known")


async def test_a_port_that_is_taken_ends_no_role(capsys: pytest.CaptureFixture[str]) -> None:
    """The log says what is not served; the role goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(port=taken.getsockname()[1], roles="orchestrator", database_url="postgresql://none")
        serving = asyncio.create_task(monitor.listen(settings, no_app, no_server))
        await eventually(lambda: "TUTELA_PORT of its own" in capsys.readouterr().out, "the log to say so")
        assert not serving.done()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def no_app(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("nothing is served")


def no_server(_app: ASGIApp) -> uvicorn.Server:
    raise AssertionError("nothing is served")
