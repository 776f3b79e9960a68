"""An engine in memory that behaves like the real one where agents can tell; tests/conformance holds it to that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from agents.planning import container_name
from agents.runtime import create_args
from agents.runtime.base import Console, Incarnation, Json, RawLine, RuntimeBusy, RuntimeRefused
from agents.swarm_plan import Begin, Drop, Join, Leave, Make, Recover, Remove, SetRole, SwarmStep
from domain.assignment import ContainerAssignment, EngineInfo
from domain.container import Attachment, NetworkSpec
from domain.registry import RegistryAuth
from domain.swarm import Peer, SwarmReport, SwarmSeen


class FakeRuntime:
    """Scriptable by its public fields.

    `private`: what the registry asks for an image. `exits`: image id to the code with which its containers end
    at once. `start_errors`: container name to the reason why a start is refused. `half_started`: engine ids of those
    that can never be started again (E33). `making`: names (with a slash) that have an owner, who is not shown yet
    (E12). `late`: names of methods whose next call is carried out although its caller is told that the engine did not
    answer (E7). `away`: nobody listens. `ending`: it answers and takes no new connections (E34).
    """

    def __init__(self, engine_id: str = "fake") -> None:
        self.engine_id, self.life, self.since = engine_id, "first", _stamp()
        self.images: dict[str, Json] = {}
        self.remote: dict[str, Json] = {}
        self.private: dict[str, RegistryAuth] = {}
        self.exits: dict[str, int] = {}
        self.start_errors: dict[str, str] = {}
        self.half_started: set[str] = set()
        self.making: set[str] = set()
        self.late: list[str] = []
        self.away = self.ending = False
        self.containers: dict[str, Json] = {}
        self.networks: dict[str, Json] = {}
        self.volumes: set[str] = set()
        self.written: dict[str, list[RawLine]] = {}
        self.calls: list[str] = []
        self.swarm_seen = SwarmSeen()
        self._listeners: list[asyncio.Queue[str | None]] = []
        self._count = 0

    def add_image(self, reference: str, image_id: str, *, exits: int | None = None) -> None:
        """The engine has this image."""
        self.images[reference] = self.images[image_id] = {"Id": image_id, "RepoDigests": [], "Config": {}}
        if exits is not None:
            self.exits[image_id] = exits

    # What happens on a node by itself.

    def crash(self, engine_id: str, code: int = 137) -> None:
        """The process dies. The engine restarts it by its policy, at once."""
        found = self.containers[engine_id]
        self._end(found, code)
        policy = found["HostConfig"]["RestartPolicy"]["Name"]
        self._tell(engine_id)
        if policy == "always" or (policy == "on-failure" and code):
            found["RestartCount"] += 1
            self._begin(found)

    def forget(self, engine_id: str) -> None:
        """Somebody removes the container by hand."""
        self.containers.pop(engine_id)
        self._tell(engine_id)

    @property
    def listened(self) -> bool:
        """Whether somebody listens to its events."""
        return bool(self._listeners)

    def end_all(self, code: int, *, told: bool) -> None:
        """Every container ends, as when the engine is told to end; `told`: it answers until then (E34)."""
        for engine_id, each in self.containers.items():
            self._end(each, code)
            if told:
                self._tell(engine_id)

    def start_again(self, life: str, *, later: timedelta = timedelta()) -> None:
        """The engine ends and is started: what it keeps is what is in its dictionaries by then."""
        self.life, self.since = life, _stamp(later)
        self.cut()

    def cut(self) -> None:
        """The event streams end."""
        for each in self._listeners:
            each.put_nowait(None)

    def write(self, engine_id: str, text: str, stream: str = "stdout") -> None:
        """The container writes a line."""
        line = RawLine(stream=stream, timestamp=_stamp(), text=text)
        self.written.setdefault(engine_id, []).append(line)

    # The protocol.

    async def info(self) -> EngineInfo:
        self._reach("info")
        return EngineInfo(engine_id=self.engine_id, version="20.10.0", storage_driver="overlay2", cpus=2, memory=1024)

    async def accepting(self) -> None:
        self._reach("accepting")

    async def incarnation(self) -> Incarnation | None:
        self._reach("incarnation")
        return Incarnation(name=self.life, since=self.since)

    async def list_containers(self, cluster_id: UUID) -> list[Json]:
        self._reach("list")
        return [
            {"Id": key, "Names": [each["Name"]], "Labels": each["Config"]["Labels"], "State": each["State"]["Status"]}
            for key, each in self.containers.items()
            if each["Config"]["Labels"].get(create_args.CLUSTER) == str(cluster_id)
        ]

    async def inspect(self, engine_id: str) -> Json:
        self._reach("inspect")
        named = (key for key, each in self.containers.items() if each["Name"] == f"/{engine_id}")
        copied: Json = _copy(self._found(next(named, engine_id)))
        return copied

    async def create(self, cluster_id: UUID, assignment: ContainerAssignment, network_id: str | None) -> str:
        late = self._reach("create")
        body = create_args.create_body(cluster_id, assignment)
        name = f"/{container_name(assignment)}"
        if body["Image"] not in self.images:
            raise RuntimeRefused(f"No such image: {body['Image']}", "image_missing")
        if name in self.making or any(each["Name"] == name for each in self.containers.values()):
            raise RuntimeRefused(f"the container's name is taken: {name}", "name_taken")
        self._count += 1
        engine_id = f"{self._count:064x}"
        self.containers[engine_id] = {
            "Id": engine_id,
            "Name": name,
            "Created": _stamp(),
            "Config": body,
            "HostConfig": body["HostConfig"],
            "RestartCount": 0,
            "State": {"Status": "created", "ExitCode": 0, "StartedAt": "0001-01-01T00:00:00Z", "Error": ""},
            "NetworkSettings": {"Networks": dict(body.get("NetworkingConfig", {}).get("EndpointsConfig", {}))},
        }
        self.volumes |= {mount["Source"] for mount in body["HostConfig"].get("Mounts", ())}
        self._tell(engine_id)
        self._answer(late)
        return engine_id

    async def start(self, engine_id: str) -> None:
        late = self._reach("start")
        found = self._found(engine_id)
        error = self.start_errors.get(found["Name"].lstrip("/").partition(".")[0])
        if error:
            found["State"] |= {"Error": error, "ExitCode": 128}
            raise RuntimeRefused(error, "port_taken")
        if engine_id in self.half_started:
            raise RuntimeRefused("its engine lost a start of it half way", "half_started")
        for name, endpoint in found["NetworkSettings"]["Networks"].items():
            ids = [key for key, each in self.networks.items() if each["Name"] == name]
            if not ids:
                raise RuntimeRefused(f"network {name} not found", "network_missing")
            endpoint["NetworkID"] = ids[0]
        if found["State"]["Status"] not in {"running", "restarting", "paused"}:
            self._begin(found)
        self._answer(late)

    async def stop(self, engine_id: str, grace: int) -> None:
        late = self._reach("stop")
        if engine_id in self.containers and self.containers[engine_id]["State"]["Status"] == "running":
            self._end(self.containers[engine_id], 143)
            self._tell(engine_id)
        self._answer(late)

    async def remove(self, engine_id: str) -> None:
        late = self._reach("remove")
        if self.containers.pop(engine_id, None) is not None:
            self._tell(engine_id)
        self._answer(late)

    async def remove_volume(self, name: str) -> None:
        self._reach("remove_volume")
        for each in self.containers.values():
            if name in {mount["Source"] for mount in each["HostConfig"].get("Mounts", ())}:
                raise RuntimeRefused(f"volume {name} is in use", "conflict")
        self.volumes.discard(name)

    async def update_policy(self, engine_id: str, policy: str) -> None:
        self._reach("update_policy")
        self._found(engine_id)["HostConfig"]["RestartPolicy"] = {"Name": policy}

    async def unpause(self, engine_id: str) -> None:
        self._reach("unpause")
        found = self._found(engine_id)
        if found["State"]["Status"] == "paused":
            found["State"]["Status"] = "running"

    async def list_networks(self, cluster_id: UUID) -> list[Json]:
        self._reach("list_networks")
        wanted = str(cluster_id)
        return [each for each in self.networks.values() if each["Labels"].get(create_args.CLUSTER) == wanted]

    async def create_network(self, cluster_id: UUID, network: NetworkSpec) -> str:
        self._reach("create_network")
        for key, each in self.networks.items():
            if each["Name"] == network.name:
                return key
        self._count += 1
        network_id = f"n{self._count:063x}"
        labels = create_args.network_labels(cluster_id, network)
        driver = "overlay" if network.overlay else "bridge"
        self.networks[network_id] = {"Id": network_id, "Name": network.name, "Labels": labels, "Driver": driver}
        return network_id

    async def remove_network(self, network_id: str) -> None:
        self._reach("remove_network")
        found = self.networks.get(network_id)
        for each in self.containers.values():
            used = found is not None and found["Name"] in each["NetworkSettings"]["Networks"]
            if used and each["State"]["Status"] == "running":
                raise RuntimeBusy("the network is still in use")
        self.networks.pop(network_id, None)

    async def swarm(self, cluster_id: UUID) -> SwarmReport:
        self._reach("swarm")
        return SwarmReport(seen=self.swarm_seen, token="SWMTKN-fake" if self.swarm_seen.manager else "")

    async def swarm_step(self, cluster_id: UUID, step: SwarmStep) -> None:
        self._reach("swarm_step")
        match step:
            case Begin() | Recover():
                alone = (Peer(node="fake", manager=True, up=True, ready=True),)
                self.swarm_seen = SwarmSeen(
                    active=True, inside=True, node="fake", manager=True, cluster="fake", ours=True, quorum=True,
                    peers=alone,
                )  # fmt: skip
            case Join():
                self.swarm_seen = SwarmSeen(active=True, inside=True, node="fake")
            case Leave():
                self.swarm_seen = SwarmSeen()
                self.networks = {key: each for key, each in self.networks.items() if each["Driver"] != "overlay"}
            case Make():
                await self.create_network(cluster_id, step.network)
            case Remove():
                self.networks = {key: each for key, each in self.networks.items() if each["Name"] != step.name}
            case SetRole() | Drop():
                raise RuntimeRefused(f"node {step.node} not found", "not_found")

    async def connect(self, network_id: str, engine_id: str, attachment: Attachment) -> None:
        self._reach("connect")
        endpoint = {**create_args.endpoint_config(attachment), "NetworkID": network_id}
        self._found(engine_id)["NetworkSettings"]["Networks"][self.networks[network_id]["Name"]] = endpoint

    async def disconnect(self, network_id: str, engine_id: str) -> None:
        self._reach("disconnect")
        name = self.networks[network_id]["Name"]
        self._found(engine_id)["NetworkSettings"]["Networks"].pop(name, None)

    async def image_inspect(self, reference: str) -> Json:
        self._reach("image_inspect")
        if reference not in self.images:
            raise RuntimeRefused(f"No such image: {reference}", "image_missing")
        return self.images[reference]

    async def pull(self, reference: str, login: RegistryAuth | None = None) -> None:
        self._reach("pull")
        if reference in self.private and login != self.private[reference]:
            raise RuntimeRefused(f"the registry refuses access to {reference}", "auth")
        if reference not in self.remote:
            raise RuntimeRefused(f"the registry does not have the image: {reference}", "image_missing")
        image = self.remote[reference]
        self.images[reference] = self.images[image["Id"]] = image

    async def events(self, cluster_id: UUID) -> AsyncIterator[frozenset[str]]:
        self._reach("events")
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.append(queue)
        try:
            yield frozenset()
            while (engine_id := await queue.get()) is not None:
                yield frozenset({engine_id})
        finally:
            self._listeners.remove(queue)

    async def logs(self, engine_id: str, *, tail: int, since: float | None = None) -> Sequence[RawLine]:
        self._reach("logs")
        self._found(engine_id)
        return self.written.get(engine_id, [])[-tail:] if tail else []

    async def follow(self, engine_id: str, *, since: str | None = None) -> AsyncGenerator[Sequence[RawLine], None]:
        self._reach("follow")
        found, told = self._found(engine_id), 0
        run = found["State"]["StartedAt"]
        while True:
            lines = self.written.get(engine_id, [])
            fresh = [line for line in lines[told:] if since is None or line.timestamp >= since]
            told = len(lines)
            if fresh:
                yield fresh
            elif found["State"]["Status"] != "running" or found["State"]["StartedAt"] != run:
                return
            else:
                await asyncio.sleep(0.01)

    async def exec(self, engine_id: str, command: Sequence[str]) -> Console:
        self._reach("exec")
        if self._found(engine_id)["State"]["Status"] != "running":
            raise RuntimeRefused(f"Container {engine_id} is not running", "conflict")
        return FakeConsole(command)

    async def close(self) -> None:
        self.cut()

    # Inside.

    def _reach(self, method: str) -> bool:
        if self.away:
            raise RuntimeBusy(f"the engine is away ({method})", away=True)
        self.calls.append(method)
        if self.ending and method in {"info", "accepting"}:
            raise RuntimeBusy(f"the engine takes no new connections ({method})", away=True)
        if method in self.late:
            self.late.remove(method)
            return True
        return False

    @staticmethod
    def _answer(late: bool) -> None:
        if late:
            raise RuntimeBusy("the engine did not answer")

    def _found(self, engine_id: str) -> Json:
        if engine_id not in self.containers:
            raise RuntimeRefused(f"it is gone: {engine_id}", "not_found")
        return self.containers[engine_id]

    def _begin(self, found: Json) -> None:
        found["State"] |= {"Status": "running", "StartedAt": _stamp(), "Error": "", "ExitCode": 0}
        code = self.exits.get(found["Config"]["Image"])
        if code is not None:
            self._end(found, code)
        self._tell(found["Id"])

    @staticmethod
    def _end(found: Json, code: int) -> None:
        found["State"] |= {"Status": "exited", "ExitCode": code, "FinishedAt": _stamp()}

    def _tell(self, engine_id: str) -> None:
        for each in self._listeners:
            each.put_nowait(engine_id)


class FakeConsole:
    """`echo` and `cat` on a terminal: what is typed is shown, and `cat` says it again; ^D ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._output: asyncio.Queue[bytes] = asyncio.Queue()
        if command[0] == "echo":
            self._output.put_nowait(" ".join(command[1:]).encode() + b"\r\n")
            self._output.put_nowait(b"")

    async def read(self) -> bytes:
        return await self._output.get()

    async def write(self, data: bytes) -> None:
        typed, end, _ = data.partition(b"\x04")
        for _ in range(2 if typed else 0):
            self._output.put_nowait(typed.replace(b"\n", b"\r\n"))
        if end:
            self._output.put_nowait(b"")

    async def close(self) -> None:
        self._output.put_nowait(b"")


def _copy(value: Any) -> Any:
    """The engine's JSON is made anew for each answer."""
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return list(value) if isinstance(value, list) else value


def _stamp(later: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + later).isoformat(timespec="microseconds").replace("+00:00", "000Z")
