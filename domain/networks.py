"""How containers on different hosts reach each other: what the installation asks for, and what there is.

A service has a network of its own; on one host it is a bridge. Across hosts it is an overlay network where both hosts
are in Tutela's swarm, else there is none, and what is published is reached at its host (spec 3.3).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from domain.names import node_fqdn

NETWORK_POOL = "10.192.0.0/12"
OVERLAY_POOL = "10.176.0.0/12"


class NetworkMode(StrEnum):
    """The installation's choice (TUTELA_NETWORK)."""

    OVERLAY = "overlay"
    PORTS = "ports"
    LOCAL = "local"


class Form(StrEnum):
    """What is between a client and a container: a network of either kind, a published port, or nothing."""

    OVERLAY = "overlay"
    BRIDGE = "bridge"
    PORTS = "ports"
    NONE = "none"


SHARED = frozenset({Form.OVERLAY, Form.BRIDGE})
"""Forms in which names are resolved and every port is reached."""


def network_name(service_id: UUID, *, overlay: bool = False) -> str:
    """The engine's name for a service's network."""
    return f"tutela-{service_id}{_OVERLAY if overlay else ''}"


_OVERLAY = "-overlay"


def is_overlay_name(name: str) -> bool:
    """Whether it is the name of a service's overlay network."""
    return name.startswith("tutela-") and name.endswith(_OVERLAY)


def form_between(mode: NetworkMode, *, same_node: bool, overlay: bool) -> Form:
    """The form between two containers. `overlay`: the hosts of both are in the overlay."""
    if overlay:
        return Form.OVERLAY
    if same_node:
        return Form.BRIDGE
    return Form.NONE if mode is NetworkMode.LOCAL else Form.PORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The hosts as far as links care: `overlay` are those whose containers are on overlay networks.

    `reach`: by host, the address of its published ports. `domain`: where names of the seed's form are served.
    """

    mode: NetworkMode = NetworkMode.OVERLAY
    overlay: frozenset[UUID] = frozenset()
    reach: Mapping[UUID, str] = field(default_factory=dict)
    domain: str = ""

    def form(self, client: UUID, target: UUID | None) -> Form:
        """Between a container of one host and one of another, or of the same."""
        overlay = client in self.overlay and target in self.overlay
        return form_between(self.mode, same_node=target in {None, client}, overlay=overlay)

    def general(self, target: UUID | None) -> Form:
        """What containers of the installation get of one on that host, for a reader that is none of them (spec 3.3)."""
        others = self.reach.keys() - {target}
        if not others:
            return Form.BRIDGE
        shared = target in self.overlay and bool(others & self.overlay)
        return form_between(self.mode, same_node=False, overlay=shared)

    def address(self, name: str, node: UUID, account: str) -> str:
        """Where the published ports of the container of that name are: the seed's name where names are served."""
        if self.domain:
            return f"{name}.{node_fqdn(node, account=account, domain=self.domain)}"
        return self.reach.get(node, "")


def usable_address(text: str) -> bool:
    """Whether other hosts can reach a host under the address: an IPv4 address that is not the host's own affair."""
    try:
        found = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (found.is_loopback or found.is_unspecified or found.is_link_local or found.is_multicast)


def overlay_subnet(subnet: str, pool: str, overlay_pool: str) -> str:
    """The block of a service's overlay network: at the same place in the overlays' pool as its bridge's in the other.

    A container sits on both for a moment when it is moved, so they may not be the same. Empty, for the engine to
    choose, when the bridge's block is of a pool that was configured before.
    """
    block, here = ipaddress.IPv4Network(subnet), ipaddress.IPv4Network(pool)
    there = ipaddress.IPv4Network(overlay_pool)
    offset = int(block.network_address) - int(here.network_address)
    if not block.subnet_of(here) or offset + block.num_addresses > there.num_addresses:
        return ""
    return f"{ipaddress.IPv4Address(int(there.network_address) + offset)}/{block.prefixlen}"


_SWARMS_OWN = ("10.175.240.0/20", "172.31.240.0/20", "192.168.240.0/20", "10.255.240.0/20")


def swarm_pool(pools: tuple[str, ...], addresses: tuple[str, ...]) -> str:
    """Where Swarm may take blocks of its own from (its ingress network): off Tutela's pools, off the hosts."""
    taken = [ipaddress.IPv4Network(each) for each in pools]
    hosts = [ipaddress.IPv4Address(each) for each in addresses if usable_address(each)]
    for each in _SWARMS_OWN:
        found = ipaddress.IPv4Network(each)
        if not any(found.overlaps(pool) for pool in taken) and not any(host in found for host in hosts):
            return each
    return _SWARMS_OWN[-1]
