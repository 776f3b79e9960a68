"""From a service definition to what one container is made of."""

from __future__ import annotations

import shlex
from uuid import UUID

from domain.container import Attachment, BoundPort, ContainerSpec, NetworkSpec
from domain.image import ResolvedImage
from domain.links import LinkTarget, client_environment, sibling_environment, source_of
from domain.spec import Env, PortSpec
from orchestrator.planning.view import ServiceView


def container_name(view: ServiceView, slot: int) -> str:
    """`web-1`: the container's name and host name (spec 2.4)."""
    return f"{view.service.unique_name}-{slot}"


def network_name(service_id: UUID) -> str:
    """The engine's name for a service's network."""
    return f"tutela-{service_id}"


def attachments(view: ServiceView, name: str) -> tuple[Attachment, ...]:
    """The networks of a container: its service's own, and that of each service it is linked to (DESIGN 3.6b)."""
    service = view.service
    own = Attachment(
        network=NetworkSpec(name=network_name(service.id), service_id=service.id, subnet=service.subnet),
        aliases=(name, service.unique_name),
    )
    names: dict[UUID, list[tuple[str, str]]] = {}
    networks: dict[UUID, NetworkSpec] = {}
    for link in sorted(view.linked, key=lambda each: each.alias):
        names.setdefault(link.service_id, []).append((link.unique_name, link.alias.lower()))
        networks[link.service_id] = NetworkSpec(
            name=network_name(link.service_id), service_id=link.service_id, subnet=link.subnet
        )
    joined = (
        Attachment(network=network, links=tuple(pair for pair in names[target] if pair[0] != pair[1]))
        for target, network in networks.items()
    )
    return (own, *joined)


def effective_ports(asked: tuple[PortSpec, ...], image: ResolvedImage) -> tuple[PortSpec, ...]:
    """The user's ports and those of the image that the user did not name (spec 2.6)."""
    named = {(port.protocol, port.inner_port) for port in asked}
    more = (
        PortSpec(protocol=port.protocol, inner_port=port.port)
        for port in image.ports
        if (port.protocol, port.port) not in named
    )
    return (*asked, *more)


def container_spec(
    view: ServiceView, *, slot: int, container_id: UUID, node: UUID, image: ResolvedImage, ports: tuple[BoundPort, ...]
) -> ContainerSpec:
    """The frozen definition of the container for a slot; `ports` are the effective ones with their outer numbers."""
    spec = view.service.spec
    return ContainerSpec(
        image=spec.image,
        image_id=image.image_id,
        image_digest=image.digest,
        hostname=container_name(view, slot),
        image_env=image.env,
        link_env=_link_env(view, slot),
        self_env=_self_env(view, slot=slot, container_id=container_id, node=node),
        user_env=spec.env,
        entrypoint=_words(spec.entrypoint),
        command=_words(spec.run_command),
        ports=ports,
        memory=spec.memory,
        memory_swap=spec.memory_swap,
        cpu_shares=spec.cpu_shares,
        privileged=spec.privileged,
        working_dir=spec.working_dir,
        user=spec.user,
        tty=spec.tty,
        stdin_open=spec.stdin_open,
        read_only=spec.read_only,
    )


def _words(text: str | None) -> tuple[str, ...] | None:
    return tuple(shlex.split(text)) if text else None


def _link_env(view: ServiceView, slot: int) -> Env:
    targets = [
        LinkTarget(
            alias=link.alias,
            unique_name=link.unique_name,
            api_url=f"{view.installation.api_url}/api/v1/service/{link.service_id}/",
            sources=link.sources,
        )
        for link in view.linked
    ]
    own: Env = ()
    if view.service.spec.sequential_deployment:
        siblings = [source_of(row) for row in view.containers if row.slot < slot and row.terminated_at is None]
        own = sibling_environment(view.service.unique_name, sorted(siblings, key=lambda each: each.index))
    return tuple(sorted((dict(own) | dict(client_environment(targets))).items()))


def _self_env(view: ServiceView, *, slot: int, container_id: UUID, node: UUID) -> Env:
    """What a container is told about itself (spec 3.8)."""
    paths = {
        "TUTUM_SERVICE_API": f"/api/v1/service/{view.service.id}/",
        "TUTUM_CONTAINER_API": f"/api/v1/container/{container_id}/",
        "TUTUM_NODE_API": f"/api/v1/node/{node}/",
    }
    out = {f"{key}_URI": path for key, path in paths.items()}
    out |= {f"{key}_URL": f"{view.installation.api_url}{path}" for key, path in paths.items()}
    out["TUTUM_SERVICE_HOSTNAME"] = view.service.unique_name
    out["TUTUM_CONTAINER_HOSTNAME"] = container_name(view, slot)
    out["TUTUM_REST_HOST"] = view.installation.api_url
    out["TUTUM_STREAM_HOST"] = view.installation.stream_url
    names = {candidate.node_id: candidate.name for candidate in view.nodes}
    out["TUTUM_NODE_HOSTNAME"] = names.get(node, "")
    return tuple(sorted(out.items()))
