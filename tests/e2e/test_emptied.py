"""An engine whose disk is not mounted when it starts: nothing is made on what is there instead (F54)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.scenario import User, owned
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

pytestmark = pytest.mark.e2e


async def test_nothing_is_made_on_an_engine_that_came_back_empty(
    own_engine: PrivateEngine, postgres: TestPostgres
) -> None:
    server = TutelaProcess(docker_host=own_engine.base_url, dsn=await postgres.fresh())
    try:
        server.start()
        user = User(server)
        uuid = user.run("db", target=2, autorestart="ALWAYS", bindings=[{"container_path": "/data"}])
        before = {each["Id"] for each in owned(own_engine)}

        def node() -> dict[str, Any]:
            (found,) = server.api.get("/api/v1/node/").json["objects"]
            return dict(found)

        assert node()["quarantine"] is None
        own_engine.terminate()
        own_engine.unmount()
        own_engine.restart()
        found = wait_for(lambda: node()["quarantine"], timeout=30, what="the node to be left alone")
        assert found["cause"] == "engine-changed"
        assert "its disk is not mounted" in found["reason"]
        assert "accept-engine" in found["remedy"]
        server.api.post(f"/api/v1/service/{uuid}/start/")
        server.kill()
        server.start()
        # The record still says so: the next agent has to have looked for itself.
        wait_for(lambda: server.log().count("agent registered") > 2, timeout=30, what="the next agent to begin")
        await asyncio.sleep(2)
        assert node()["quarantine"]
        assert owned(own_engine) == []
        assert not own_engine.client().volumes()["Volumes"]
        own_engine.terminate()
        own_engine.unmount()
        own_engine.restart()
        wait_for(lambda: node()["quarantine"] is None, timeout=60, what="the node to be as it was")
        user.is_in(uuid, "Running")
        assert {each["Id"] for each in owned(own_engine)} == before
    finally:
        server.close()
