"""What a user asks for: the service definition, as a frozen value.

Defaults are those of the seed's create table (spec 2.2) and of the later superset (spec 2.3).
A new field goes here and into `app.wire.services`; a test compares the two.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import assert_never
from uuid import UUID


class Transport(StrEnum):
    """A port's protocol (spec 2.6)."""

    TCP = "tcp"
    UDP = "udp"


class CrashPolicy(StrEnum):
    """When autorestart, autoreplace and autodestroy apply (spec 2.18). ON_SUCCESS: autodestroy only."""

    OFF = "OFF"
    ON_FAILURE = "ON_FAILURE"
    ON_SUCCESS = "ON_SUCCESS"
    ALWAYS = "ALWAYS"

    def matches(self, exit_code: int | None) -> bool:
        """Whether an end with this exit code is one the policy reacts to; None counts as a failure."""
        match self:
            case CrashPolicy.OFF:
                return False
            case CrashPolicy.ALWAYS:
                return True
            case CrashPolicy.ON_FAILURE:
                return exit_code != 0
            case CrashPolicy.ON_SUCCESS:
                return exit_code == 0
            case _:
                assert_never(self)


class Strategy(StrEnum):
    """Where containers go (spec 2.21)."""

    EMPTIEST_NODE = "EMPTIEST_NODE"
    HIGH_AVAILABILITY = "HIGH_AVAILABILITY"
    EVERY_NODE = "EVERY_NODE"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSpec:
    """A port that the user asked for. `outer_port` None with `published` means: chosen at placement."""

    protocol: Transport
    inner_port: int
    outer_port: int | None = None
    published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to another service under a name; the name is the variables' prefix and a host name."""

    name: str
    to_service: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Something mounted into each container (spec 2.9): a path of the host, a managed volume of the slot
    (`host_path` None), or with `volumes_from` all that another service's containers have mounted."""

    container_path: str | None = None
    host_path: str | None = None
    rewritable: bool = True
    volumes_from: UUID | None = None


Env = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """The definition from which containers are made. Sizes in MB, shares in Docker's unit.

    `lost_after`: seconds after which the slots of a silent host run elsewhere; None: the policy's own rule.
    `single_writer`: two containers of one slot may never run at once, whatever is cut.
    """

    image: str
    entrypoint: str | None = None
    run_command: str | None = None
    env: Env = ()
    ports: tuple[PortSpec, ...] = ()
    links: tuple[Link, ...] = ()
    autorestart: CrashPolicy = CrashPolicy.OFF
    autoreplace: CrashPolicy = CrashPolicy.OFF
    autodestroy: CrashPolicy = CrashPolicy.OFF
    sequential_deployment: bool = False
    roles: tuple[str, ...] = ()
    privileged: bool = False
    tags: tuple[str, ...] = ()
    cpu_shares: int | None = None
    memory: int | None = None
    memory_swap: int | None = None
    deployment_strategy: Strategy = Strategy.EMPTIEST_NODE
    autoredeploy: bool = False
    nickname: str | None = None
    working_dir: str | None = None
    user: str | None = None
    tty: bool = False
    stdin_open: bool = False
    read_only: bool = False
    net: str = "bridge"
    pid: str = "none"
    hostname: str | None = None
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
    bindings: tuple[Binding, ...] = ()
    lost_after: int | None = None
    single_writer: bool = False


# Applied to running containers, or without meaning for them: a change never makes a new container (spec 2.16).
IN_PLACE = frozenset(
    {
        "links",
        "autorestart",
        "autoreplace",
        "autodestroy",
        "sequential_deployment",
        "roles",
        "tags",
        "deployment_strategy",
        "autoredeploy",
        "nickname",
        "lost_after",
    }
)


def fingerprint(value: object) -> str:
    """A short stable digest of a JSON-able value or of a dataclass of such; equal values give equal digests on every
    machine. By the encoder's own walk: a copy of the value first (`asdict`) costs several times as much.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return str(value)


_MADE_OF = {field.name: field.default for field in fields(ServiceSpec) if field.name not in IN_PLACE}


def digest(spec: ServiceSpec) -> str:
    """The digest of what needs a new container when it changes; a container's `made_from`.

    Defaults are left out, so that a later version's new field does not make every container outdated.
    """
    values = ((key, getattr(spec, key), default) for key, default in _MADE_OF.items())
    return fingerprint({key: value for key, value, default in values if value != default})
