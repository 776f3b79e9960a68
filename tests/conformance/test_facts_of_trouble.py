"""Facts of an engine in trouble: its containerd hangs or is killed, its disk is full (RELIABILITY section 5)."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.harness.disk import fill
from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER
from tests.harness.wait import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


def create(engine: PrivateEngine) -> str:
    return str(engine.client().create_container(SLEEPER)["Id"])


def state(engine: PrivateEngine, container: str) -> dict[str, Any]:
    return dict(engine.client().inspect_container(container)["State"])


def test_e8_e7_with_a_hung_containerd_lists_answer_operations_hang_and_are_done_later(
    own_engine: PrivateEngine,
) -> None:
    made, pids = create(own_engine), own_engine.processes("containerd")
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        hasty = own_engine.client(timeout=2)
        assert hasty.ping()
        assert [each["Id"] for each in hasty.containers(all=True)] == [made]
        with pytest.raises(requests.Timeout):
            hasty.start(made)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    wait_for(lambda: state(own_engine, made)["Running"] or None, timeout=30, what="what timed out to be carried out")


def test_e9_a_killed_containerd_comes_back_and_starts_go_on(own_engine: PrivateEngine) -> None:
    kept, made = create(own_engine), create(own_engine)
    own_engine.client().start(kept)
    pid = state(own_engine, kept)["Pid"]
    for each in own_engine.processes("containerd"):
        os.kill(each, signal.SIGKILL)
    began = time.monotonic()

    def started() -> bool | None:
        try:
            own_engine.client().start(made)
        except Exception:
            return None
        return True

    wait_for(started, timeout=60, what="a start to work again", every=0.2)
    print(f"a start works {time.monotonic() - began:.1f} s after its containerd was killed")
    assert state(own_engine, kept)["Pid"] == pid, "what ran runs on"


def test_e35_what_ends_while_its_containerd_is_away_may_be_shown_as_running_until_somebody_kills_it(
    own_engine: PrivateEngine,
) -> None:
    """Neither its end nor its policy: found by chaos, seed 68. Which ends get lost is a matter of moments."""
    client: Any = own_engine.client()
    policy = client.create_host_config(restart_policy={"Name": "always"})
    made = [str(client.create_container(SLEEPER, host_config=policy)["Id"]) for _ in range(4)]
    for each in made:
        client.start(each)
    pids = {each: state(own_engine, each)["Pid"] for each in made}
    for pid in own_engine.processes("containerd"):
        os.kill(pid, signal.SIGKILL)
    time.sleep(5)
    os.kill(pids[made[0]], signal.SIGKILL)
    wait_for(lambda: own_engine.processes("containerd") or None, timeout=60, what="another containerd", every=0.02)
    for each in made[1:]:
        os.kill(pids[each], signal.SIGKILL)
        time.sleep(0.2)
    other = create(own_engine)

    def started() -> bool | None:
        try:
            client.start(other)
        except Exception:
            return None
        return True

    def ended(container: str) -> bool | None:
        return not state(own_engine, container)["Running"] or None

    wait_for(started, timeout=60, what="a start to work again", every=0.2)
    time.sleep(3)
    lost = [each for each in made if state(own_engine, each)["Pid"] == pids[each]]
    print(f"the ends of {len(lost)} of {len(made)} were told to nobody")
    for each in lost:
        assert state(own_engine, each)["Running"]
        assert not Path(f"/proc/{pids[each]}").exists()
        assert client.top(each)["Processes"] is None
        client.kill(each)
        wait_for(partial(ended, each), timeout=10, what="its end to be told")


def test_e23_on_a_full_disk_nothing_is_made_and_what_ends_ends_but_lists_do_not_say_so(
    engine_on_small_disk: PrivateEngine,
) -> None:
    engine = engine_on_small_disk
    client: Any = engine.client()
    kept, ended = create(engine), create(engine)
    for each in (kept, ended):
        client.start(each)
    filler = fill(engine.data)
    answer = client._post(client._url("/containers/create"), json={"Image": SLEEPER})
    assert (answer.status_code, "no space left on device" in answer.text) == (500, True)
    client.stop(ended, timeout=1)
    assert not state(engine, ended)["Running"]
    assert state(engine, kept)["Running"]
    listed = {each["Id"]: each["State"] for each in client.containers(all=True)}
    assert listed[ended] == "running", "the list is of what could be written last"
    client.remove_container(ended)
    filler.unlink()
    client.start(create(engine))
