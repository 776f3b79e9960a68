"""The harness itself: it leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.engine import PrivateEngine, run
from tests.harness.images import SLEEPER, ensure_images
from tests.harness.wait import wait_for

pytestmark = pytest.mark.engine


def test_an_engine_comes_back_after_kill_and_leaves_nothing_behind() -> None:
    engine = PrivateEngine()
    try:
        engine.start()
        ensure_images(engine.client())
        made = engine.client().create_container(
            SLEEPER, name="survivor", host_config={"RestartPolicy": {"Name": "always"}}
        )
        engine.client().start(made["Id"])
        engine.kill()
        engine.restart()
        assert engine.client().inspect_container(made["Id"])["State"]["Running"]
    finally:
        engine.stop()
    # Its end of the link goes with its namespace, which the kernel takes away a moment after it was asked to.
    address = f" {engine.host_address}/"
    wait_for(lambda: address not in run("ip", "addr"), timeout=60, what="its address to go")
    assert str(engine.base_url.removeprefix("unix://")) not in Path("/proc/mounts").read_text()
    assert not Path(engine.base_url.removeprefix("unix://")).parent.exists()


def test_an_engine_that_died_with_its_containers_running_leaves_none_of_them() -> None:
    engine = PrivateEngine()
    try:
        engine.start()
        ensure_images(engine.client())
        made = engine.client().create_container(SLEEPER, name="orphan")
        engine.client().start(made["Id"])
        pid = engine.pid_of(made["Id"])
        engine.kill()
    finally:
        engine.stop()
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
