"""A container as the API shows it (spec 4.1)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.wire.scalars import date, endpoint_uri, image_tag_uri, port_name, uri, uri_protocol
from domain.container import BoundPort, Container, Mount, Seen, container_state
from domain.links import Source, block, contributes, mangle, seen_through, source_of
from domain.names import container_fqdn
from domain.networks import Fleet
from domain.node import Node, NodeState
from domain.service import Service, up_to_date

VOLUME_PREFIX = "tutela-"
_EXITS = {
    0: "Success",
    1: "General error",
    126: "Not executable",
    127: "Not found",
    137: "Killed",
    143: "Ended by SIGTERM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerDetails:
    """A container with what its representation is derived from. `others`: the live containers of the services
    that its own is linked to, and of its own when they are linked to each other. `node`: where it is; of one that is
    silent the state may be out of date (I10). `fleet`: the hosts. `address`: the node's, empty when it is not known."""

    container: Container
    service: Service
    others: Mapping[UUID, Sequence[Container]] = field(default_factory=dict)
    actions: Sequence[UUID] = ()
    node: Node | None = None
    fleet: Fleet = field(default_factory=Fleet)
    address: str = ""

    def source(self, container: Container) -> Source:
        """The other container as this one finds it, or this one as containers elsewhere do (spec 3.3)."""
        found = source_of(container, self.fleet, self.service.account)
        if container.id == self.container.id:
            return seen_through(found, self.fleet.general(container.node_id))
        return seen_through(found, self.fleet.form(self.container.node_id, container.node_id))


def container_out(details: ContainerDetails, *, public_domain: str, host: str) -> dict[str, Any]:
    """The whole representation of a container; policies and roles are the service's present ones.

    Where there is no public domain the node's address stands in (spec 3.9), and `host` for one that is not known.
    """
    public_dns = _public_dns(details, public_domain) or details.address or host
    stale = details.node is not None and details.node.state is NodeState.UNREACHABLE
    container, service = details.container, details.service
    spec, seen = container.spec, container.seen
    ended = seen is not None and seen.state in {Seen.EXITED, Seen.RESTARTING, Seen.FAILED, Seen.GONE}
    code = seen.exit_code if seen and ended else None
    own = details.source(container)
    prefix = mangle(service.unique_name)
    shown = dict(spec.link_env) | dict(spec.user_env)
    return {
        "uuid": str(container.id),
        "resource_uri": uri("container", container.id),
        "name": container.name,
        "unique_name": container.name,
        "state": container_state(container).value,
        "service": uri("service", container.service_id),
        "node": uri("node", container.node_id),
        "image_name": spec.image,
        "image_tag": image_tag_uri(spec.image),
        "container_ports": [_port_out(port, public_dns) for port in spec.ports],
        "container_envvars": [{"key": key, "value": shown[key]} for key in sorted(shown)],
        "link_variables": block(f"{prefix}_{container.slot}", own) | block(prefix, own),
        "linked_to_container": _linked_to(details),
        "entrypoint": shlex.join(spec.entrypoint) if spec.entrypoint else "",
        "run_command": shlex.join(spec.command) if spec.command else "",
        "cpu_shares": spec.cpu_shares,
        "memory": spec.memory,
        "memory_swap": spec.memory_swap,
        "autorestart": container.autorestart.value,
        "autoreplace": service.spec.autoreplace.value,
        "autodestroy": service.spec.autodestroy.value,
        "roles": list(service.spec.roles),
        "privileged": spec.privileged,
        "exit_code": code,
        "exit_code_msg": None if code is None else f"Exit code {code} ({_EXITS.get(code, 'Error')})",
        "message": seen.message if seen else None,
        "restart_count": seen.restart_count if seen else 0,
        "deployed_datetime": date(seen.created_at if seen and seen.created_at else container.created_at),
        "started_datetime": date(seen.started_at if seen else None),
        "stopped_datetime": date(seen.finished_at if seen and ended else None),
        "destroyed_datetime": date(container.terminated_at),
        "public_dns": public_dns,
        "private_ip": (seen.ip if seen else None) or "",
        "bindings": [_binding_out(mount) for mount in spec.mounts],
        "last_metric": None,
        "stale": stale,
        "last_seen": date(details.node.last_seen) if details.node else None,
        "synchronized": up_to_date(service, container),
        "actions": [uri("action", each) for each in details.actions],
        "net": "host" if spec.host_network else "bridge",
        "pid": "host" if spec.host_pid else "none",
        "hostname": spec.hostname,
        "labels": dict(spec.labels),
        **{name: _shown(getattr(spec, name)) for name in _AS_DEPLOYED},
    }


_AS_DEPLOYED = (
    "domainname", "mac_address", "cpuset", "cgroup_parent", "dns", "dns_search", "cap_add", "cap_drop", "devices",
    "extra_hosts", "security_opt", "working_dir", "user", "tty", "stdin_open", "read_only",
)  # fmt: skip


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _public_dns(details: ContainerDetails, domain: str) -> str:
    name, service = details.container.name, details.service
    return container_fqdn(name, stack=service.stack, account=service.account, domain=domain) if domain else ""


def _linked_to(details: ContainerDetails) -> list[dict[str, Any]]:
    """The containers that this one is linked to: through its service's links, or as an earlier sibling (3.6, 4.1)."""
    service, own = details.service, details.container
    found: list[tuple[str, Container]] = []
    for link in service.spec.links:
        found += [
            (f"{link.name}_{other.slot}", other)
            for other in details.others.get(link.to_service, ())
            if contributes(other)
        ]
    if service.spec.sequential_deployment:
        found += [
            (other.name, other)
            for other in details.others.get(service.id, ())
            if other.slot < own.slot and contributes(other)
        ]
    return [
        {
            "name": name,
            "from_container": uri("container", own.id),
            "to_container": uri("container", other.id),
            "endpoints": {
                f"{end.inner_port}/{end.protocol.value}": f"{end.protocol.value}://{end.address}:{end.port}"
                for end in details.source(other).endpoints
            },
        }
        for name, other in found
    ]


def _binding_out(mount: Mount) -> dict[str, Any]:
    volume = mount.source.removeprefix(VOLUME_PREFIX) if mount.volume else None
    return {
        "volume": uri("volume", volume) if volume else None,
        "host_path": None if mount.volume else mount.source,
        "container_path": mount.target,
        "rewritable": not mount.read_only,
    }


def _port_out(port: BoundPort, public_dns: str) -> dict[str, Any]:
    transport, inner, outer = port.protocol.value, port.inner_port, port.outer_port
    return {
        "protocol": transport,
        "inner_port": inner,
        "outer_port": outer,
        "port_name": port_name(inner),
        "published": outer is not None,
        "endpoint_uri": None if outer is None else endpoint_uri(transport, inner, public_dns, outer),
        "uri_protocol": None if outer is None else uri_protocol(transport, inner),
    }
