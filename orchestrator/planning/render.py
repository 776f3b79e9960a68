"""From a service definition to what one container is made of."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from uuid import UUID

from domain.container import Attachment, BoundPort, Container, ContainerSpec, NetworkSpec, Want
from domain.image import ResolvedImage
from domain.links import LinkTarget, Source, client_environment, seen_through, sibling_environment, source_of
from domain.names import container_fqdn, node_fqdn, service_fqdn
from domain.networks import Fleet
from domain.service import Service
from domain.spec import Env, PortSpec, Strategy, digest
from orchestrator.planning.forms import fleet_of, network_of
from orchestrator.planning.steps import CreateContainer
from orchestrator.planning.view import LinkedService, ServiceView


def container_name(view: ServiceView, slot: int) -> str:
    """`web-1`: the container's name and host name (spec 2.4)."""
    return f"{view.service.unique_name}-{slot}"


def attachments(view: ServiceView, name: str, slot: int, node: UUID) -> tuple[Attachment, ...]:
    """The networks of a container: its service's own, and that of each service it is linked to (DESIGN 3.6b).

    On a node in the overlay they are overlay networks, else bridges of the node. With the host's network there are
    none, and so no names (spec 2.3).
    """
    service = view.service
    if service.spec.net == "host":
        return ()
    names = [name, f"{service.unique_name}_{slot}", service.unique_name]
    if service.stack:
        names += [f"{name}.{service.stack}", f"{service.unique_name}.{service.stack}"]
    own = Attachment(
        network=network_of(view, service.id, service.subnet, node),
        aliases=tuple(names),
    )
    known: dict[UUID, list[tuple[str, str]]] = {}
    networks: dict[UUID, NetworkSpec] = {}
    for link in sorted(view.linked, key=lambda each: each.alias):
        known.setdefault(link.service_id, []).extend(_link_names(link))
        networks[link.service_id] = network_of(view, link.service_id, link.subnet, node)
    joined = (
        Attachment(network=network, links=tuple(pair for pair in known[target] if pair[0] != pair[1]))
        for target, network in networks.items()
        if target != service.id
    )
    return (own, *joined)


LEAST_INDEXED_NAMES = 4


def first_of_more_names(slot: int) -> bool:
    """Whether with this slot the clients of its service are to know names of more slots than before."""
    return slot > LEAST_INDEXED_NAMES and (slot - 1).bit_count() == 1


def _link_names(link: LinkedService) -> list[tuple[str, str]]:
    """`db` for all of the target's containers, `db-1` and `db_1` for each (spec 3.9).

    Names are resolved when asked, so they are made for more slots than there are: a change of an attachment
    takes the client off the network for a moment, and so not every scaling may be one.
    """
    slots = LEAST_INDEXED_NAMES
    while slots < link.target:
        slots *= 2
    alias = link.alias.lower()
    each = [
        (f"{link.unique_name}-{slot}", f"{alias}{mark}{slot}") for slot in range(1, slots + 1) for mark in ("-", "_")
    ]
    return [(link.unique_name, alias), *each]


def effective_ports(asked: tuple[PortSpec, ...], image: ResolvedImage) -> tuple[PortSpec, ...]:
    """The user's ports and those of the image that the user did not name (spec 2.6)."""
    named = {(port.protocol, port.inner_port) for port in asked}
    more = (
        PortSpec(protocol=port.protocol, inner_port=port.port)
        for port in image.ports
        if (port.protocol, port.port) not in named
    )
    return (*asked, *more)


def new_container(
    view: ServiceView,
    service: Service,
    step: CreateContainer,
    *,
    container_id: UUID,
    image: ResolvedImage,
    before: Container | None,
    ports: tuple[BoundPort, ...] = (),
) -> Container:
    """The row for an empty slot. `service` as it is at this step of the plan; of `before`, its predecessor in the
    slot, it takes over the open order and the memory of replacements."""
    name = container_name(view, step.slot)
    return Container(
        id=container_id,
        service_id=service.id,
        node_id=step.node_id,
        slot=step.slot,
        name=name,
        spec=container_spec(
            view, slot=step.slot, container_id=container_id, node=step.node_id, image=image, ports=ports
        ),
        made_from=digest(service.spec),
        deploy_gen=service.deploy_gen,
        want=Want.RUN,
        start_gen=max(service.start_gen, 1),
        autorestart=service.spec.autorestart,
        autoreplace=service.spec.autoreplace,
        networks=attachments(view, name, step.slot, step.node_id),
        created_at=view.now,
        order=before.order if before else None,
        replaced=before.replaced if before else (),
        follows=step.successor_of if step.follows else None,
    )


def container_spec(
    view: ServiceView, *, slot: int, container_id: UUID, node: UUID, image: ResolvedImage, ports: tuple[BoundPort, ...]
) -> ContainerSpec:
    """The frozen definition of the container for a slot; `ports` are the effective ones with their outer numbers."""
    spec = view.service.spec
    own = _self_env(view, slot=slot, container_id=container_id, node=node)
    return ContainerSpec(
        image=spec.image,
        image_id=image.image_id,
        image_digest=image.digest,
        hostname=spec.hostname or container_name(view, slot),
        image_env=image.env,
        link_env=_link_env(view, slot, node),
        self_env=own,
        user_env=tuple((key, expanded(value, dict(own))) for key, value in spec.env),
        entrypoint=_words(spec.entrypoint),
        command=_words(spec.run_command),
        ports=ports,
        token="global" in spec.roles,
        host_network=spec.net == "host",
        host_pid=spec.pid == "host",
        **{name: getattr(spec, name) for name in PASSED_ON},
    )


PASSED_ON = (
    "memory",
    "memory_swap",
    "cpu_shares",
    "privileged",
    "working_dir",
    "user",
    "tty",
    "stdin_open",
    "read_only",
    "domainname",
    "mac_address",
    "cpuset",
    "cgroup_parent",
    "dns",
    "dns_search",
    "cap_add",
    "cap_drop",
    "devices",
    "extra_hosts",
    "security_opt",
    "labels",
    "single_writer",
)
"""Fields that a container has from its service as they are."""

_VARIABLE = re.compile(r"\$(?:\{(TUTUM_[A-Z_]+)\}|(TUTUM_[A-Z_]+))")


def expanded(value: str, own: Mapping[str, str]) -> str:
    """The value with `$TUTUM_...` and `${TUTUM_...}` filled in; what is unknown stays as it is (spec 2.7)."""
    return _VARIABLE.sub(lambda match: own.get(match[1] or match[2], match[0]), value)


def _words(text: str | None) -> tuple[str, ...] | None:
    return tuple(shlex.split(text)) if text else None


def _sources(view: ServiceView, link: LinkedService, node: UUID, fleet: Fleet) -> tuple[Source, ...]:
    """Between two services for every node links go one to one on the same node (spec 2.21)."""
    every = view.service.spec.deployment_strategy is Strategy.EVERY_NODE
    found = link.sources
    if every and link.nodes:
        found = tuple(source for source, at in zip(link.sources, link.nodes, strict=True) if at == node)
    return tuple(seen_through(source, fleet.form(node, source.node)) for source in found)


def _link_env(view: ServiceView, slot: int, node: UUID) -> Env:
    fleet = fleet_of(view.nodes, view.installation)
    targets = [
        LinkTarget(
            alias=link.alias,
            api_url=f"{_api(view, node)}/api/v1/service/{link.service_id}/",
            sources=_sources(view, link, node, fleet),
        )
        for link in view.linked
    ]
    own: Env = ()
    if view.service.spec.sequential_deployment:
        siblings = [
            seen_through(source_of(row, fleet, view.service.account), fleet.form(node, row.node_id))
            for row in view.containers
            if row.slot < slot and not row.leaving
        ]
        own = sibling_environment(view.service.unique_name, sorted(siblings, key=lambda each: each.index))
    return tuple(sorted((dict(own) | dict(client_environment(targets))).items()))


def _api(view: ServiceView, node: UUID) -> str:
    """Where containers of the node reach the API."""
    here = view.by_id.get(node)
    return view.installation.inside_url(here.gateway if here else "")


def _self_env(view: ServiceView, *, slot: int, container_id: UUID, node: UUID) -> Env:
    """What a container is told about itself (spec 3.8)."""
    paths = {
        "TUTUM_SERVICE_API": f"/api/v1/service/{view.service.id}/",
        "TUTUM_CONTAINER_API": f"/api/v1/container/{container_id}/",
        "TUTUM_NODE_API": f"/api/v1/node/{node}/",
    }
    out = {f"{key}_URI": path for key, path in paths.items()}
    here, api = view.by_id.get(node), _api(view, node)
    out |= {f"{key}_URL": f"{api}{path}" for key, path in paths.items()}
    out["TUTUM_SERVICE_HOSTNAME"] = view.service.unique_name
    out["TUTUM_CONTAINER_HOSTNAME"] = container_name(view, slot)
    out["TUTUM_REST_HOST"] = api
    out["TUTUM_STREAM_HOST"] = api.replace("http", "ws", 1)
    if view.service.stack:
        out["TUTUM_STACK_NAME"] = view.service.stack
    domain = view.installation.public_domain
    if domain:
        account, stack = view.service.account, view.service.stack
        service = view.service.unique_name
        out["TUTUM_SERVICE_FQDN"] = service_fqdn(service, stack=stack, account=account, domain=domain)
        out["TUTUM_CONTAINER_FQDN"] = container_fqdn(
            container_name(view, slot), stack=stack, account=account, domain=domain
        )
        out["TUTUM_NODE_FQDN"] = node_fqdn(node, account=account, domain=domain)
    operation = view.service.operation
    if operation is not None and operation.trigger_body is not None:
        out["TUTUM_TRIGGER_BODY"] = operation.trigger_body
    out["TUTUM_NODE_HOSTNAME"] = here.name if here else ""
    return tuple(sorted(out.items()))
