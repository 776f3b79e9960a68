"""Which networks a node needs and how its containers sit on them. Pure; part of the node's plan.

Networks are found by label and addressed by id, since names are not unique (ECOSYSTEM rule 15). Networks that
are not ours are left alone, also when one of our containers was put on one by hand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agents.steps import ConnectNetwork, DisconnectNetwork, EnsureNetwork, RemoveNetwork, Step
from agents.view import Endpoint, EngineView, ObservedContainer, ObservedNetwork
from domain.assignment import ContainerAssignment
from domain.container import Attachment, NetworkSpec, Want
from domain.networks import is_overlay_name


@dataclass(frozen=True, slots=True)
class Networks:
    """Our networks on the engine, by id; of several with one name the smallest id counts."""

    names: Mapping[str, str]
    ids: Mapping[str, str]
    overlays: frozenset[str] = frozenset()

    @classmethod
    def of(cls, observed: Iterable[ObservedNetwork]) -> Networks:
        """Index the networks of a view."""
        listed = tuple(observed)
        names = {each.network_id: each.name for each in listed}
        ids: dict[str, str] = {}
        for network_id in sorted(names):
            ids.setdefault(names[network_id], network_id)
        overlays = frozenset(each.network_id for each in listed if each.overlay)
        return cls(names=names, ids=ids, overlays=overlays)

    def id_of(self, name: str) -> str | None:
        """The id of our network of that name."""
        return self.ids.get(name)

    def key_of(self, network: NetworkSpec) -> str | None:
        """What containers' endpoints on the network go by: of an overlay that is not listed here its name."""
        return self.ids.get(network.name, network.name if network.overlay else None)

    def keys_of(self, network: NetworkSpec) -> set[str]:
        """All that endpoints on the network may go by."""
        return {network.name, *(key for key, name in self.names.items() if name == network.name)}

    def ours(self, key: str) -> bool:
        """Whether an endpoint that goes by `key` is on a network of ours."""
        return key in self.names or is_overlay_name(key)


def attachment_steps(assignment: ContainerAssignment, kept: ObservedContainer, networks: Networks) -> list[Step]:
    """The steps that put the container on exactly the assigned ones of our networks, in place."""
    steps: list[Step] = []
    here = {endpoint.network_id: endpoint for endpoint in kept.endpoints if networks.ours(endpoint.network_id)}
    keep: set[str] = set()
    for attachment in assignment.networks:
        if attachment.network.name in kept.names_lost:
            keep.update(networks.keys_of(attachment.network))
            steps += _anew(kept, attachment)
            continue
        network_id = networks.key_of(attachment.network)
        endpoint = here.get(network_id) if network_id else None
        if network_id is None:
            steps.append(
                EnsureNetwork(
                    container_id=kept.container_id, network=attachment.network, cause="a container is to be on it"
                )
            )
        elif endpoint is not None:
            keep.add(network_id)
            if _fits(attachment, endpoint, kept.own_names):
                continue
            steps.append(_disconnect(kept, endpoint, networks, "its names there changed"))
        steps.append(
            ConnectNetwork(
                container_id=kept.container_id,
                engine_id=kept.engine_id,
                attachment=attachment,
                cause="it is to be on it" if endpoint is None else "its names there changed",
            )
        )
    for network_id in sorted(here.keys() - keep):
        steps.append(_disconnect(kept, here[network_id], networks, "it is not to be on it"))
    return steps


def _anew(kept: ObservedContainer, attachment: Attachment) -> list[Step]:
    """Off and on again: an engine that enters a swarm anew no longer knows the names of what runs on it."""
    cause = "its engine entered the swarm anew"
    name = attachment.network.name
    return [
        DisconnectNetwork(
            container_id=kept.container_id, engine_id=kept.engine_id, network_id=name, name=name, cause=cause
        ),
        ConnectNetwork(container_id=kept.container_id, engine_id=kept.engine_id, attachment=attachment, cause=cause),
    ]


def _fits(attachment: Attachment, endpoint: Endpoint, own: frozenset[str]) -> bool:
    """Engines list names of their own as aliases (20.10 the short id); those are no reason to change anything."""
    wanted = set(attachment.aliases)
    return endpoint.aliases - own == wanted - own and endpoint.links == set(attachment.links)


def _disconnect(kept: ObservedContainer, endpoint: Endpoint, networks: Networks, cause: str) -> Step:
    return DisconnectNetwork(
        container_id=kept.container_id,
        engine_id=kept.engine_id,
        network_id=endpoint.network_id,
        name=networks.names.get(endpoint.network_id, endpoint.network_id),
        cause=cause,
    )


def unneeded(
    assignments: Iterable[ContainerAssignment],
    observed: EngineView,
    networks: Networks,
    *,
    busy: Collection[UUID],
    held: Mapping[str, datetime],
    now: datetime,
) -> tuple[list[Step], datetime | None]:
    """Remove our networks that no assignment needs and none of our containers sits on.

    Which ones a container sits on that a line is at work on, or that does not answer, nobody can say: what is wanted of
    it may have changed meanwhile. So while there is any (`busy`) nothing is removed: one that is made and not yet
    started would never start, for want of a network that it is not even to be on (seed 974).
    """
    if busy:
        return [], None
    present = {each.container_id for each in observed.containers}
    rows = list(assignments)
    needed = {
        networks.id_of(attachment.network.name)
        for row in rows
        if row.want is not Want.GONE or row.container_id in present
        for attachment in row.networks
    }
    used = {endpoint.network_id for each in observed.containers for endpoint in each.endpoints}
    steps: list[Step] = []
    dues: list[datetime] = []
    # Overlay networks are other hosts' too: the control plane says when they go.
    for network_id in sorted(networks.names.keys() - networks.overlays - needed - used):
        name = networks.names[network_id]
        until = held.get(name)
        if until is not None and until > now:
            dues.append(until)
            continue
        steps.append(RemoveNetwork(network_id=network_id, name=name, cause="no container of this node needs it"))
    return steps, min(dues, default=None)
