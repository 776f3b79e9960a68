"""ContainerRuntime over the Docker SDK's low-level client (ECOSYSTEM section 3 says why each thing is as it is)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast
from uuid import UUID

import requests
from docker import APIClient, auth
from docker.errors import APIError
from docker.transport import UnixHTTPAdapter
from docker.types import IPAMConfig, IPAMPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ReadTimeoutError

from agents.planning import container_name
from agents.runtime import create_args, events, frames, permitted, swarm
from agents.runtime.base import Console, Incarnation, Json, RawLine, RuntimeBusy, RuntimeFailed, RuntimeRefused
from agents.runtime.errors import classify
from agents.runtime.information import engine_info
from agents.runtime.streams import EngineStreams
from agents.runtime.threads import Calls
from agents.swarm_plan import SwarmStep
from domain.assignment import ContainerAssignment, EngineInfo
from domain.container import Attachment, NetworkSpec
from domain.image import parse
from domain.policy import Allowance, HostRules
from domain.registry import RegistryAuth
from domain.swarm import SwarmReport

OLDEST_API = "1.41"
NEWEST_API = (1, 44)
CLIENT_TIMEOUT = 60
LOOK_SECONDS = 10.0
ACCEPT_SECONDS = 2
ACT_SECONDS = 65.0
PULL_STALL_SECONDS = 60.0
PULL_SECONDS = 3600.0
CONNECTIONS = 80
LENT = HostRules().of_host


class DockerRuntime:
    """One engine at `base_url` (`unix://...` or `tcp://...`), and what its host lends. No I/O at construction."""

    def __init__(self, base_url: str, lends: Allowance = LENT) -> None:
        self._base_url = base_url
        self._lends = lends
        self._calls = Calls()
        self._streams = EngineStreams(lambda: self._new_client(self._version()))
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._said: Json = {}

    async def info(self) -> EngineInfo:
        def call() -> EngineInfo:
            # Asked anew each time: an engine that was upgraded speaks another version. Calls that are under way with
            # the client before go on; its idle connections would stay open until Python looks for garbage.
            with self._lock:
                before, self._client = self._client, None
            if before is not None:
                before.close()
            api = self._api()
            return engine_info(api.info(), self._said, api.networks(names=["bridge"]))

        return await self._calls.look("asking for its info", LOOK_SECONDS, call)

    async def accepting(self) -> None:
        def call() -> None:
            with contextlib.closing(self._new_client(OLDEST_API)) as api, contextlib.suppress(APIError):
                api.timeout = ACCEPT_SECONDS
                api.ping()  # whatever it answers

        await self._calls.look("asking for a new connection", 2 * ACCEPT_SECONDS, call)

    async def incarnation(self) -> Incarnation | None:
        """The default bridge is made anew by each engine start that finds no running container of its own."""

        def call() -> Incarnation | None:
            for each in self._api().networks(names=["bridge"]):
                if each.get("Name") == "bridge":
                    return Incarnation(name=str(each["Id"]), since=str(each.get("Created", "")))
            return None

        return await self._calls.look("asking for its bridge", LOOK_SECONDS, call)

    async def list_containers(self, cluster_id: UUID) -> list[Json]:
        def call() -> list[Json]:
            return cast(list[Json], self._api().containers(all=True, filters={"label": _label(cluster_id)}))

        return await self._calls.look("listing containers", LOOK_SECONDS, call)

    async def inspect(self, engine_id: str) -> Json:
        def call() -> Json:
            return cast(Json, self._api().inspect_container(engine_id))

        return await self._calls.look("inspecting a container", LOOK_SECONDS, call)

    async def create(self, cluster_id: UUID, assignment: ContainerAssignment, network_id: str | None) -> str:
        body = create_args.create_body(cluster_id, assignment)

        def call() -> str:
            permitted.check(assignment.spec, self._lends)
            api: Any = self._api()
            return str(api.create_container_from_config(body, container_name(assignment))["Id"])

        return await self._calls.short("creating a container", ACT_SECONDS, call)

    async def start(self, engine_id: str) -> None:
        await self._calls.short("starting a container", ACT_SECONDS, lambda: self._api().start(engine_id))

    async def stop(self, engine_id: str, grace: int) -> None:
        def call() -> None:
            self._api().stop(engine_id, timeout=grace)

        await self._gone_is_fine(self._calls.slow("stopping a container", ACT_SECONDS + grace, call))

    async def remove(self, engine_id: str) -> None:
        def call() -> None:
            self._api().remove_container(engine_id, v=True, force=True)

        await self._gone_is_fine(self._calls.slow("removing a container", ACT_SECONDS, call))

    async def remove_volume(self, name: str) -> None:
        def call() -> None:
            self._api().remove_volume(name)

        await self._gone_is_fine(self._calls.slow("removing a volume", ACT_SECONDS, call))

    async def update_policy(self, engine_id: str, policy: str) -> None:
        def call() -> None:
            api: Any = self._api()
            api.update_container(engine_id, restart_policy={"Name": policy})

        await self._calls.short("setting a restart policy", ACT_SECONDS, call)

    async def unpause(self, engine_id: str) -> None:
        try:
            await self._calls.short("unpausing a container", ACT_SECONDS, lambda: self._api().unpause(engine_id))
        except RuntimeRefused as error:
            if error.code != "conflict":
                raise

    async def list_networks(self, cluster_id: UUID) -> list[Json]:
        def call() -> list[Json]:
            return cast(list[Json], self._api().networks(filters={"label": _label(cluster_id)}))

        return await self._calls.look("listing networks", LOOK_SECONDS, call)

    async def swarm(self, cluster_id: UUID) -> SwarmReport:
        return await self._calls.look("looking at its swarm", LOOK_SECONDS, lambda: swarm.look(self._api(), cluster_id))

    async def swarm_step(self, cluster_id: UUID, step: SwarmStep) -> None:
        def call() -> None:
            swarm.perform(self._api(), cluster_id, step)

        await self._calls.slow("changing its swarm", ACT_SECONDS, call)

    async def create_network(self, cluster_id: UUID, network: NetworkSpec) -> str:
        if network.overlay:
            return await self._calls.short(
                "creating a network", ACT_SECONDS, lambda: swarm.make_overlay(self._api(), cluster_id, network)
            )

        def call(ipam: IPAMConfig | None) -> str:
            made = self._api().create_network(
                network.name,
                driver="bridge",
                ipam=ipam,
                check_duplicate=True,
                labels=create_args.network_labels(cluster_id, network),
            )
            return str(made["Id"])

        wanted = IPAMConfig(pool_configs=[IPAMPool(subnet=network.subnet)]) if network.subnet else None
        try:
            try:
                return await self._calls.short("creating a network", ACT_SECONDS, call, wanted)
            except RuntimeRefused as error:
                if error.code != "subnet_taken":
                    raise
                # Something on this host has the block already: any other serves, names do not depend on it.
                return await self._calls.short("creating a network", ACT_SECONDS, call, None)
        except RuntimeRefused as error:
            if error.code != "name_taken":
                raise
            for each in await self.list_networks(cluster_id):
                if each["Name"] == network.name:
                    return str(each["Id"])
            raise

    async def remove_network(self, network_id: str) -> None:
        await self._gone_is_fine(
            self._calls.short("removing a network", ACT_SECONDS, lambda: self._api().remove_network(network_id))
        )

    async def connect(self, network_id: str, engine_id: str, attachment: Attachment) -> None:
        def call() -> None:
            self._api().connect_container_to_network(
                engine_id, network_id, aliases=list(attachment.aliases), links=list(attachment.links)
            )

        try:
            await self._calls.short("connecting a network", ACT_SECONDS, call)
        except RuntimeFailed as error:
            if "already exists in network" not in str(error):
                raise

    async def disconnect(self, network_id: str, engine_id: str) -> None:
        def call() -> None:
            self._api().disconnect_container_from_network(engine_id, network_id, force=True)

        try:
            await self._calls.short("disconnecting a network", ACT_SECONDS, call)
        except RuntimeRefused as error:
            if "is not connected to" not in error.reason and error.code != "network_missing":
                raise

    async def image_inspect(self, reference: str) -> Json:
        def call() -> Json:
            api: Any = self._api()
            return cast(Json, api.inspect_image(reference))

        return await self._calls.look("looking at an image", LOOK_SECONDS, call)

    async def pull(self, reference: str, login: RegistryAuth | None = None) -> None:
        await self._calls.slow("pulling an image", PULL_SECONDS, self._pull, reference, login)

    def events(self, cluster_id: UUID) -> AsyncIterator[frozenset[str]]:
        def open_stream() -> events.Stream:
            api = self._new_client(self._version())
            return api.events(filters=events.filters(cluster_id), decode=True)

        return events.follow(open_stream)

    async def logs(self, engine_id: str, *, tail: int, since: float | None = None) -> Sequence[RawLine]:
        def call() -> list[RawLine]:
            api: Any = self._api()
            params = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": str(tail)}
            if since is not None:
                params["since"] = f"{since:.9f}"
            answer = api._get(api._url("/containers/{0}/logs", engine_id), params=params)
            body = api._result(answer, binary=True)
            tty = bool(api.inspect_container(engine_id)["Config"].get("Tty"))
            return frames.lines(body, tty=tty)

        return await self._calls.slow("reading logs", LOOK_SECONDS, call)

    def follow(self, engine_id: str, *, since: str | None = None) -> AsyncGenerator[Sequence[RawLine], None]:
        return self._streams.follow(engine_id, since=since)

    async def exec(self, engine_id: str, command: Sequence[str]) -> Console:
        return await self._streams.exec(engine_id, command)

    async def close(self) -> None:
        self._streams.close()
        self._calls.close()
        if self._client is not None:
            self._client.close()

    @staticmethod
    async def _gone_is_fine(call: Any) -> None:
        try:
            await call
        except RuntimeRefused as error:
            if error.code not in {"not_found", "network_missing"}:
                raise

    def _pull(self, reference: str, login: RegistryAuth | None) -> None:
        """In a thread. A stream that says nothing for a minute is given up; errors come inside it (E20)."""
        parsed = parse(reference)
        if parsed is None:
            raise RuntimeRefused(f"not an image reference: {reference}", "bad_reference")
        api: Any = self._new_client(self._version())
        try:
            registry, _ = auth.resolve_repository_name(parsed.name)
            header = auth.get_config_header(api, registry) if login is None else _login_header(registry, login)
            answer = api._post(
                api._url("/images/create"),
                params={"fromImage": parsed.name, "tag": parsed.digest or parsed.tag},
                headers={"X-Registry-Auth": header} if header else {},
                stream=True,
                timeout=(10, PULL_STALL_SECONDS),
            )
            api._raise_for_status(answer)
            for item in api._stream_helper(answer, decode=True):
                if "error" in item:
                    raise classify(0, str(item["error"]), "pulling an image")
        except (requests.ReadTimeout, ReadTimeoutError) as error:
            said = f"nothing came for {PULL_STALL_SECONDS:g} s, its registry hangs, or the engine"
            raise RuntimeBusy(f"pulling {reference} made no progress: {said}") from error
        except requests.ConnectionError as error:
            raise RuntimeBusy(f"pulling {reference} made no progress: {plain_reason(error)}") from error
        finally:
            api.close()

    def _version(self) -> str:
        return str(self._api().api_version)

    def _api(self) -> APIClient:
        """The shared client, made at first use. Blocking."""
        client = self._client
        if client is not None:
            return client
        with self._lock:
            if self._client is None:
                with contextlib.closing(self._new_client(OLDEST_API)) as asking:
                    found = asking.version(api_version=False)
                version = _agreed(str(found.get("ApiVersion", OLDEST_API)), str(found.get("MinAPIVersion", "1.12")))
                self._said = found
                self._client = self._new_client(version)
            return self._client

    def _new_client(self, version: str) -> APIClient:
        client = APIClient(
            self._base_url, version=version, timeout=CLIENT_TIMEOUT, max_pool_size=CONNECTIONS, use_ssh_client=False
        )
        # The environment's proxies and certificate bundles are not meant for the engine (ECOSYSTEM rule 1).
        client.trust_env = False
        if self._base_url.startswith("tcp://"):
            client.mount("http://", _KeepAlive(pool_maxsize=CONNECTIONS))
        else:
            client.mount(_SOCKET, _OnePool(f"http+{self._base_url}", CLIENT_TIMEOUT, max_pool_size=CONNECTIONS))
        return client


_SOCKET = "http+docker://"


class _OnePool(UnixHTTPAdapter):
    """Keeps connections for the socket, and not for each path on it as the SDK does: nearly every call of ours has a
    path of its own, and made a connection that nobody used again."""

    def get_connection(self, url: str | bytes, proxies: Any = None) -> Any:
        return super().get_connection(_SOCKET, proxies)


class _KeepAlive(requests.adapters.HTTPAdapter):
    """Notices a cut link within ten seconds; the event stream has no heartbeat of its own (E24)."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kwargs["socket_options"] = [
            *HTTPConnection.default_socket_options,
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        ]
        super().init_poolmanager(*args, **kwargs)


def _login_header(registry: str, login: RegistryAuth) -> Any:
    """X-Registry-Auth: the only way in which a password reaches the engine (RELIABILITY S16)."""
    return auth.encode_header({"username": login.username, "password": login.password, "serveraddress": registry})


def _label(cluster_id: UUID) -> str:
    return f"{create_args.CLUSTER}={cluster_id}"


def _agreed(newest: str, oldest: str) -> str:
    """max(engine's oldest, min(engine's newest, the newest we know)) (ECOSYSTEM rule 2)."""
    chosen = max(_pair(oldest), min(_pair(newest), NEWEST_API))
    return f"{chosen[0]}.{chosen[1]}"


def _pair(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor or 0)


def plain_reason(error: Exception) -> str:
    """A client's error in one short line."""
    return " ".join(str(error).split())[:200]
