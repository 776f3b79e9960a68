"""What can be killed, and when it has recovered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.chaos.watch import LABEL, Watch
from tests.harness.hosts import Host, Hosts
from tests.harness.wait import let_pass, wait_for

LIMIT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`kill` it, `start` it again (None: it has to come by itself), `well`: whether it has recovered from that."""

    kind: str
    kill: Callable[[], None]
    start: Callable[[], None] | None
    well: Callable[[], bool]


def parts_of(hosts: Hosts, watches: Mapping[str, Watch]) -> dict[str, Part]:
    """By name: the control plane, and of each host its agent, its dockerd, and a container."""
    found = {"control plane": _control_plane(hosts)}
    for host in hosts.hosts:
        found[f"agent {host.name}"] = _agent(host)
        found[f"dockerd {host.name}"] = _dockerd(hosts, host)
        found[f"container {host.name}"] = _container(host, watches[host.name])
    return found


def recover(part: Part, away: float) -> float:
    """Kill it, start it after `away` seconds; the seconds from there until it is well. Raises AssertionError."""
    part.kill()
    if part.start is not None:
        let_pass(away)
    began = time.monotonic()
    if part.start is not None:
        part.start()
    wait_for(part.well, timeout=LIMIT, what=f"{part.kind} to recover", every=0.05)
    return time.monotonic() - began


def _connections(host: Host) -> int:
    return host.log().count('"event": "connected"')


def _control_plane(hosts: Hosts) -> Part:
    """Well when it answers and has all agents again."""
    before: dict[str, int] = {}

    def kill() -> None:
        before.update({host.name: _connections(host) for host in hosts.hosts})
        hosts.server.kill()

    def well() -> bool:
        return all(_connections(host) > before[host.name] for host in hosts.hosts) and deployed(hosts)

    return Part(kind="control plane", kill=kill, start=hosts.server.start, well=well)


def deployed(hosts: Hosts) -> bool:
    """Whether the API shows all hosts as Deployed."""
    states = {each["state"] for each in hosts.api.get("/api/v1/node/").json["objects"]}
    return states == {"Deployed"}


def _agent(host: Host) -> Part:
    """Well when it has a session again."""
    before = 0

    def kill() -> None:
        nonlocal before
        before = _connections(host)
        host.kill_agent()

    return Part(kind="agent", kill=kill, start=host.start_agent, well=lambda: _connections(host) > before)


def _dockerd(hosts: Hosts, host: Host) -> Part:
    """Well when it answers and the API shows its host as Deployed."""
    return Part(kind="dockerd", kill=host.engine.kill, start=host.engine.restart, well=lambda: deployed(hosts))


def _container(host: Host, watch: Watch) -> Part:
    """The process of the first one: the one container that may have another life, and must."""
    lives = 0
    target = ""

    def kill() -> None:
        nonlocal lives, target
        each = min(host.engine.client().containers(filters={"label": LABEL}), key=lambda each: str(each["Names"]))
        target = each["Labels"][LABEL]
        lives = len(watch.lives[target])
        watch.expect(target)
        os.kill(host.engine.pid_of(each["Id"]), signal.SIGKILL)

    return Part(kind="container", kill=kill, start=None, well=lambda: len(watch.lives[target]) > lives)
