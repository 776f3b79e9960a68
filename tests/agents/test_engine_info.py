"""What an agent reads out of an engine's answers about itself, and what comes of it on a real engine."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.runtime.docker import DockerRuntime
from agents.runtime.information import engine_info
from domain.assignment import EngineInfo
from domain.engine_notes import RUNC, Code, EngineSetup, flaws_of, parse_version
from domain.node import notes_on
from tests.harness.engine import PrivateEngine

OPEN = "127.0.0.1:2375"
INFO: dict[str, Any] = {
    "ID": "E", "ServerVersion": "20.10.24", "Driver": "overlay2", "NCPU": 2, "MemTotal": 4096 * 2**20, "Name": "h1",
    "DockerRootDir": "/nowhere/docker", "LiveRestoreEnabled": False, "Warnings": None,
    "SecurityOptions": ["name=seccomp,profile=default"], "Plugins": {"Authorization": None},
    "Swarm": {"LocalNodeState": "inactive"},
}  # fmt: skip
VERSION: dict[str, Any] = {
    "Components": [
        {"Name": "Engine", "Version": "20.10.24"}, {"Name": "containerd", "Version": "1.6.20~ds1"},
        {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}},
    ]
}  # fmt: skip
BRIDGE: dict[str, Any] = {
    "Name": "bridge",
    "IPAM": {"Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]},
    "Options": {"com.docker.network.bridge.enable_icc": "true"},
}
MORE = "\n         Access to the remote API is equivalent to root access on the host."


def setup(bridge: dict[str, Any] = BRIDGE, **info: Any) -> EngineSetup:
    found = engine_info(INFO | info, VERSION, [bridge]).setup
    assert found is not None
    return found


def test_an_engine_as_it_comes() -> None:
    assert engine_info(INFO, VERSION, [{"Name": "bridge2"}, BRIDGE]) == EngineInfo(
        engine_id="E", version="20.10.24", storage_driver="overlay2", cpus=2, memory=4096, gateway="172.17.0.1",
        place="h1:/nowhere/docker",
        setup=EngineSetup(
            runc="1.1.5+ds1", containerd="1.6.20~ds1", live_restore=False, user_namespaces=False, icc=True
        ),
    )  # fmt: skip


def test_what_an_engine_does_not_say_is_not_made_up() -> None:
    assert engine_info({}, {}, []).setup == EngineSetup()
    assert setup({"Name": "bridge", "Options": None}).icc is None


@pytest.mark.parametrize(
    ("warning", "address"),
    [
        (f"WARNING: API is accessible on http://0.0.0.0:2375 without encryption.{MORE}", "http://0.0.0.0:2375"),
        (
            f"WARNING: API is accessible on https://10.0.0.1:2376 without TLS client verification.{MORE}",
            "https://10.0.0.1:2376",
        ),
        (f"[DEPRECATION NOTICE]: API is accessible on http://[::]:2375 without encryption.{MORE}", "http://[::]:2375"),
    ],
)
def test_an_open_api_is_found_among_the_warnings(warning: str, address: str) -> None:
    assert setup(Warnings=["WARNING: No swap limit support", warning, warning]).open_api == (address,)
    assert setup(Warnings=["WARNING: bridge-nf-call-iptables is disabled"]).open_api == ()


def test_the_rest_of_it() -> None:
    assert setup(LiveRestoreEnabled=True).live_restore is True
    assert setup(SecurityOptions=["name=seccomp,profile=default", "name=userns"]).user_namespaces is True
    assert setup(SecurityOptions=["name=rootless"]).user_namespaces is True
    assert setup(SecurityOptions=[]).user_namespaces is False
    assert setup(Swarm={"LocalNodeState": "active"}).swarm is True
    assert setup(Plugins={"Authorization": ["opa"]}).authorization is True
    closed = BRIDGE | {"Options": {"com.docker.network.bridge.enable_icc": "false"}}
    assert setup(closed).icc is False


@pytest.fixture
def other() -> Iterator[PrivateEngine]:
    """An engine that is set up otherwise than engines come."""
    private = PrivateEngine(live_restore=True, extra=("-H", f"tcp://{OPEN}", "--tls=false", "--icc=false"))
    try:
        private.start()
        yield private
    finally:
        private.stop()


async def codes(engine: PrivateEngine) -> tuple[EngineInfo, set[Code]]:
    runtime = DockerRuntime(engine.base_url)
    try:
        info = await runtime.info()
    finally:
        await runtime.close()
    notes = notes_on(info)
    assert notes is not None
    return info, {note.code for note in notes}


@pytest.mark.engine
async def test_real_engines_are_told_apart(engine: PrivateEngine, other: PrivateEngine) -> None:
    (usual, told), (unusual, told_of_other) = await codes(engine), await codes(other)
    assert told - told_of_other == {Code.LIVE_RESTORE, Code.DEFAULT_BRIDGE}
    assert told_of_other - told == {Code.API}
    assert unusual.setup is not None
    assert unusual.setup.open_api == (f"http://{OPEN}",)
    # What is said of versions is of those that this machine has, whichever these are.
    assert usual.setup is not None
    said = {each["Name"]: each["Version"] for each in engine.client().version()["Components"]}
    assert (usual.version, usual.setup.runc) == (said["Engine"], said["runc"])
    assert None not in (parse_version(said["Engine"]), parse_version(said["runc"]))
    assert (Code.RUNC in told) is bool(flaws_of(said["runc"], RUNC))
    assert Code.USER_NAMESPACES in told


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.engine
async def test_asking_an_engine_who_it_is_leaves_nothing_open(engine: PrivateEngine) -> None:
    """Each 30 s of the years that an agent runs, also while others ask the engine something (I15)."""
    runtime = DockerRuntime(engine.base_url)
    gc.collect()
    gc.disable()
    try:
        found = []
        for _ in range(30):
            await asyncio.gather(runtime.info(), runtime.incarnation(), runtime.incarnation())
            found.append(open_files())
        # By whether they ask at the same moment, one to three connections are kept for the next questions.
        assert found[-1] <= found[1] + 4, found
    finally:
        gc.enable()
        await runtime.close()
