"""An engine that is told to end, and has a container that takes its time: nothing is started in it meanwhile (E34)."""

from __future__ import annotations

import threading
import time

import pytest

from tests.e2e.scenario import User
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

pytestmark = pytest.mark.e2e
DEAF = "sh -c 'trap : TERM; while :; do sleep 1; done'"


async def test_what_an_ending_engine_ended_is_started_again_by_its_next_start_alone(
    own_engine: PrivateEngine, postgres: TestPostgres
) -> None:
    server = TutelaProcess(docker_host=own_engine.base_url, dsn=await postgres.fresh())
    try:
        server.start()
        user = User(server)
        user.run("deaf", run_command=DEAF)
        uuid = user.run("web", target=3, autorestart="ALWAYS")
        began, seen = time.time(), list[str]()

        def watch() -> None:
            told = {"label": f"tutela.service={uuid}"}
            for event in own_engine.client(600).events(filters=told, decode=True, since=int(began) - 60):
                seen.append(event["Action"])

        threading.Thread(target=watch, daemon=True).start()
        wait_for(lambda: seen.count("start") == 3, timeout=30, what="the events to be told")
        own_engine.terminate()
        assert seen.count("die") == 3
        assert seen.count("start") == 3, "nothing was started in it while it ended"
        own_engine.restart()
        user.is_in(uuid, "Running")
    finally:
        server.close()
