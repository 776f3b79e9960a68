"""How long a start and a crash take beside the raw engine, in one run: `./tutela bench start [rounds]`.

Raw: create and start through the SDK on a user-defined bridge. Tutela: `POST .../start/` until the API shows the
container Running. Crash: kill -9 of the container's process until it runs again.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable

from bench._stage import stage
from tests.harness.engine import PrivateEngine
from tests.harness.images import SLEEPER
from tests.harness.server import TutelaProcess
from tests.harness.wait import wait_for

POLL = 0.005


def raw_start(engine: PrivateEngine, number: int) -> float:
    """Seconds to create and start one container with the SDK."""
    client = engine.client()
    began = time.perf_counter()
    made = client.create_container(
        SLEEPER,
        name=f"raw-{number}",
        host_config=client.create_host_config(init=True, network_mode="raw"),
        networking_config={"EndpointsConfig": {"raw": {"Aliases": [f"raw-{number}"]}}},
    )
    client.start(made["Id"])
    took = time.perf_counter() - began
    client.remove_container(made["Id"], force=True)
    return took


def raw_crash(engine: PrivateEngine, number: int) -> float:
    """Seconds from kill -9 to running again under the engine's own policy `always`."""
    client = engine.client()
    made = client.create_container(
        SLEEPER, name=f"crash-{number}", host_config=client.create_host_config(restart_policy={"Name": "always"})
    )
    client.start(made["Id"])
    took = crash(engine, made["Id"])
    client.remove_container(made["Id"], force=True)
    return took


def crash(engine: PrivateEngine, engine_id: str) -> float:
    """Seconds from kill -9 of a running container's process until it runs with another one."""
    pid = engine.pid_of(engine_id)
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)

    def again() -> bool | None:
        state = engine.client().inspect_container(engine_id)["State"]
        return (state["Running"] and not state["Restarting"] and state["Pid"] not in {0, pid}) or None

    wait_for(again, timeout=20, what="the container to run again", every=POLL)
    return time.perf_counter() - began


def tutela_start(server: TutelaProcess, number: int) -> tuple[float, str, str]:
    """Seconds from `POST start/` to Running by the API, the service's uuid, and its container's."""
    body = {"image": SLEEPER, "name": f"bench-{number}", "autorestart": "ALWAYS"}
    uuid = server.api.post("/api/v1/service/", json=body).json["uuid"]
    began = time.perf_counter()
    assert server.api.post(f"/api/v1/service/{uuid}/start/").status == 202

    def running() -> str | None:
        service = server.api.get(f"/api/v1/service/{uuid}/").json
        return service["containers"][0] if service["running_num_containers"] == 1 else None

    container = wait_for(running, timeout=30, what="the container to be Running", every=POLL)
    return time.perf_counter() - began, uuid, container.strip("/").rsplit("/", 1)[-1]


def tutela_crash(engine: PrivateEngine, container: str) -> float:
    """The same for a container of Tutela."""
    (found,) = engine.client().containers(filters={"label": f"tutela.container={container}"})
    return crash(engine, found["Id"])


def show(name: str, values: list[float], bar: float | None = None) -> None:
    """A line of the table."""
    middle = statistics.median(values)
    verdict = "" if bar is None else f"   bar <= {bar:.2f}: {'met' if middle <= bar else 'MISSED'}"
    print(f"{name:44} p50 {middle:6.3f}   min {min(values):6.3f}   max {max(values):6.3f}{verdict}")


def rounds(count: int, once: Callable[[int], float]) -> list[float]:
    """So many figures."""
    return [once(number) for number in range(count)]


def measure(engine: PrivateEngine, server: TutelaProcess, count: int) -> None:
    """Raw and Tutela in turn, so that the machine's moods hit both."""
    engine.client().create_network("raw", driver="bridge")
    raw, ours, services, containers = [], [], [], []
    for number in range(count):
        raw.append(raw_start(engine, number))
        took, uuid, container = tutela_start(server, number)
        ours.append(took)
        services.append(uuid)
        containers.append(container)
    show("start: raw engine, user-defined bridge", raw)
    show("start: POST start/ to Running by API", ours, 0.45)
    show("crash: raw engine, policy always", rounds(count, lambda number: raw_crash(engine, number)))
    show("crash: Tutela up", [tutela_crash(engine, each) for each in containers], 0.45)
    server.kill()
    idle = [tutela_start_free(engine, each) for each in containers]
    show("crash: Tutela stopped", idle, 0.45)
    server.start()


def tutela_start_free(engine: PrivateEngine, container: str) -> float:
    """A first crash: the engine's back-off is reset after 10 s of life, so wait those out first."""
    (found,) = engine.client().containers(filters={"label": f"tutela.container={container}"})
    client = engine.client()

    def calm() -> bool | None:
        started = client.inspect_container(found["Id"])["State"]["StartedAt"]
        return (time.time() - _seconds(started) > 10.5) or None

    wait_for(calm, timeout=20, what="the container to be calm", every=0.2)
    return crash(engine, found["Id"])


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text[:26].rstrip("Z") + "+00:00").timestamp()


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with stage() as (engine, server):
        tutela_start(server, 1000)  # warm
        measure(engine, server, count)


if __name__ == "__main__":
    main()
