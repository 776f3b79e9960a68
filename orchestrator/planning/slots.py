"""Which slots a service is to fill, and where they are bound to be."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from uuid import UUID

from domain.container import Container
from domain.placement import matches
from domain.spec import Strategy
from orchestrator.planning.view import ServiceView, VolumesFrom, fleet


def wanted_slots(view: ServiceView) -> Mapping[int, UUID | None]:
    """The slots to fill, each with the node that it is bound to, if any.

    A service for every node has one slot for each node that matches; a node keeps its slot while it is away, and a
    new one gets the first free number (spec 2.21).
    """
    if view.service.spec.deployment_strategy is not Strategy.EVERY_NODE:
        return {slot: view.pinned.get(slot) or _of_others(view, slot) for slot in range(1, view.service.target + 1)}
    nodes = {node.node_id: node for node in fleet(view) if matches(view.service.spec, node)}
    holders = sorted((row for row in view.containers if not row.leaving), key=lambda row: row.slot)
    first: dict[int, Container] = {}
    for row in holders:
        first.setdefault(row.slot, row)
    out: dict[int, UUID | None] = {}
    there: set[UUID] = set()
    for slot, node_id in [*((row.slot, row.node_id) for row in holders), *sorted(view.pinned.items())]:
        node, holder = nodes.get(node_id), first.get(slot)
        if node is None or slot in out or node_id in there:
            continue
        if not node.draining or (holder is not None and bound(holder)):
            out[slot] = node_id
            there.add(node_id)
    used = first.keys() | out.keys()
    unused = (number for number in count(1) if number not in used)
    for node in sorted(nodes.values(), key=lambda node: node.name):
        if node.open and not node.cordoned and node.node_id not in there:
            out[next(unused)] = node.node_id
    return out


def bound(row: Container) -> bool:
    """Whether the container's data is on its node, so that it runs there or nowhere (I2b)."""
    return bool(row.spec.mounts)


def _of_others(view: ServiceView, slot: int) -> UUID | None:
    """Where the volumes are that the slot's container is to have of others: those of the same slot, else the first."""
    return next((_at(each, slot) for each in view.shared if each.nodes), None)


def _at(shared: VolumesFrom, slot: int) -> UUID:
    return shared.nodes[slot] if slot in shared.nodes else shared.nodes[min(shared.nodes)]


def without_volumes(view: ServiceView, slot: int) -> str | None:
    """Why the slot's container would run without volumes that it is to have of others; None where it would not."""
    node = view.slots.get(slot)
    for each in view.shared:
        if not each.nodes:
            return f"{each.name} has no container yet, whose volumes it is to have: start {each.name}"
        if node not in ({_at(each, slot)} if _alone(view) else set(each.nodes.values())):
            return f"the volumes of {each.name} are on another node than its own, or than those of others"
    return None


def _alone(view: ServiceView) -> bool:
    return view.service.spec.deployment_strategy is not Strategy.EVERY_NODE


def lacking(view: ServiceView) -> bool:
    """Whether a service whose volumes it is to have has none yet: that is waited for."""
    return any(not each.nodes for each in view.shared)
