"""Which node gets a container. Pure and deterministic; a refusal says why for every node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain.node import Candidate, NodeState
from domain.spec import ServiceSpec, Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """No node can take it; the sentence names each node and its reason."""

    reason: str


def fixed_ports(spec: ServiceSpec) -> frozenset[tuple[Transport, int]]:
    """The outer ports that the user fixed; each can be had once on a node."""
    return frozenset((port.protocol, port.outer_port) for port in spec.ports if port.outer_port is not None)


def refusal(spec: ServiceSpec, node: Candidate) -> str | None:
    """Why the node cannot take one more container of the service, or None when it can."""
    if node.state is not NodeState.DEPLOYED:
        return f"is {node.state.value}"
    missing = sorted(set(spec.tags) - node.tags)
    if missing:
        return f"has no tag {', '.join(missing)}"
    taken = sorted(fixed_ports(spec) & node.taken, key=lambda port: (port[1], port[0]))
    if taken:
        ports = ", ".join(f"{number}/{transport.value}" for transport, number in taken)
        return f"has port {ports} taken by another container"
    return None


def choose_node(spec: ServiceSpec, nodes: Sequence[Candidate]) -> UUID | NoRoom:
    """The node with the fewest containers of this service; ties go to the first by name (spec 2.21)."""
    if not nodes:
        return NoRoom(reason="no node has joined yet: start an agent")
    reasons = {node.node_id: refusal(spec, node) for node in nodes}
    able = [node for node in nodes if reasons[node.node_id] is None]
    if not able:
        each = "; ".join(f"node {node.name} {reasons[node.node_id]}" for node in sorted(nodes, key=lambda n: n.name))
        return NoRoom(reason=f"no node can take the container: {each}")
    return min(able, key=lambda node: (node.here, node.name)).node_id


def occupy(spec: ServiceSpec, nodes: Sequence[Candidate], node_id: UUID) -> tuple[Candidate, ...]:
    """The nodes after one more container of the service was put on `node_id`."""
    return tuple(
        replace(node, here=node.here + 1, taken=node.taken | fixed_ports(spec)) if node.node_id == node_id else node
        for node in nodes
    )
