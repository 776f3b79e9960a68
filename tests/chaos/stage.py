"""What is played on: two control planes, a Postgres, a registry, engines as hosts with agents, and work on them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.postgres import EmbeddedPostgres
from domain.node import NodeState
from tests.chaos.calibration import Calibration
from tests.chaos.pipe import Pipe
from tests.chaos.watch import LABEL, Watch
from tests.fleet.planes import Planes
from tests.harness.hosts import Host
from tests.harness.images import EXITER, SLEEPER
from tests.harness.registry import Registry
from tests.harness.server import Api, TutelaProcess, free_port
from tests.harness.wait import wait_for

TAGGED = "tutela/tagged:latest"
"""The sleeper by another name, which is taken away (F36)."""

PORT = 18080
"""The host's port of the service `ports`, which others take (F21)."""

AWAY = (OSError, http.client.HTTPException, json.JSONDecodeError, KeyError)
"""What a question to the API raises while it is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A container of a stable service that is to be hit."""

    host: Host
    engine_id: str
    key: str
    name: str
    pid: int


class Stage(Planes):
    """The fleet. The last of several hosts has no live-restore: what is on it dies with its engine."""

    def __init__(
        self, dsn: str, count: int, *, postgres: EmbeddedPostgres | None, say: Callable[[str], None] = print
    ) -> None:
        self.pipes: dict[int, Pipe] = {}
        super().__init__(dsn, count, live_restore=range(1, max(count, 2)))
        self.postgres, self.say = postgres, say
        self.registry = Registry(self.lan.address, free_port())
        self.watches = {host.name: Watch(host.name, host.engine, say) for host in self.hosts}
        self.stable: dict[str, str] = {}
        self.calibration = Calibration()
        self.allowed: dict[str, int] = {}
        self.hit: dict[str, float] = {}
        self.down: set[int] = set()
        self.doomed: list[str] = []
        self.movable: set[str] = set()

    # What it is made of.

    def make_plane(self, dsn: str, **settings: str) -> TutelaProcess:
        """Reached by agents through a pipe of its own."""
        pipe = Pipe(self.lan.address, free_port())
        plane = super().make_plane(dsn, TUTELA_AGENT_URL=f"wss://{pipe.host}:{pipe.port}", **settings)
        self.pipes[plane.agent_port] = pipe
        return plane

    def door_of(self, plane: TutelaProcess) -> str:
        """The pipe's end."""
        pipe = self.pipes[plane.agent_port]
        return f"wss://{pipe.host}:{pipe.port}"

    def engines(self) -> None:
        """With the images, and what listens on the lan."""
        super().engines()
        for port, pipe in self.pipes.items():
            pipe.start(port)
        self.registry.start()
        self.registry.push(self.hosts[0].engine, "app", greeting="hello")
        saved = b"".join(self.hosts[0].engine.client().get_image(EXITER))
        for host in self.hosts:
            host.engine.client().tag(SLEEPER, TAGGED)
            if host is not self.hosts[0]:
                host.engine.client().load_image(saved)

    def populate(self) -> None:
        """The services that nobody touches, and the watchers."""
        count = len(self.hosts)
        more = {"target_num_containers": count, "autorestart": "ALWAYS", "deployment_strategy": "HIGH_AVAILABILITY"}
        published = [{"protocol": "tcp", "inner_port": 80, "outer_port": PORT}]
        for name, image, extra in (
            ("pulled", f"{self.registry.address}/app", {}),
            ("tagged", TAGGED, {}),
            ("ports", SLEEPER, {"container_ports": published}),
        ):
            self.stable[name] = self.service(name, None, image=image, **more, **extra)
        for watch in self.watches.values():
            watch.start()
        for host in self.hosts:
            for each in host.engine.client().containers(filters={"label": LABEL}):
                self.allowed[each["Labels"][LABEL]] = 1

    # Who is there, and who is hit.

    @property
    def api(self) -> Api:
        """Of a control plane that nobody took away."""
        return next((each.api for each in self.planes if each.agent_port not in self.down), self.first.api)

    def lose(self, *planes: TutelaProcess) -> None:
        """These are taken away, or hang: they are not to be asked."""
        self.down |= {each.agent_port for each in planes}

    def regain(self, *planes: TutelaProcess) -> None:
        """They are there again."""
        self.down -= {each.agent_port for each in planes}

    def watch(self, host: Host) -> Watch:
        return self.watches[host.name]

    def expect(self, key: str) -> None:
        """This container of Tutela's is a target: it may begin one more life."""
        if key in self.allowed:
            self.allowed[key] += 1
            self.hit[key] = now()

    def reboots(self, host: Host) -> None:
        """All containers of the host are about to die, with those of others: each may begin one more life."""
        self.watch(host).loosen()
        for each in {life.key for life in self.watch(host).lives.values() if life.host == host.name}:
            self.expect(each)

    def victim(
        self, chance: random.Random, service: str | None = None, *, hosts: Sequence[Host] = (), spare: str = ""
    ) -> Victim:
        """A container of a stable service on one of the hosts, and it is expected to begin another life.

        One that was left in peace for long: what ends again and again is restarted ever later, and rightly so. `spare`:
        the key of one that is none.
        """
        wanted = {self.stable[service]} if service else set(self.stable.values())
        found = [
            (self.hit.get(each["Labels"][LABEL], 0.0), each["Id"], host, each)
            for host in hosts or self.hosts
            for each in host.engine.client().containers(filters={"label": LABEL})
            if each["Labels"]["tutela.service"] in wanted and each["Labels"][LABEL] != spare
        ]
        found.sort(key=lambda one: one[:2])
        _, _, host, each = chance.choice(found[: max(1, len(found) // 3)])
        self.expect(each["Labels"][LABEL])
        return Victim(
            host=host,
            engine_id=each["Id"],
            key=each["Labels"][LABEL],
            name=each["Labels"]["tutela.name"],
            pid=host.engine.pid_of(each["Id"]),
        )

    def other_life(self, victim: Victim) -> bool:
        """Whether the slot of the victim runs, and not as it did when it was chosen."""
        for each in victim.host.engine.client(5).containers(filters={"label": f"{LABEL}={victim.key}"}):
            if each["State"] == "running":
                state = victim.host.engine.client(5).inspect_container(each["Id"])["State"]
                return bool(state["Running"] and state["Pid"] not in {0, victim.pid})
        return False

    # Whether all is well.

    def trouble(self, since: float) -> str | None:
        """What is not yet as it should be, by looks that began after `since` (seconds since the epoch); None: all is
        well. Every control plane is ready, every node is there, every slot of a stable service runs once."""
        try:
            for plane in self.planes:
                if plane.api.get("/readyz", auth=False).status != 200:
                    return "a control plane is not ready"
            nodes = self.api.get("/api/v1/node/").json["objects"]
        except AWAY as error:
            return f"a control plane does not answer: {error}"
        away = [each["nickname"] for each in nodes if each["state"] != NodeState.DEPLOYED.value]
        if away:
            return f"not Deployed: {', '.join(away)}"
        held = [each["nickname"] for each in nodes if each["quarantine"] is not None]
        if held:
            return f"quarantined without a cause (I13): {', '.join(held)}"
        for host in self.hosts:
            if self.watch(host).seen_at < since:
                return f"{host.name}'s engine was not seen since"
        running = [
            (service, name) for watch in self.watches.values() for service, name, runs in watch.present.values() if runs
        ]
        for name, uuid in self.stable.items():
            found = sorted(slot for service, slot in running if service == uuid)
            wanted = [f"{name}-{number}" for number in range(1, len(self.hosts) + 1)]
            if found != wanted:
                return f"of {name} run {', '.join(found) or 'none'}"
        return None

    def pids(self) -> dict[str, int]:
        """The processes of Tutela's own."""
        planes = {f"control plane {number}": each.pid for number, each in enumerate(self.planes, 1)}
        return {**planes, **{f"agent {host.name}": host.agent_pid for host in self.hosts}}

    # Services for a fault's own use.

    def made(self, name: str, **more: Any) -> str:
        """A service that runs; its uuid."""
        return self.service(name, None, image=more.pop("image", SLEEPER), **more)

    def count(self, uuid: str, hosts: Sequence[Host]) -> int:
        """How many containers of the service run on these hosts, by their engines."""
        label = {"label": f"tutela.service={uuid}"}
        return sum(len(host.engine.client(5).containers(filters=label)) for host in hosts)

    def terminated(self, uuid: str) -> bool:
        """Whether nothing of the service is left: in the record, and on any engine that answers."""
        if self.api.get(f"/api/v1/service/{uuid}/").json["state"] != "Terminated":
            return False
        label = {"label": f"tutela.service={uuid}"}
        return not any(host.engine.client(5).containers(all=True, filters=label) for host in self.hosts)

    def terminate_soon(self, uuid: str) -> None:
        """Ask for its end until that is accepted; that it comes is judged at the end of the run."""
        self.doomed.append(uuid)
        wait_for(
            lambda: (
                self.api.delete(f"/api/v1/service/{uuid}/").status in {202, 404, 409}
                and self.api.get(f"/api/v1/service/{uuid}/").json["state"] in {"Terminating", "Terminated"}
            ),
            timeout=60 * self.calibration.factor(),
            what=f"the end of {uuid} to be accepted",
            every=0.1,
        )

    # The end.

    def keep_logs(self, folder: Path) -> None:
        """Copy what every process wrote."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, plane in enumerate(self.planes, 1):
            (folder / f"control-plane-{number}.log").write_text(plane.log())
        for host in self.hosts:
            (folder / f"agent-{host.name}.log").write_text(host.log())
            (folder / f"dockerd-{host.name}.log").write_text(host.engine.log())
        if self.postgres is not None and self.postgres.log_path.exists():
            (folder / "postgres.log").write_bytes(self.postgres.log_path.read_bytes())

    def close(self) -> None:
        """Take all away, also what a fault left stopped."""
        self.registry.close()
        super().close()
        for pipe in self.pipes.values():
            pipe.close()


def freeze(pids: Sequence[int], number: int = signal.SIGSTOP) -> None:
    """Send the signal to all that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def thaw(pids: Sequence[int]) -> None:
    """SIGCONT."""
    freeze(pids, signal.SIGCONT)


def now() -> float:
    """Seconds since the epoch, as engines and watchers have them."""
    return time.time()
