"""Several hosts: an engine each in a namespace of its own on one bridge, agents as processes there, a control plane."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.node import NodeState
from tests.harness.engine import Lan, PrivateEngine
from tests.harness.images import SLEEPER, WEB, ensure_images
from tests.harness.launch import CLI, Program, launch
from tests.harness.server import ROOT, Api, TutelaProcess
from tests.harness.wait import BESIDE, wait_for

LONG = 90
RAW_RESTART = 0.35
"""Seconds that an engine takes to restart a container that was killed, on the box that the bars are for (LIMITS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A container began to run, or ended. `at` by the machine's clock, in seconds; `service` its uuid."""

    at: float
    host: str
    began: bool
    container: str
    service: str
    name: str


class Host:
    """One engine and its agent."""

    def __init__(self, name: str, lan: Lan, *, live_restore: bool = False) -> None:
        self.name, self.live_restore = name, live_restore
        self.engine = PrivateEngine(lan=lan, live_restore=live_restore)
        self.state = Path(tempfile.mkdtemp(prefix=f"tutela-test-{name}-"))
        self.alive = True
        self._agent: Program | None = None

    @property
    def _env(self) -> Mapping[str, str]:
        return {
            **{key: value for key, value in os.environ.items() if key != "DATABASE_URL"},
            "TUTELA_STATE_DIR": str(self.state),
            "DOCKER_HOST": self.engine.base_url,
            "TUTELA_ROLES": "agent",
            "PYTHONPATH": str(ROOT),
        }

    def join(self, door: str, token: str) -> None:
        """Join, with an agent that stays a child of the test."""
        self._begin("join", door, token, "--name", self.name, "--foreground")

    def _begin(self, *words: str) -> None:
        log = self.state / "agent.log"
        self._agent = launch(CLI, "agent", *words, env=self._env, log=log, netns=str(self.engine.netns))

    def command(self, *words: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
        """`./tutela WORDS` on the host, as people type it; `state`: with another state directory."""
        return subprocess.run(
            ["nsenter", f"--net={self.engine.netns}", str(ROOT / "tutela"), *words],
            env={**self._env, "TUTELA_VENV": sys.prefix, "TUTELA_STATE_DIR": str(state or self.state)},
            check=False,
            timeout=60,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def die(self) -> None:
        """As by a cut of its power: agent and engine are gone at once."""
        self.alive = False
        self.kill_agent()
        self.engine.kill()

    def rise(self) -> None:
        """The engine is started again, and the agent of a host that joined."""
        self.engine.restart()
        self.alive = True
        self.start_agent()

    def swarm(self) -> Any:
        """The engine's own word about its swarm mode."""
        return self.engine.client().info()["Swarm"]

    def kill_agent(self) -> None:
        """kill -9."""
        if self._agent is not None and self._agent.poll() is None:
            self._agent.kill()
            self._agent.wait(timeout=30)

    def end_agent(self) -> None:
        """SIGTERM; returns when it ended."""
        assert self._agent is not None
        self._agent.terminate()
        self._agent.wait(timeout=30)

    def start_agent(self) -> None:
        """Start the agent of a host that joined (again)."""
        self._begin("run")

    @property
    def agent_pid(self) -> int:
        """Of the agent's process."""
        assert self._agent is not None
        return self._agent.pid

    def signal_agent(self, number: int) -> None:
        """Send the agent a signal."""
        assert self._agent is not None
        self._agent.send_signal(number)

    def turns(self, since: float) -> list[Turn]:
        """What began and ended on the engine since that time, by the engine's own record (at most 256 of them)."""
        # The types know whole seconds only.
        client: Any = self.engine.client()
        span = {"since": f"{since:.6f}", "until": f"{time.time():.6f}"}
        which = {"type": "container", "event": ["start", "die"], "label": "tutela.service"}
        with contextlib.closing(client.events(**span, filters=which, decode=True)) as found:
            return [
                Turn(
                    at=each["timeNano"] / 1e9,
                    host=self.name,
                    began=each["Action"] == "start",
                    container=each["Actor"]["ID"],
                    service=each["Actor"]["Attributes"]["tutela.service"],
                    name=each["Actor"]["Attributes"]["tutela.name"],
                )
                for each in found
            ]

    def raw_restart(self) -> float:
        """The seconds that the engine by itself takes to restart a container of nobody's whose process was killed."""
        client = self.engine.client()
        config = client.create_host_config(restart_policy={"Name": "always"})
        made = client.create_container(SLEEPER, host_config=config)["Id"]
        try:
            client.start(made)
            pid, began = self.engine.pid_of(made), time.monotonic()
            os.kill(pid, signal.SIGKILL)
            wait_for(
                lambda: client.inspect_container(made)["State"]["Pid"] not in {0, pid}, timeout=30, what="the engine"
            )
            return time.monotonic() - began
        finally:
            client.remove_container(made, force=True)

    def log(self) -> str:
        """What the agent wrote."""
        path = self.state / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, container: str, *command: str, timeout: int = 30) -> str:
        """What a command in a container says."""
        client = self.engine.client(timeout)
        made = client.exec_create(container, list(command))
        return str(client.exec_start(made["Id"]).decode(errors="replace"))

    def close(self) -> None:
        """Take it away."""
        self.kill_agent()
        with contextlib.suppress(AssertionError):
            # At once: an engine takes leave of its swarm for long.
            self.engine.kill()
        self.engine.stop()
        shutil.rmtree(self.state, ignore_errors=True)


class Hosts:
    """A control plane without an agent of its own, and hosts that joined it."""

    def __init__(
        self, dsn: str, count: int, *, network: str = "overlay", live_restore: bool | Collection[int] = False
    ) -> None:
        """`live_restore`: of all hosts, or the numbers (from 1) of those that have it."""
        self.lan, self.network = Lan(), network
        with_it = range(1, count + 1) if live_restore is True else live_restore or ()
        self.hosts = [Host(f"h{n}", self.lan, live_restore=n in with_it) for n in range(1, count + 1)]
        self.server = TutelaProcess(
            docker_host="unix:///nowhere",
            dsn=dsn,
            env={
                "TUTELA_ROLES": "api,orchestrator",
                "TUTELA_AGENT_HOST": self.lan.address,
                "TUTELA_NETWORK": network,
            },
        )

    @property
    def api(self) -> Api:
        return self.server.api

    def engines(self) -> None:
        """Engines with the same images, no agents yet."""
        self.lan.start()
        first = self.hosts[0].engine
        for host in self.hosts:
            host.engine.start()
        ensure_images(first.client())
        for image in (SLEEPER, WEB):
            saved = b"".join(first.client().get_image(image))
            for host in self.hosts[1:]:
                host.engine.client().load_image(saved)

    def start(self) -> None:
        """Everything, until all nodes are there."""
        self.engines()
        self.server.start()
        if self.network == "overlay":
            # One after the other: the oldest are the swarm's managers.
            for host in self.hosts:
                self.join(host)
        else:
            self.join(*self.hosts)

    def join(self, *hosts: Host) -> None:
        """Have the hosts join at once, and give each its name as a tag."""
        for host in hosts:
            host.join(self.door, self.token())
        for host in hosts:
            self.deployed(host)
            self.tag(host)

    @property
    def door(self) -> str:
        """Where hosts join."""
        return f"wss://{self.lan.address}:{self.server.agent_port}"

    def token(self) -> str:
        """A join token for one host."""
        return str(self.api.post("/api/v1/token/", json={"uses": 1}).json["token"])

    def tag(self, host: Host) -> None:
        """Tag the host with its name."""
        answer = self.api.patch(self.node(host)["resource_uri"], json={"tags": [{"name": host.name}, {"name": "all"}]})
        assert answer.status == 200, answer.text

    def deployed(self, host: Host) -> None:
        """Until its agent and its engine are there."""
        wait_for(
            lambda: (self.node(host) or {}).get("state") == NodeState.DEPLOYED.value,
            timeout=2 * LONG,
            what=f"{host.name} to be there",
        )

    def node(self, host: Host) -> Any:
        """The node as the API shows it; None before it is there and up."""
        objects = self.api.get("/api/v1/node/?limit=100").json["objects"]
        return next((each for each in objects if each["nickname"] == host.name and each["docker_version"]), None)

    def formed(self, *hosts: Host, timeout: float = LONG) -> None:
        """Until these hosts are in the overlay."""
        for host in hosts or self.hosts:
            wait_for(
                lambda host=host: self.node(host)["network"] == "overlay",  # type: ignore[misc]
                timeout=timeout,
                what=f"{host.name} in the overlay: {self.node(host)['network_note']}\n{host.log()[-3000:]}",
                every=0.2,
            )

    def service(self, name: str, host: Host | None, *, image: str = WEB, **more: Any) -> str:
        """A running service on the host; its uuid."""
        body = {"image": image, "name": name, "tags": [{"name": host.name if host else "all"}], **more}
        made = self.api.post("/api/v1/service/", json=body)
        assert made.status == 201, made.text
        uuid = str(made.json["uuid"])
        answer = self.api.post(f"/api/v1/service/{uuid}/start/")
        assert answer.status == 202, answer.text
        self.running(uuid)
        return uuid

    def terminate(self, *uuids: str) -> None:
        """Until these services are no more."""
        for uuid in uuids:
            assert self.api.delete(f"/api/v1/service/{uuid}/").status == 202
        for uuid in uuids:
            wait_for(
                lambda uuid=uuid: self.api.get(f"/api/v1/service/{uuid}/").json["state"] == "Terminated",  # type: ignore[misc]
                timeout=LONG,
                what=f"service {uuid} to be gone",
                every=0.1,
            )

    def turns(self, since: float) -> list[Turn]:
        """What began and ended on the engines that answer, since that time, in order."""
        return sorted((turn for host in self.up() for turn in host.turns(since)), key=lambda turn: turn.at)

    def running(self, uuid: str, count: int | None = None) -> None:
        """Until it is as wanted."""

        def look() -> bool:
            shown = self.api.get(f"/api/v1/service/{uuid}/").json
            return shown["state"] == "Running" and count in {None, shown["running_num_containers"]}

        try:
            wait_for(look, timeout=LONG, what=f"service {uuid} to run", every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.explain(uuid)}") from error

    def explain(self, uuid: str) -> Any:
        """Why it is as it is."""
        return self.api.get(f"/api/v1/service/{uuid}/explain/").json

    def container(self, uuid: str, slot: int = 1) -> tuple[Host, str]:
        """Where the container of a slot is, and the engine's id of it."""
        for host in self.up():
            for each in host.engine.client().containers(filters={"label": f"tutela.service={uuid}"}):
                if each["Labels"]["tutela.name"].endswith(f"-{slot}"):
                    return host, str(each["Id"])
        raise AssertionError(f"no container of slot {slot} of {uuid} runs")

    def up(self) -> list[Host]:
        """The hosts that were not killed."""
        return [host for host in self.hosts if host.alive]

    def places(self, uuid: str) -> list[str]:
        """The names of the hosts that its containers run on."""
        label = {"label": f"tutela.service={uuid}"}
        return [host.name for host in self.up() for _ in host.engine.client().containers(filters=label)]

    def fetch(self, uuid: str, name: str, port: int = 80) -> str:
        """What the service's first container is answered by that name."""
        host, container = self.container(uuid)
        # Not wget: busybox's is without luck with names of several addresses.
        request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {name} {port}"
        return host.run(container, "sh", "-c", request).strip().rpartition("\r\n\r\n")[2]

    def reached(self, uuid: str, name: str, answer: str, *, port: int = 80, timeout: float = 30) -> float:
        """Until the answer comes from there; the seconds that took."""
        began, got = time.monotonic(), ""

        def look() -> bool:
            nonlocal got
            got = self.fetch(uuid, name, port)
            return got == answer

        try:
            wait_for(look, timeout=timeout, what=f"{name} to answer {answer}", every=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {got!r}") from error
        return time.monotonic() - began

    def variables(self, uuid: str) -> dict[str, str]:
        """The environment of the service's first container."""
        host, container = self.container(uuid)
        env = host.engine.client().inspect_container(container)["Config"]["Env"]
        return dict(each.split("=", 1) for each in env)

    def slowness(self) -> float:
        """How much slower the machine is now than the box that the bars are for; 1 when it is not.

        A bar is multiplied by it (`bar`), since tests run beside each other and on slower machines (RELIABILITY 3).
        """
        raw = sorted(host.raw_restart() for host in self.up())
        found = max(1.0, raw[len(raw) // 2] / RAW_RESTART) * BESIDE
        print(f"the engine alone restarts in {raw[len(raw) // 2]:.2f} s: bars times {found:.1f}")
        return found

    def logs(self) -> str:
        """Everything that any of our processes wrote."""
        return self.server.log() + "".join(host.log() for host in self.hosts)

    def last_words(self) -> str:
        """The end of that, of each by itself."""
        return self.server.log()[-12000:] + "".join(f"\n{host.name}:\n{host.log()[-6000:]}" for host in self.hosts)

    def close(self) -> None:
        """Take all away."""
        self.server.close()
        for host in self.hosts:
            host.close()
        self.lan.stop()
