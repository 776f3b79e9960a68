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
        "Env": [f"{name}={value}" for name, value in {**dict(assignment.secret_env), **environment(spec)}.items()],
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
    for key, value in (
        ("WorkingDir", spec.working_dir),
        ("User", spec.user),
        ("Domainname", spec.domainname),
        ("MacAddress", spec.mac_address),
    ):
        if value:
            body[key] = value
    if assignment.networks:
        first = assignment.networks[0]
        body["NetworkingConfig"] = {"EndpointsConfig": {first.network.name: endpoint_config(first)}}
    return body


def labels(cluster_id: UUID, assignment: ContainerAssignment) -> dict[str, str]:
    """The user's labels, what makes the container ours, and which one it is."""
    return {
        **dict(assignment.spec.labels),
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
    options = list(spec.security_opt)
    if not spec.privileged and not any(option.startswith("no-new-privileges") for option in options):
        options.append("no-new-privileges")
    if options:
        config["SecurityOpt"] = options
    if spec.host_network:
        config["NetworkMode"] = "host"
    elif assignment.networks:
        config["NetworkMode"] = assignment.networks[0].network.name
    if spec.host_pid:
        config["PidMode"] = "host"
    return config | _limits(spec) | _extras(spec) | _mounts(assignment)


def _extras(spec: ContainerSpec) -> Json:
    """What is passed on to Docker as the user wrote it (spec 2.3)."""
    given: Json = {
        "Dns": list(spec.dns),
        "DnsSearch": list(spec.dns_search),
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "ExtraHosts": list(spec.extra_hosts),
        "Devices": [_device(text) for text in spec.devices],
        "CpusetCpus": spec.cpuset,
        "CgroupParent": spec.cgroup_parent,
    }
    return {key: value for key, value in given.items() if value}


def _device(text: str) -> Json:
    """`/dev/a[:/dev/b[:rwm]]` as the engine's API wants it."""
    parts = text.split(":")
    inside = parts[1] if len(parts) > 1 and parts[1].startswith("/") else parts[0]
    return {
        "PathOnHost": parts[0],
        "PathInContainer": inside,
        "CgroupPermissions": parts[-1] if len(parts) > 1 and not parts[-1].startswith("/") else "rwm",
    }


def _mounts(assignment: ContainerAssignment) -> Json:
    """Paths of the host and volumes, these with our labels. Not as `Binds`: of those the engine makes what is missing,
    as root (S14)."""
    mounts: list[Json] = [
        {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
        if not mount.volume
        else {
            "Type": "volume",
            "Source": mount.source,
            "Target": mount.target,
            "ReadOnly": mount.read_only,
            "VolumeOptions": {"Labels": {SERVICE: str(assignment.service_id)}},
        }
        for mount in assignment.spec.mounts
    ]
    return {"Mounts": mounts} if mounts else {}


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
