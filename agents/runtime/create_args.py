"""From an assignment to the engine's create call. Pure; the labels and the safe defaults are written here only."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from agents.planning import engine_policy
from agents.runtime.base import Json
from domain.assignment import ContainerAssignment
from domain.container import Attachment, BoundPort, ContainerSpec, NetworkSpec, environment

CLUSTER = "tutela.cluster"
CONTAINER = "tutela.container"
SERVICE = "tutela.service"
NAME = "tutela.name"
DIGEST = "tutela.digest"

MEGABYTE = 1024 * 1024
PIDS_LIMIT = 4096
LOG_CONFIG: Json = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}


def create_body(cluster_id: UUID, assignment: ContainerAssignment) -> Json:
    """The body of POST /containers/create for the assignment, on its first network only.

    Engine 20.10 takes one network at creation. The network goes by name: a container keeps the word under
    which it was created, and a network made anew has the old name but not the old id.
    """
    spec = assignment.spec
    body: Json = {
        "Image": spec.image_id,
        "Hostname": spec.hostname,
        "Env": [f"{name}={value}" for name, value in environment(spec).items()],
        "Labels": labels(cluster_id, assignment),
        "ExposedPorts": {_port(port): {} for port in spec.ports},
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "HostConfig": _host_config(assignment),
    }
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    if spec.command is not None:
        body["Cmd"] = list(spec.command)
    if spec.working_dir:
        body["WorkingDir"] = spec.working_dir
    if spec.user:
        body["User"] = spec.user
    if assignment.networks:
        first = assignment.networks[0]
        body["NetworkingConfig"] = {"EndpointsConfig": {first.network.name: endpoint_config(first)}}
    return body


def labels(cluster_id: UUID, assignment: ContainerAssignment) -> dict[str, str]:
    """What makes the container ours, and which one it is."""
    return {
        CLUSTER: str(cluster_id),
        CONTAINER: str(assignment.container_id),
        SERVICE: str(assignment.service_id),
        NAME: assignment.name,
        DIGEST: assignment.spec_digest,
    }


def network_labels(cluster_id: UUID, network: NetworkSpec) -> dict[str, str]:
    """What makes the network ours."""
    return {CLUSTER: str(cluster_id), SERVICE: str(network.service_id)}


def endpoint_config(attachment: Attachment) -> Json:
    """The container's names on a network, and the names that only it knows there.

    Links on a user-defined network are resolved when asked, so a target may be absent (unlike E22's).
    """
    return {
        "Aliases": list(attachment.aliases),
        "Links": [f"{target}:{name}" for target, name in attachment.links],
    }


def _host_config(assignment: ContainerAssignment) -> Json:
    spec = assignment.spec
    # Init: busybox and shells as PID 1 ignore SIGTERM, so without it a stop costs its whole grace (E15).
    config: Json = {
        "RestartPolicy": {"Name": engine_policy(assignment)},
        "PortBindings": _bindings(spec.ports),
        "LogConfig": LOG_CONFIG,
        "PidsLimit": PIDS_LIMIT,
        "Init": True,
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
    }
    if not spec.privileged:
        config["SecurityOpt"] = ["no-new-privileges"]
    if assignment.networks:
        config["NetworkMode"] = assignment.networks[0].network.name
    return config | _limits(spec)


def _limits(spec: ContainerSpec) -> Json:
    limits: Json = {}
    if spec.memory:
        limits["Memory"] = spec.memory * MEGABYTE
    if spec.memory_swap:
        limits["MemorySwap"] = spec.memory_swap * MEGABYTE
    if spec.cpu_shares:
        limits["CpuShares"] = spec.cpu_shares
    return limits


def _bindings(ports: Sequence[BoundPort]) -> Json:
    """A binding without its ExposedPorts entry would be ignored silently (E14), so both name every port."""
    out: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        if port.outer_port is not None:
            out.setdefault(_port(port), []).append({"HostIp": "", "HostPort": str(port.outer_port)})
    return out


def _port(port: BoundPort) -> str:
    return f"{port.inner_port}/{port.protocol.value}"
