"""kill -9 of the agent before and after each change of the engine: nothing double, nothing lost."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.assignment import ContainerAssignment
from domain.container import Want, spec_digest
from domain.spec import CrashPolicy
from tests.agents.build import CLUSTER, assigned, attachment, spec
from tests.agents.run_agent import WANTED
from tests.conftest import sweep
from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER
from tests.harness.wait import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
STEPS = 5
"""Two containers on one network: make it, create and start each."""


def two(engine: PrivateEngine) -> list[ContainerAssignment]:
    api: Any = engine.client()
    net, tag = f"k-{uuid4().hex[:6]}", uuid4().int % 200
    made = spec(api.inspect_image(SLEEPER)["Id"], image=SLEEPER)
    return [
        replace(
            assigned(n, networks=(attachment(net, f"web-{n}", subnet=f"10.195.{tag}.0/28"),)),
            container_id=uuid4(),
            spec=made,
            spec_digest=spec_digest(made),
            autorestart=CrashPolicy.ALWAYS if n == 1 else CrashPolicy.OFF,
        )
        for n in (1, 2)
    ]


def begin(engine: PrivateEngine, base: Path, *fatal: str) -> subprocess.Popen[bytes]:
    log = (base / "agent.log").open("ab")
    argv = [sys.executable, "-m", "tests.agents.run_agent", engine.base_url]
    argv += [str(base / name) for name in ("state", "wanted", "seen")]
    try:
        return subprocess.Popen([*argv, *fatal], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    finally:
        log.close()


@pytest.mark.parametrize("after", ["0", "1"], ids=["before", "after"])
def test_killed_at_each_change(engine: PrivateEngine, tmp_path: Path, after: str) -> None:
    api: Any = engine.client()
    for call in range(1, STEPS + 1):
        base = tmp_path / str(call)
        base.mkdir()
        rows = two(engine)
        (base / "wanted").write_bytes(WANTED.dump_json(tuple(rows)))
        dying = begin(engine, base, str(call), after)
        assert dying.wait(timeout=60) == -9, (base / "agent.log").read_text()
        agent = begin(engine, base)
        try:
            wait_for(lambda rows=rows: states(api, rows) == [["running"], ["running"]], timeout=60, what="both to run")  # type: ignore[misc]
            ids = {each["Id"] for each in mine(api)}
            assert len(ids) == 2
            assert len(api.networks(filters={"label": f"tutela.cluster={CLUSTER}"})) == 1
            agent.terminate()
            agent.wait(timeout=60)
        finally:
            agent.kill()
            agent.wait(timeout=30)
        sweep(engine)


def test_killed_while_removing(engine: PrivateEngine, tmp_path: Path) -> None:
    api: Any = engine.client()
    rows = two(engine)
    (tmp_path / "wanted").write_bytes(WANTED.dump_json(tuple(rows)))
    agent = begin(engine, tmp_path)
    wait_for(lambda: states(api, rows) == [["running"], ["running"]], timeout=60, what="both to run")
    agent.kill()
    agent.wait(timeout=30)
    (tmp_path / "wanted").write_bytes(WANTED.dump_json(tuple(replace(each, want=Want.GONE) for each in rows)))
    for call in (2, 1):
        dying = begin(engine, tmp_path, str(call), "1")
        dying.wait(timeout=60)
    last = begin(engine, tmp_path)
    wait_for(lambda: mine(api) == [], timeout=60, what="both to go")
    wait_for(lambda: api.networks(filters={"label": "tutela.cluster"}) == [], timeout=60, what="the network to go")
    last.terminate()
    last.wait(timeout=60)


def mine(api: Any) -> list[Any]:
    found: list[Any] = api.containers(all=True, filters={"label": f"tutela.cluster={CLUSTER}"})
    return found


def states(api: Any, rows: list[ContainerAssignment]) -> list[list[str]]:
    """Each row's containers' states."""
    listed = mine(api)
    return [
        [each["State"] for each in listed if each["Labels"]["tutela.container"] == str(row.container_id)]
        for row in rows
    ]
