"""Which node gets a container. Pure and deterministic, with a verdict on every node.

First what must hold (RELIABILITY I14, spec 2.21), then the strategy; ties go to the first by name, never to chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

from domain.container import Container
from domain.node import Candidate, NodeState
from domain.spec import ServiceSpec, Strategy, Transport

MOST_VERDICTS = 20
"""A fleet of thousands has thousands of reasons; people read the first."""


class Refusal(StrEnum):
    """Why a node cannot take a container; for programs, the sentence is for people."""

    NODE_DOWN = "node-down"
    PAUSED = "node-paused"
    QUARANTINED = "node-quarantined"
    CORDONED = "node-cordoned"
    TAGS = "tags-missing"
    VOLUMES = "volumes-elsewhere"
    PORT = "port-taken"
    MEMORY = "memory-full"
    CPU = "cpu-full"
    DISK = "disk-full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one node: it was taken, it could have been, or it was refused with `refusal`."""

    node: str
    taken: bool = False
    refusal: Refusal | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The choice; `node_id` None: no node can take the container, and `reason` says why for each."""

    node_id: UUID | None
    reason: str
    verdicts: tuple[Verdict, ...]


def fixed_ports(spec: ServiceSpec) -> frozenset[tuple[Transport, int]]:
    """The outer ports that the user fixed; each can be had once on a node."""
    return frozenset((port.protocol, port.outer_port) for port in spec.ports if port.outer_port is not None)


def refusal(spec: ServiceSpec, node: Candidate) -> tuple[Refusal, str] | None:
    """Why the node cannot take one more container of the service, or None when it can."""
    if node.state is not NodeState.DEPLOYED:
        return Refusal.NODE_DOWN, f"is {node.state.value}"
    if node.paused is not None:
        return Refusal.PAUSED, f"is paused by {node.paused.by}: it is told nothing new until it is resumed"
    if node.closed is not None:
        return Refusal.QUARANTINED, f"is quarantined ({node.closed.cause.value}) until an operator says what is right"
    if node.cordoned:
        return Refusal.CORDONED, "is cordoned: it takes no new containers until it is uncordoned"
    missing = sorted(set(spec.tags) - node.tags)
    if missing:
        return Refusal.TAGS, f"has no tag {', '.join(missing)}"
    taken = sorted(fixed_ports(spec) & node.taken, key=lambda port: (port[1], port[0]))
    if taken:
        ports = ", ".join(f"{number}/{transport.value}" for transport, number in taken)
        return Refusal.PORT, f"has port {ports} taken by another container"
    if spec.memory and node.memory and node.reserved_memory + spec.memory > node.memory:
        free = max(0, node.memory - node.reserved_memory)
        return Refusal.MEMORY, f"has {free} MB of memory that nobody reserved, and {spec.memory} are asked for"
    if spec.cpu_shares and node.cpus and node.reserved_cpu + spec.cpu_shares > node.cpus * SHARES_PER_CPU:
        free = max(0, node.cpus * SHARES_PER_CPU - node.reserved_cpu)
        return Refusal.CPU, f"has {free} CPU shares that nobody reserved, and {spec.cpu_shares} are asked for"
    if node.disk_full:
        return Refusal.DISK, "has hardly any disk space left"
    return None


SHARES_PER_CPU = 1024
"""Docker's weight of one CPU, taken as a reservation of one where a service gives any."""


def matches(spec: ServiceSpec, node: Candidate) -> bool:
    """Whether the node is one of those that a service for every node is for."""
    return set(spec.tags) <= node.tags


def place(spec: ServiceSpec, nodes: Sequence[Candidate], *, only: UUID | None = None) -> Placement:
    """Choose by the strategy (spec 2.21): the emptiest node, or the one with fewest containers of this service.

    A node whose starts keep failing is taken when there is no other: it may be all there is. `only`: where the
    slot's volumes are.
    """
    if not nodes:
        return Placement(node_id=None, reason="no node has joined yet: start an agent", verdicts=())
    spread = spec.deployment_strategy is Strategy.HIGH_AVAILABILITY

    def rank(node: Candidate) -> tuple[bool, int, int, str]:
        first, second = (node.here, node.load) if spread else (node.load, node.here)
        return bool(node.failing), first, second, node.name

    ordered = sorted(nodes, key=rank)
    able: Candidate | None = None
    verdicts: list[Verdict] = []
    reasons: list[tuple[str, str]] = []
    for node in ordered:
        why = refusal(spec, node)
        if why is None and only not in {None, node.node_id}:
            why = Refusal.VOLUMES, "does not have the slot's volumes"
        if why is not None:
            reasons.append((node.name, why[1]))
            verdicts.append(Verdict(node=node.name, refusal=why[0], text=why[1]))
            continue
        text = f"runs {node.load} containers, {node.here} of this service"
        text += f"; comes last: {node.failing}" if node.failing else ""
        verdicts.append(Verdict(node=node.name, taken=able is None, text=text))
        able = able or node
    # The one that was taken, then those that could have been, then the refused ones.
    verdicts.sort(key=lambda each: (not each.taken, each.refusal is not None))
    shown = tuple(verdicts[:MOST_VERDICTS])
    if able is not None:
        return Placement(node_id=able.node_id, reason="", verdicts=shown)
    if only is not None:
        reasons = [each for each in reasons if each[1] != "does not have the slot's volumes"] or reasons
    more = f"; and {len(reasons) - MOST_VERDICTS} more" if len(reasons) > MOST_VERDICTS else ""
    each = "; ".join(f"node {name} {why}" for name, why in sorted(reasons)[:MOST_VERDICTS])
    return Placement(node_id=None, reason=f"no node can take the container: {each}{more}", verdicts=shown)


def vacate(nodes: Sequence[Candidate], leaving: Container) -> tuple[Candidate, ...]:
    """The nodes once the container is gone from the one it is on."""
    freed = frozenset((port.protocol, port.outer_port) for port in leaving.spec.ports if port.outer_port is not None)
    return tuple(
        replace(
            node,
            here=node.here - 1,
            load=node.load - 1,
            taken=node.taken - freed,
            reserved_memory=node.reserved_memory - (leaving.spec.memory or 0),
            reserved_cpu=node.reserved_cpu - (leaving.spec.cpu_shares or 0),
        )
        if node.node_id == leaving.node_id
        else node
        for node in nodes
    )


def occupy(spec: ServiceSpec, nodes: Sequence[Candidate], node_id: UUID) -> tuple[Candidate, ...]:
    """The nodes after one more container of the service was put on `node_id`."""
    return tuple(
        replace(
            node,
            here=node.here + 1,
            load=node.load + 1,
            taken=node.taken | fixed_ports(spec),
            reserved_memory=node.reserved_memory + (spec.memory or 0),
            reserved_cpu=node.reserved_cpu + (spec.cpu_shares or 0),
        )
        if node.node_id == node_id
        else node
        for node in nodes
    )
