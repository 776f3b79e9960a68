"""Which node gets a container. Pure and deterministic, with a verdict on every node.

First what must hold (RELIABILITY I14, spec 2.21), then the strategy; ties go to the first by name, never to chance.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from heapq import merge
from itertools import islice
from typing import NamedTuple
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


_ELSEWHERE = (Refusal.VOLUMES, "does not have the slot's volumes")


class _Ranked(NamedTuple):
    """A node's place in the order: failing ones last, then by the strategy, then by name."""

    failing: bool
    first: int
    second: int
    name: str
    node_id: UUID


class Room:
    """The nodes while containers of one service are put on them, one after the other.

    They are ranked once; a container changes the rank of one. The strategy says who is first (spec 2.21): the emptiest
    node, or the one with fewest containers of this service. One whose starts keep failing is taken when there is no
    other: it may be all there is.
    """

    def __init__(self, spec: ServiceSpec, nodes: Sequence[Candidate]) -> None:
        self._spec = spec
        self._nodes = {node.node_id: node for node in nodes}
        self._why = {node.node_id: why for node in nodes if (why := refusal(spec, node)) is not None}
        ranked = sorted(map(self._rank, nodes))
        self._able = [each for each in ranked if each.node_id not in self._why]
        self._refused = [each for each in ranked if each.node_id in self._why]

    def place(self, *, only: UUID | None = None) -> Placement:
        """Where the next container goes. `only`: where its slot's volumes are."""
        if not self._nodes:
            return Placement(node_id=None, reason="no node has joined yet: start an agent", verdicts=())
        able, refused = self._able, iter(self._refused)
        if only is not None:
            # In their order, and no further than somebody reads: a service for every node asks for each of its slots.
            refused = merge(self._refused, (each for each in able if each.node_id != only))
            able = [self._rank(self._nodes[only])] if only in self._nodes and only not in self._why else []
        # The one that is taken, then those that could have been, then the refused ones.
        shown = [self._could(each, taken=each is able[0]) for each in able[:MOST_VERDICTS]]
        for each in islice(refused, MOST_VERDICTS - len(shown)):
            kind, text = self._why.get(each.node_id, _ELSEWHERE)
            shown.append(Verdict(node=each.name, refusal=kind, text=text))
        if able:
            return Placement(node_id=able[0].node_id, reason="", verdicts=tuple(shown))
        reasons = sorted((each.name, self._why[each.node_id]) for each in self._refused)
        reasons = reasons or sorted((each.name, _ELSEWHERE) for each in self._able)
        more = f"; and {len(reasons) - MOST_VERDICTS} more" if len(reasons) > MOST_VERDICTS else ""
        first = "; ".join(f"node {name} {text}" for name, (_, text) in reasons[:MOST_VERDICTS])
        reason = f"no node can take the container: {first}{more}"
        return Placement(node_id=None, reason=reason, verdicts=tuple(shown))

    def takes_after(self, leaving: Container, *, only: UUID | None = None) -> bool:
        """Whether `place` finds a node once the container is gone. Its end is felt on its own node alone, and refuses
        nothing: so no node is judged again but that one.
        """
        if self._able if only is None else only in self._nodes and only not in self._why:
            return True
        node = self._nodes.get(leaving.node_id)
        return node is not None and only in {None, node.node_id} and refusal(self._spec, vacated(node, leaving)) is None

    def occupy(self, node_id: UUID) -> None:
        """One more container of the service is on the node."""
        self._change(occupied(self._spec, self._nodes[node_id]))

    def vacate(self, leaving: Container) -> None:
        """The container is gone from the node that it was on."""
        node = self._nodes.get(leaving.node_id)
        if node is not None:
            self._change(vacated(node, leaving))

    def _change(self, node: Candidate) -> None:
        before = self._rank(self._nodes[node.node_id])
        listed = self._refused if self._why.pop(node.node_id, None) is not None else self._able
        del listed[bisect_left(listed, before)]
        self._nodes[node.node_id] = node
        why = refusal(self._spec, node)
        if why is not None:
            self._why[node.node_id] = why
        insort(self._able if why is None else self._refused, self._rank(node))

    def _rank(self, node: Candidate) -> _Ranked:
        spread = self._spec.deployment_strategy is Strategy.HIGH_AVAILABILITY
        first, second = (node.here, node.load) if spread else (node.load, node.here)
        return _Ranked(bool(node.failing), first, second, node.name, node.node_id)

    def _could(self, ranked: _Ranked, *, taken: bool) -> Verdict:
        node = self._nodes[ranked.node_id]
        text = f"runs {node.load} containers, {node.here} of this service"
        text += f"; comes last: {node.failing}" if node.failing else ""
        return Verdict(node=node.name, taken=taken, text=text)


def place(spec: ServiceSpec, nodes: Sequence[Candidate], *, only: UUID | None = None) -> Placement:
    """Where one container of the service goes, as `Room.place`."""
    return Room(spec, nodes).place(only=only)


def occupied(spec: ServiceSpec, node: Candidate) -> Candidate:
    """The node with one more container of the service."""
    return replace(
        node,
        here=node.here + 1,
        load=node.load + 1,
        taken=node.taken | fixed_ports(spec),
        reserved_memory=node.reserved_memory + (spec.memory or 0),
        reserved_cpu=node.reserved_cpu + (spec.cpu_shares or 0),
    )


def vacated(node: Candidate, leaving: Container) -> Candidate:
    """The node once that container of the service is gone from it."""
    freed = frozenset((port.protocol, port.outer_port) for port in leaving.spec.ports if port.outer_port is not None)
    return replace(
        node,
        here=node.here - 1,
        load=node.load - 1,
        taken=node.taken - freed,
        reserved_memory=node.reserved_memory - (leaving.spec.memory or 0),
        reserved_cpu=node.reserved_cpu - (leaving.spec.cpu_shares or 0),
    )


def vacate(nodes: Sequence[Candidate], *leaving: Container) -> tuple[Candidate, ...]:
    """The nodes once the containers are gone from those they are on."""
    gone: dict[UUID, list[Container]] = {}
    for row in leaving:
        gone.setdefault(row.node_id, []).append(row)
    return tuple(reduce(vacated, gone.get(node.node_id, ()), node) for node in nodes)
