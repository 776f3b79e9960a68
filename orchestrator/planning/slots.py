"""Which slots a service is to fill, and where they are bound to be."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from domain.container import Container
from domain.placement import matches
from domain.spec import Strategy
from orchestrator.planning.view import ServiceView, fleet


def wanted_slots(view: ServiceView) -> Mapping[int, UUID | None]:
    """The slots to fill, each with the node that it is bound to, if any.

    A service for every node has one slot for each node that matches; a node keeps its slot while it is away, and a
    new one gets the first free number (spec 2.21).
    """
    if view.service.spec.deployment_strategy is not Strategy.EVERY_NODE:
        return {slot: view.pinned.get(slot) for slot in range(1, view.service.target + 1)}
    nodes = {node.node_id: node for node in fleet(view) if matches(view.service.spec, node)}
    holders = sorted((row for row in view.containers if not row.leaving), key=lambda row: row.slot)
    out: dict[int, UUID | None] = {}
    for slot, node_id in [*((row.slot, row.node_id) for row in holders), *sorted(view.pinned.items())]:
        node = nodes.get(node_id)
        if node is None or slot in out or node_id in out.values():
            continue
        row = next((row for row in holders if row.slot == slot), None)
        if not node.draining or (row is not None and bound(row)):
            out[slot] = node_id
    used = {row.slot for row in holders} | set(out)
    for node in sorted(nodes.values(), key=lambda node: node.name):
        if node.open and not node.cordoned and node.node_id not in out.values():
            slot = next(number for number in range(1, len(used) + 2) if number not in used)
            used.add(slot)
            out[slot] = node.node_id
    return out


def bound(row: Container) -> bool:
    """Whether the container's data is on its node, so that it runs there or nowhere (I2b)."""
    return bool(row.spec.mounts)
