"""What one decision about one service may know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from domain.container import Container
from domain.image import ResolvedImage
from domain.links import Source
from domain.networks import NETWORK_POOL, OVERLAY_POOL, NetworkMode
from domain.node import Candidate
from domain.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The numbers behind the decisions."""

    max_unavailable: int = 1
    deadline: timedelta = timedelta(minutes=10)
    blocked_retry: timedelta = timedelta(seconds=5)
    crashes_until_failed: int = 3
    queue_retry: timedelta = timedelta(seconds=1)
    lost_after: timedelta = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the containers are told about this installation. `api_url` without a trailing slash.

    `inside_port` is set when they cannot use `api_url`: the port on the node's gateway, or on `inside_address`.
    """

    api_url: str
    stream_url: str
    public_domain: str = ""
    network: NetworkMode = NetworkMode.OVERLAY
    network_pool: str = NETWORK_POOL
    overlay_pool: str = OVERLAY_POOL
    inside_port: int | None = None
    inside_address: str = ""

    def inside_url(self, gateway: str) -> str:
        """The API's URL as a container sees it on a node with that gateway."""
        address = self.inside_address or gateway
        return f"http://{address}:{self.inside_port}" if self.inside_port and address else self.api_url


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedService:
    """The target of a link: where its network is, and its containers that have an address.

    `nodes`: where each of the sources is, for a target that has one on every node; else empty.
    """

    alias: str
    service_id: UUID
    unique_name: str
    subnet: str
    sources: tuple[Source, ...]
    target: int = 1
    nodes: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumesFrom:
    """A service whose volumes this one mounts (spec 2.9): by slot, the node of its container."""

    name: str
    nodes: Mapping[int, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswer:
    """What became of the image request of the operation under way: pending while both are None. `node_id`: who was
    asked last, and when."""

    node_id: UUID
    asked_at: datetime
    image: ResolvedImage | None = None
    error: str | None = None


class NodesWanted(Exception):
    """The plan depends on nodes that its view does not have: load all of them and plan again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """One service, its rows that are not yet forgotten, and what its containers depend on.

    `nodes`: those that its containers and those of its links are on, or `everyone`: most plans move nothing, and a
    fleet has thousands. `image` None: the operation's image request was not made yet. `behind`: names of services
    whose operations come first. `pinned`: the node that a slot's volumes are on. `shared`: whose
    volumes it mounts as well. `slots`: those to fill, each with the
    node that it is bound to (`planning.slots`). `disrupted_at`: when most hosts were last silent at once; told where a
    node of the service is. `by_id`: the nodes, to look one up for each of many containers.
    """

    service: Service
    containers: tuple[Container, ...]
    nodes: tuple[Candidate, ...]
    linked: tuple[LinkedService, ...]
    image: ImageAnswer | None
    installation: Installation
    now: datetime
    behind: tuple[str, ...] = ()
    pinned: Mapping[int, UUID] = field(default_factory=dict)
    shared: tuple[VolumesFrom, ...] = ()
    slots: Mapping[int, UUID | None] = field(default_factory=dict)
    everyone: bool = True
    disrupted_at: datetime | None = None
    by_id: Mapping[UUID, Candidate] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {node.node_id: node for node in self.nodes})


def fleet(view: ServiceView) -> tuple[Candidate, ...]:
    """All nodes. Raises NodesWanted."""
    if not view.everyone:
        raise NodesWanted
    return view.nodes
