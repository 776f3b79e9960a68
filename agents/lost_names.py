"""Names on overlay networks that an engine forgot when it entered a swarm anew: they are given again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from agents import memory as remembering
from agents.view import EngineView
from domain.assignment import ContainerAssignment
from domain.networks import is_overlay_name


class LostNames:
    """By container, the overlay networks on which it has to be connected anew."""

    def __init__(self) -> None:
        self._lost: dict[UUID, set[str]] = {}

    def entered(self, assignments: Iterable[ContainerAssignment]) -> None:
        """The engine has entered a swarm: what runs on overlay networks has lost its names there."""
        for each in assignments:
            names = {on.network.name for on in each.networks if on.network.overlay}
            if names:
                self._lost[each.container_id] = names

    def connected(self, container_id: UUID, network: str) -> None:
        """The container was put on the network, and so has its names there."""
        self._lost.get(container_id, set()).discard(network)

    def marked(self, view: EngineView) -> EngineView:
        """The view with what is lost. A container that does not run has its names when it is started."""
        if not self._lost:
            return view
        running = {each.container_id for each in view.containers if each.state in remembering.UP} | view.unknown
        self._lost = {key: names for key, names in self._lost.items() if key in running and names}
        marked = (
            replace(each, names_lost=frozenset(self._lost.get(each.container_id, ()))) for each in view.containers
        )
        return replace(view, containers=tuple(marked))


def on_overlays(view: EngineView) -> bool:
    """Whether any of our containers is on an overlay network."""
    overlays = {each.network_id for each in view.networks if each.overlay}
    return any(
        end.network_id in overlays or is_overlay_name(end.network_id)
        for each in view.containers
        for end in each.endpoints
    )
