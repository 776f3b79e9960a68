"""Which form links have between the nodes of a view, and the networks that follow from it (spec 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.container import NetworkSpec
from domain.networks import Fleet, network_name, overlay_subnet
from domain.node import Candidate
from orchestrator.planning.view import Installation, ServiceView


def network_of(view: ServiceView, service_id: UUID, subnet: str, node: UUID) -> NetworkSpec:
    """The network of the service as a container on the node joins it."""
    here = view.by_id.get(node)
    overlay = here is not None and here.overlay
    if overlay:
        subnet = overlay_subnet(subnet, view.installation.network_pool, view.installation.overlay_pool)
    return NetworkSpec(
        name=network_name(service_id, overlay=overlay), service_id=service_id, subnet=subnet, overlay=overlay
    )


def fleet_of(nodes: Sequence[Candidate], installation: Installation) -> Fleet:
    """The nodes of a view as links see them; one without a known address has its name, which DNS may know."""
    return Fleet(
        mode=installation.network,
        overlay=frozenset(each.node_id for each in nodes if each.overlay),
        reach={each.node_id: each.reach or each.name for each in nodes},
        domain=installation.public_domain,
    )
