"""The file system of an engine's data is full: what runs goes on, what ends ends, the rest waits (F37, E23)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator

import pytest

from tests.e2e.scenario import User, owned
from tests.harness.disk import fill
from tests.harness.engine import PrivateEngine
from tests.harness.postgres import TestPostgres
from tests.harness.server import TutelaProcess

pytestmark = pytest.mark.e2e


@pytest.fixture
async def user(engine_on_small_disk: PrivateEngine, postgres: TestPostgres) -> AsyncIterator[User]:
    server = TutelaProcess(docker_host=engine_on_small_disk.base_url, dsn=await postgres.fresh())
    try:
        server.start()
        yield User(server)
    finally:
        server.close()


def runs(engine: PrivateEngine, name: str) -> bool:
    """By an inspection: on a full disk a list goes on saying what was so before (E23)."""
    found = [each["Id"] for each in owned(engine) if each["Names"][0].startswith(f"/{name}.")]
    return any(engine.client().inspect_container(each)["State"]["Running"] for each in found)


def test_what_runs_goes_on_what_ends_ends_and_the_rest_comes_with_the_space(
    user: User, engine_on_small_disk: PrivateEngine
) -> None:
    engine = engine_on_small_disk
    web = user.run("web", target=2, autorestart="ALWAYS")
    stopped, gone = user.run("stopped"), user.run("gone")
    before = {each["Id"] for each in owned(engine) if each["Names"][0].startswith("/web-")}
    filler = fill(engine.data)
    action = user.patch(web, target_num_containers=3, wait="Failed")
    assert "web-3: the node's disk is full" in action["message"]
    assert user.get(web)["state"] == "Partly running"
    user.do(stopped, "stop", wait="Success")
    assert not runs(engine, "stopped-1")
    assert user.api.delete(f"/api/v1/service/{gone}/").status == 202
    user.is_in(gone, "Terminated")
    assert not runs(engine, "gone-1")
    assert runs(engine, "web-1")
    assert runs(engine, "web-2")
    # What ends now is a matter of the engine's: there is nowhere to write that it runs again.
    victim = next(each for each in owned(engine) if each["Names"][0].startswith("/web-1."))
    os.kill(engine.pid_of(victim["Id"]), signal.SIGKILL)
    filler.unlink()
    began = time.monotonic()
    user.is_in(web, "Running")
    print(f"all run {time.monotonic() - began:.1f} s after there was space")
    assert all(runs(engine, name) for name in ("web-1", "web-2", "web-3"))
    assert not runs(engine, "stopped-1")
    assert before <= {each["Id"] for each in owned(engine)}, "nothing was made anew"
