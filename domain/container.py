"""A container: one attempt to fill one slot of a service, from creation until it is confirmed gone.

The orchestrator writes what is wanted, the agent what is seen; nobody writes both (DESIGN practice 8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from domain.spec import CrashPolicy, Env, Transport, fingerprint

FIRST_MOMENT = timedelta(milliseconds=100)
"""What cannot run ends within this time after its start; an application that ends later ends by itself."""


class Want(StrEnum):
    """What the orchestrator wants of a container."""

    RUN = "RUN"
    STOP = "STOP"
    GONE = "GONE"


class Seen(StrEnum):
    """What the agent sees of a container."""

    PENDING = "PENDING"
    PULLING = "PULLING"
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    RESTARTING = "RESTARTING"
    EXITED = "EXITED"
    FAILED = "FAILED"
    GONE = "GONE"


class ContainerState(StrEnum):
    """The wire's container states (spec 4.1)."""

    INIT = "Init"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPort:
    """An effective port of a container; `outer_port` None when it is not published."""

    protocol: Transport
    inner_port: int
    outer_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """The network of one service: its own containers and those of its clients, nobody else.

    `overlay`: it spans the hosts of the swarm, else it is a bridge of one host. `subnet` empty: the engine's choice.
    """

    name: str
    service_id: UUID
    subnet: str
    overlay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """How a container sits on a network: names that others reach it by, and names only it knows.

    `links` are pairs (network-wide name of the target, name inside this container).
    """

    network: NetworkSpec
    aliases: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount of a container: `source` is a path of the host, or with `volume` the name of an engine volume.

    `own`: a volume of this container's slot, which goes when the container goes without a successor.
    """

    source: str
    target: str
    volume: bool = False
    own: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything the engine needs to make the container; rendered once and frozen.

    The four environments are kept apart: links cascade `image_env` and `user_env` only (spec 3.1), and the
    merge order is image, link, self, user (spec 2.7). `token`: it also gets one for the API, which is never
    stored (spec 2.20). `single_writer`: an agent that has lost the control plane stops it.
    """

    image: str
    image_id: str
    image_digest: str | None
    hostname: str
    image_env: Env = ()
    link_env: Env = ()
    self_env: Env = ()
    user_env: Env = ()
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    ports: tuple[BoundPort, ...] = ()
    memory: int | None = None
    memory_swap: int | None = None
    cpu_shares: int | None = None
    privileged: bool = False
    working_dir: str | None = None
    user: str | None = None
    tty: bool = False
    stdin_open: bool = False
    read_only: bool = False
    host_network: bool = False
    host_pid: bool = False
    domainname: str | None = None
    mac_address: str | None = None
    cpuset: str | None = None
    cgroup_parent: str | None = None
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    labels: Env = ()
    mounts: tuple[Mount, ...] = ()
    token: bool = False
    single_writer: bool = False


def environment(spec: ContainerSpec) -> dict[str, str]:
    """What the process finds in its environment beyond the image's own variables; user values win."""
    return dict(spec.link_env) | dict(spec.self_env) | dict(spec.user_env)


def own_volumes(spec: ContainerSpec) -> tuple[str, ...]:
    """The engine volumes that belong to the container's slot."""
    return tuple(mount.source for mount in spec.mounts if mount.own)


def spec_digest(spec: ContainerSpec) -> str:
    """The digest that becomes the engine label; a container with another one is not the one assigned."""
    return fingerprint(spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A container as the agent last saw it. Times are the engine's. `message` says why, for people.

    `start_gen` is the newest start order that was carried out (see `Container.start_gen`). `will_restart`: the
    node starts it again by itself, so an end is not the last word. `settling`: it was not yet seen to run after its
    FIRST_MOMENT; agents of releases that do not tell this are taken at their word.
    """

    state: Seen
    start_gen: int = 0
    engine_id: str | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    restart_count: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    ip: str | None = None
    message: str | None = None
    will_restart: bool = False
    settling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An operation on this one container under way; its actions end when the container has done it.

    `verb` is one of start, stop, redeploy, terminate.
    """

    verb: str
    actions: tuple[UUID, ...]
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A row of the record. `start_gen` counts orders to start: an exited container whose order was carried
    out is a result, one with a newer order is to be started again. `refill`: once it is gone, its slot gets a
    successor, which takes over its order. `drop_volumes` are removed with it. `replaced`: when autoreplace
    replaced containers of this slot. `leaving`: its slot is no longer its own, because its node is lost or being
    drained, and a successor may run beside it; or because one was made that `follows` it on the same node, which its
    agent starts when this one has ended."""

    id: UUID
    service_id: UUID
    node_id: UUID
    slot: int
    name: str
    spec: ContainerSpec
    made_from: str
    deploy_gen: int
    want: Want
    start_gen: int
    autorestart: CrashPolicy
    autoreplace: CrashPolicy = CrashPolicy.OFF
    networks: tuple[Attachment, ...]
    created_at: datetime
    seen: Observed | None = None
    terminated_at: datetime | None = None
    order: Order | None = None
    refill: bool = False
    drop_volumes: tuple[str, ...] = ()
    replaced: tuple[datetime, ...] = ()
    leaving: bool = False
    follows: UUID | None = None


AGAIN = ", again soon)"
"""So ends what an agent says of something that it tries again."""


def news(before: Observed | None, report: Observed) -> Observed:
    """What is known after a report: of a container that is not there any more, how it was before stays known."""
    absent = report.engine_id is None and report.state in {Seen.EXITED, Seen.GONE}
    if before is None or not absent:
        return report
    tried = before.message is not None and before.message.endswith(AGAIN)
    return replace(
        before,
        state=report.state,
        start_gen=report.start_gen,
        engine_id=before.engine_id if report.state is Seen.GONE else None,
        exit_code=before.exit_code if report.exit_code is None else report.exit_code,
        message=report.message or (None if tried else before.message),
        ip=None,
        will_restart=report.will_restart,
        settling=False,
    )


ALIVE = frozenset({Seen.RUNNING, Seen.RESTARTING})


class Ordered(Protocol):
    """What of a container its state is made of."""

    @property
    def want(self) -> Want: ...
    @property
    def start_gen(self) -> int: ...
    @property
    def seen(self) -> Observed | None: ...
    @property
    def leaving(self) -> bool: ...
    @property
    def terminated_at(self) -> datetime | None: ...


def obeyed(container: Ordered) -> bool:
    """Whether the newest order to start was carried out."""
    return container.seen is not None and container.seen.start_gen >= container.start_gen


def container_state(container: Ordered) -> ContainerState:
    """The wire state, derived; first match wins."""
    seen = container.seen.state if container.seen else None
    if container.terminated_at is not None:
        return ContainerState.TERMINATED
    if container.want is Want.GONE or container.leaving:
        return ContainerState.TERMINATING
    if container.want is Want.STOP:
        if seen in ALIVE:
            return ContainerState.STOPPING
        return ContainerState.STOPPED if seen in {Seen.EXITED, Seen.FAILED} else ContainerState.INIT
    if seen in {Seen.EXITED, Seen.FAILED}:
        return ContainerState.STOPPED if obeyed(container) else ContainerState.STARTING
    if seen is Seen.RUNNING and obeyed(container):
        return ContainerState.RUNNING
    return ContainerState.STARTING
