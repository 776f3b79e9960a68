"""Two control planes as processes on one database, and hosts whose agents know both."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from app.fleet.presence import GONE_SECONDS
from tests.fleet.hosts import control_plane
from tests.harness.hosts import Host, Hosts
from tests.harness.server import Api, TutelaProcess
from tests.harness.wait import wait_for


class Planes(Hosts):
    """Hosts that joined at one of two control planes in turn. `server` is the one that is asked."""

    def __init__(self, dsn: str, count: int, *, live_restore: bool | Collection[int] = False) -> None:
        super().__init__(dsn, count, network="ports", live_restore=live_restore)
        self.server.close()
        self.first, self.second = (self.make_plane(dsn) for _ in range(2))
        # No file is carried over: the key of the first start is good at both.
        self.second.api = Api(self.second.port, self.first.state_dir / "admin-key.json")
        self.server = self.first

    def make_plane(self, dsn: str, **settings: str) -> TutelaProcess:
        """A control plane of this fleet, not started."""
        return control_plane(dsn, TUTELA_AGENT_HOST=self.lan.address, TUTELA_NETWORK="ports", **settings)

    @property
    def planes(self) -> tuple[TutelaProcess, TutelaProcess]:
        return self.first, self.second

    def start(self) -> None:
        """Everything; hosts join at the doors in turn, and learn of both."""
        self.engines()
        self.first.start()
        self.second.start()
        with ThreadPoolExecutor(len(self.hosts)) as at_once:
            list(at_once.map(self._join, self.hosts, itertools.cycle(self.planes)))
        self.known()

    def _join(self, host: Host, plane: TutelaProcess) -> None:
        token = plane.api.post("/api/v1/token/", json={"uses": 1}).json["token"]
        host.join(self.door_of(plane), token)
        self.deployed(host)
        answer = plane.api.patch(self.node(host)["resource_uri"], json={"tags": [{"name": host.name}, {"name": "all"}]})
        assert answer.status == 200, answer.text

    def door_of(self, plane: TutelaProcess) -> str:
        """Where agents reach it."""
        return f"wss://{self.lan.address}:{plane.agent_port}"

    def known(self) -> None:
        """Until every agent has the addresses of both on its disk."""
        doors = {self.door_of(each) for each in self.planes}
        wait_for(
            lambda: all(doors <= set(_doors(host)) for host in self.hosts), timeout=60, what="agents to know of both"
        )

    def shown(self, *expected: TutelaProcess) -> None:
        """Until these are the control planes that health shows; one that was killed is shown until it is missed."""
        doors = sorted(map(self.door_of, expected))
        asked = expected[0].api

        def urls() -> list[str]:
            return sorted(each["agent_url"] for each in asked.get("/api/v1/admin/health/").json["control_planes"])

        wait_for(lambda: urls() == doors, timeout=60 + GONE_SECONDS, what=f"{doors} to be all")

    def serving(self, host: Host) -> str:
        """The door that the host's agent connected to last, by its own log."""
        found = [each["url"] for each in entries(host.log()) if each.get("event") == "connected"]
        return str(found[-1]) if found else ""

    def by_agents(self) -> tuple[TutelaProcess, TutelaProcess]:
        """The one that the first host's agent is at, and the other one."""
        here = self.serving(self.hosts[0]) == self.door_of(self.first)
        return (self.first, self.second) if here else (self.second, self.first)

    def moved(self, hosts: Sequence[Host], to: TutelaProcess, since: float) -> float:
        """Until the agents are all connected there; the seconds since `since` (monotonic)."""
        door = self.door_of(to)
        wait_for(lambda: all(self.serving(each) == door for each in hosts), timeout=60, what=f"agents at {door}")
        return time.monotonic() - since

    def events(self, kind: str, since: float) -> Counter[str]:
        """How often the engines did it since then (Unix time), by Tutela's id of the container."""
        return Counter(
            event["Actor"]["Attributes"]["tutela.container"]
            for host in self.hosts
            for event in host.engine.client().events(
                since=int(since), until=int(time.time()) + 1, decode=True,
                filters={"type": "container", "event": kind, "label": "tutela.container"},
            )
        )  # fmt: skip

    def containers(self) -> dict[str, tuple[str, str]]:
        """By Tutela's id of each container that is there: the engine's id, and since when it runs."""
        found: dict[str, tuple[str, str]] = {}
        for host in self.hosts:
            client = host.engine.client()
            for each in client.containers(all=True, filters={"label": "tutela.container"}):
                try:
                    state = client.inspect_container(each["Id"])["State"]
                except docker.errors.NotFound:  # it went meanwhile
                    continue
                key = each["Labels"]["tutela.container"]
                assert key not in found, f"{key} is there twice"
                found[key] = (each["Id"], state["StartedAt"] if state["Running"] else state["Status"])
        return found

    def logs(self) -> str:
        """Everything that any of our processes wrote."""
        return "".join(each.log() for each in self.planes) + "".join(each.log() for each in self.hosts)

    def close(self) -> None:
        """Take all away."""
        for each in self.planes:
            each.close()
        super().close()


def _doors(host: Host) -> list[str]:
    path: Path = host.state / "agent" / "joined.json"
    found: list[str] = json.loads(path.read_text())["control_planes"]
    return found


def entries(log: str) -> Iterator[dict[str, str]]:
    """The lines of a log that are objects."""
    for line in log.splitlines():
        if line.startswith("{"):
            yield json.loads(line)
