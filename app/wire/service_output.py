"""A service as the API shows it: the seed's 33 attributes and the later superset (spec 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.wire.scalars import date, image_tag_uri, port_name, uri
from domain.container import Container
from domain.links import contributes, link_variables, source_of
from domain.service import Service, counts, live, service_state, synchronized
from domain.spec import PortSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDetails:
    """A service with what its representation is derived from. `linked_from`: (link name, from service)."""

    service: Service
    containers: Sequence[Container]
    actions: Sequence[UUID]
    linked_from: Sequence[tuple[str, UUID]]


def service_out(details: ServiceDetails, *, api_url: str, public_domain: str) -> dict[str, Any]:
    """The whole representation, the same in lists and alone."""
    service, spec = details.service, details.service.spec
    count = counts(details.containers)
    return {
        "uuid": str(service.id),
        "resource_uri": uri("service", service.id),
        "name": service.name,
        "unique_name": service.unique_name,
        "nickname": spec.nickname or service.name,
        "image_name": spec.image,
        "image_tag": image_tag_uri(spec.image),
        "state": service_state(service, count).value,
        "synchronized": synchronized(service, details.containers),
        "target_num_containers": service.target,
        "current_num_containers": count.current,
        "running_num_containers": count.running,
        "stopped_num_containers": count.stopped,
        "containers": [uri("container", each.id) for each in live(details.containers)],
        "container_ports": [port_out(port) for port in spec.ports],
        "container_envvars": [{"key": key, "value": value} for key, value in spec.env],
        "calculated_envvars": [{"key": key, "value": value, "origin": "user"} for key, value in sorted(spec.env)],
        "linked_to_service": [
            {
                "name": link.name,
                "from_service": uri("service", service.id),
                "to_service": uri("service", link.to_service),
            }
            for link in spec.links
        ],
        "linked_from_service": [
            {"name": name, "from_service": uri("service", origin), "to_service": uri("service", service.id)}
            for name, origin in details.linked_from
        ],
        "link_variables": _variables(details, api_url),
        "entrypoint": spec.entrypoint,
        "run_command": spec.run_command,
        "sequential_deployment": spec.sequential_deployment,
        "cpu_shares": spec.cpu_shares,
        "memory": spec.memory,
        "memory_swap": spec.memory_swap,
        "autorestart": spec.autorestart.value,
        "autoreplace": spec.autoreplace.value,
        "autodestroy": spec.autodestroy.value,
        "autoredeploy": spec.autoredeploy,
        "roles": list(spec.roles),
        "privileged": spec.privileged,
        "tags": [{"name": name} for name in spec.tags],
        "actions": [uri("action", each) for each in details.actions],
        "deployed_datetime": date(service.deployed_at),
        "started_datetime": date(service.started_at),
        "stopped_datetime": date(service.stopped_at),
        "destroyed_datetime": date(service.destroyed_at),
        "deployment_strategy": spec.deployment_strategy.value,
        "public_dns": _public_dns(service, public_domain),
        "working_dir": spec.working_dir,
        "user": spec.user,
        "tty": spec.tty,
        "stdin_open": spec.stdin_open,
        "read_only": spec.read_only,
        **LATER,
    }


LATER: dict[str, Any] = {
    "stack": None,
    "bindings": [],
    "net": "bridge",
    "pid": "none",
    "hostname": None,
    "domainname": None,
    "mac_address": None,
    "cpuset": None,
    "cgroup_parent": None,
    "dns": [],
    "dns_search": [],
    "cap_add": [],
    "cap_drop": [],
    "devices": [],
    "extra_hosts": [],
    "security_opt": [],
    "labels": {},
}
"""Attributes of the later API that this version answers with their defaults: clients need the keys (spec 2.3)."""


def port_out(port: PortSpec) -> dict[str, Any]:
    """A port of the definition; a dynamic outer port is each container's own."""
    return {
        "protocol": port.protocol.value,
        "inner_port": port.inner_port,
        "outer_port": port.outer_port,
        "port_name": port_name(port.inner_port),
        "published": port.published,
        "endpoint_uri": None,
        "uri_protocol": port_name(port.inner_port) if port.published else None,
    }


def _variables(details: ServiceDetails, api_url: str) -> dict[str, str]:
    sources = [source_of(each) for each in details.containers if contributes(each)]
    own = f"{api_url}{uri('service', details.service.id)}"
    return link_variables(details.service.unique_name, sources, own)


def _public_dns(service: Service, domain: str) -> str:
    return f"{service.unique_name}.{service.account}.svc.{domain}" if domain else ""
