"""A service as the API shows it: the seed's 33 attributes and the later superset (spec 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.wire.others import pause_out
from app.wire.scalars import date, endpoint_uri, image_tag_uri, port_name, uri, uri_protocol
from domain.container import Container
from domain.links import (
    LinkTarget,
    Source,
    client_environment,
    contributes,
    link_variables,
    seen_through,
    source_of,
)
from domain.names import service_fqdn
from domain.networks import Fleet, Form
from domain.service import Service, ServiceWant, counts, live, service_state, synchronized, usable_image
from domain.spec import Binding, PortSpec, ServiceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDetails:
    """A service with what its representation is derived from.

    `linked_from`: (link name, from service); `targets`: the services it is linked to, `sources`: their containers.
    `fleet`: the hosts. `addresses`: theirs, as far as they are known.
    """

    service: Service
    containers: Sequence[Container]
    actions: Sequence[UUID]
    linked_from: Sequence[tuple[str, UUID]]
    targets: Collection[UUID] = ()
    sources: Mapping[UUID, Sequence[Container]] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=Fleet)
    addresses: Mapping[UUID, str] = field(default_factory=dict)

    def source(self, container: Container) -> Source:
        """The container in the form in which others find it: the service has no particular client (spec 3.3)."""
        found = source_of(container, self.fleet, self.service.account)
        return seen_through(found, self.fleet.general(container.node_id))


def service_out(details: ServiceDetails, *, api_url: str, public_domain: str, host: str = "") -> dict[str, Any]:
    """The whole representation, the same in lists and alone.

    Where there is no public domain a node's address stands in (spec 3.9), and `host` for one that is not known.
    """
    service, spec = details.service, details.service.spec
    count = counts(details.containers)
    public_dns = _public_dns(service, public_domain) or _address(details) or host
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
        "container_ports": [port_out(port, public_dns) for port in spec.ports],
        "container_envvars": [{"key": key, "value": value} for key, value in spec.env],
        "calculated_envvars": _calculated(details, api_url, public_domain),
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
        "link_form": _form(details).value,
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
        "lost_after": spec.lost_after,
        "single_writer": spec.single_writer,
        "paused": pause_out(service.paused),
        "public_dns": public_dns,
        "working_dir": spec.working_dir,
        "user": spec.user,
        "tty": spec.tty,
        "stdin_open": spec.stdin_open,
        "read_only": spec.read_only,
        "stack": uri("stack", service.stack_id) if service.stack_id else None,
        "bindings": [binding_out(each) for each in spec.bindings],
        **docker_out(spec),
    }


def docker_out(spec: ServiceSpec) -> dict[str, Any]:
    """The attributes that are passed on to Docker (spec 2.3)."""
    return {
        "net": spec.net,
        "pid": spec.pid,
        "hostname": spec.hostname,
        "domainname": spec.domainname,
        "mac_address": spec.mac_address,
        "cpuset": spec.cpuset,
        "cgroup_parent": spec.cgroup_parent,
        "dns": list(spec.dns),
        "dns_search": list(spec.dns_search),
        "cap_add": list(spec.cap_add),
        "cap_drop": list(spec.cap_drop),
        "devices": list(spec.devices),
        "extra_hosts": list(spec.extra_hosts),
        "security_opt": list(spec.security_opt),
        "labels": dict(spec.labels),
    }


def binding_out(binding: Binding) -> dict[str, Any]:
    """A mount of the definition (spec 2.9)."""
    return {
        "host_path": binding.host_path,
        "container_path": binding.container_path,
        "rewritable": binding.rewritable,
        "volumes_from": uri("service", binding.volumes_from) if binding.volumes_from else None,
    }


def port_out(port: PortSpec, public_dns: str) -> dict[str, Any]:
    """A port of the definition; a dynamic outer port is each container's own, and so is where it is reached."""
    transport, inner, outer = port.protocol.value, port.inner_port, port.outer_port
    return {
        "protocol": transport,
        "inner_port": inner,
        "outer_port": outer,
        "port_name": port_name(inner),
        "published": port.published,
        "endpoint_uri": None if outer is None else endpoint_uri(transport, inner, public_dns, outer),
        "uri_protocol": uri_protocol(transport, inner) if port.published else None,
    }


_WEAKEST = (Form.NONE, Form.PORTS, Form.OVERLAY, Form.BRIDGE)


def _form(details: ServiceDetails) -> Form:
    """In which form other hosts' containers find those of the service: of several the weakest."""
    nodes = {each.node_id for each in live(details.containers)} or set(details.fleet.reach)
    return min((details.fleet.general(node) for node in nodes), key=_WEAKEST.index, default=Form.BRIDGE)


def _variables(details: ServiceDetails, api_url: str) -> dict[str, str]:
    sources = [details.source(each) for each in details.containers if contributes(each)]
    own = f"{api_url}{uri('service', details.service.id)}"
    return link_variables(details.service.unique_name, sources, own)


_PER_CONTAINER = "To be calculated"
_TRIGGER_BODY = "TUTUM_TRIGGER_BODY"
_OWN = ("TUTUM_CONTAINER_API_URI", "TUTUM_CONTAINER_API_URL", "TUTUM_CONTAINER_HOSTNAME", "TUTUM_NODE_API_URI",
        "TUTUM_NODE_API_URL", "TUTUM_NODE_HOSTNAME")  # fmt: skip


def _calculated(details: ServiceDetails, api_url: str, public_domain: str) -> list[dict[str, str]]:
    """One entry an effective variable, with where it comes from (spec 2.3); before a deployment the user's."""
    service, spec = details.service, details.service.spec
    if service.want is ServiceWant.INIT:
        return [{"key": key, "value": value, "origin": "user"} for key, value in sorted(spec.env)]
    image = usable_image(service)
    found = {key: (value, "image") for key, value in (image.env if image else ())}
    links = [
        LinkTarget(
            alias=link.name,
            api_url=f"{api_url}{uri('service', link.to_service)}",
            sources=tuple(
                details.source(each) for each in details.sources.get(link.to_service, ()) if contributes(each)
            ),
        )
        for link in spec.links
        if link.to_service in details.targets
    ]
    found |= {key: (value, "link") for key, value in client_environment(links)}
    own = dict.fromkeys(_OWN, _PER_CONTAINER)
    path = uri("service", service.id)
    own |= {
        "TUTUM_SERVICE_API_URI": path,
        "TUTUM_SERVICE_API_URL": f"{api_url}{path}",
        "TUTUM_SERVICE_HOSTNAME": service.unique_name,
        "TUTUM_REST_HOST": api_url,
        "TUTUM_STREAM_HOST": api_url.replace("http", "ws", 1),
    }
    if service.stack:
        own["TUTUM_STACK_NAME"] = service.stack
    if public_domain:
        own |= {
            "TUTUM_SERVICE_FQDN": _public_dns(service, public_domain),
            "TUTUM_CONTAINER_FQDN": _PER_CONTAINER,
            "TUTUM_NODE_FQDN": _PER_CONTAINER,
        }
    if _triggered(details):
        own[_TRIGGER_BODY] = _PER_CONTAINER
    if spec.roles:
        own["TUTUM_AUTH"] = _PER_CONTAINER
    found |= {key: (value, "tutum") for key, value in own.items()}
    found |= {key: (value, "user") for key, value in spec.env}
    return [{"key": key, "value": found[key][0], "origin": found[key][1]} for key in sorted(found)]


def _triggered(details: ServiceDetails) -> bool:
    """Whether some container has, or is to have, the body of the trigger's call that made it (spec 4.10)."""
    operation = details.service.operation
    if operation is not None and operation.trigger_body is not None:
        return True
    return any(key == _TRIGGER_BODY for each in live(details.containers) for key, _ in each.spec.self_env)


def _public_dns(service: Service, domain: str) -> str:
    name, stack, account = service.unique_name, service.stack, service.account
    return service_fqdn(name, stack=stack, account=account, domain=domain) if domain else ""


def _address(details: ServiceDetails) -> str:
    """Where a container of the service is: of the first that runs, or else of the first; empty when not known."""
    there = live(details.containers)
    first = next((each for each in there if contributes(each)), there[0] if there else None)
    return details.addresses.get(first.node_id, "") if first else ""
