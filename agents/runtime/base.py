"""What an agent needs of an engine, and the two ways in which an engine fails.

Values are the engine's own JSON; `agents.observe` reads it. Every method has a deadline of its own.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from agents.swarm_plan import SwarmStep
from domain.assignment import ContainerAssignment, EngineInfo
from domain.container import Attachment, NetworkSpec
from domain.registry import RegistryAuth
from domain.swarm import SwarmReport

Json = dict[str, Any]


class RuntimeFailed(Exception):
    """The engine did not do as asked. The message is for people."""


class RuntimeBusy(RuntimeFailed):
    """The engine is away, slow or in trouble: whether the call was carried out is not known (E7).

    `pending` is set while the call's thread has not come back; `away` when nobody listens at the address.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_in: float | None = None,
        pending: Future[Any] | None = None,
        away: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_in = retry_in
        self.pending = pending
        self.away = away


class RuntimeRefused(RuntimeFailed):
    """The engine said no, and will say so again. `code` is a slug of `agents.runtime.errors`."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLine:
    """One line that a container wrote. `timestamp` is RFC 3339 with nanoseconds, the engine's."""

    stream: str
    timestamp: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One life of an engine: `name` changes when it starts without keeping its containers. RFC 3339 `since`."""

    name: str
    since: str


class Console(Protocol):
    """A process with a terminal in a container. `close` it whatever happens."""

    async def read(self) -> bytes:
        """What it wrote; nothing when it has ended. Raises RuntimeBusy."""
        ...

    async def write(self, data: bytes) -> None:
        """Keystrokes for it; waits while it does not read them. Raises RuntimeBusy."""
        ...

    async def close(self) -> None:
        """Let go; a process that still runs is hung up on."""
        ...


class ContainerRuntime(Protocol):
    """One Docker engine. All methods raise RuntimeBusy or RuntimeRefused and nothing else."""

    async def info(self) -> EngineInfo:
        """The engine, under a deadline: its answer is the health check (E8)."""
        ...

    async def accepting(self) -> None:
        """Raises RuntimeBusy when it takes no new connections. It may answer on those it has: then it ends (E34)."""
        ...

    async def incarnation(self) -> Incarnation | None:
        """The engine's present life; None when unknown."""
        ...

    async def list_containers(self, cluster_id: UUID) -> list[Json]:
        """All containers with the cluster's label, whatever their state."""
        ...

    async def inspect(self, engine_id: str) -> Json:
        """One container, by its id or its name. Refused `not_found` when it is gone, or not made yet (E12)."""
        ...

    async def create(self, cluster_id: UUID, assignment: ContainerAssignment, network_id: str | None) -> str:
        """Make the container on its first network; its engine id. Refused `name_taken`, `image_missing`..."""
        ...

    async def start(self, engine_id: str) -> None:
        """Start it; quiet when it runs, and also while a stop is under way (E10): look again afterwards."""
        ...

    async def stop(self, engine_id: str, grace: int) -> None:
        """Stop it; quiet when it does not run. Takes up to `grace` seconds and more."""
        ...

    async def remove(self, engine_id: str) -> None:
        """Remove it with its anonymous volumes; quiet when it is gone. Busy while a removal is under way."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove a named volume with its data; quiet when it is gone. Refused while a container uses it."""
        ...

    async def update_policy(self, engine_id: str, policy: str) -> None:
        """Set its restart policy: `no`, `always` or `on-failure`."""
        ...

    async def unpause(self, engine_id: str) -> None:
        """Let it go on; quiet when it is not paused."""
        ...

    async def list_networks(self, cluster_id: UUID) -> list[Json]:
        """All networks with the cluster's label."""
        ...

    async def create_network(self, cluster_id: UUID, network: NetworkSpec) -> str:
        """Make it, with its subnet unless that overlaps another; its id.

        Of an overlay that a manager elsewhere has to make, its name, which serves as well.
        """
        ...

    async def remove_network(self, network_id: str) -> None:
        """Remove it; quiet when it is gone. Busy while containers are on it."""
        ...

    async def swarm(self, cluster_id: UUID) -> SwarmReport:
        """The engine's swarm mode."""
        ...

    async def swarm_step(self, cluster_id: UUID, step: SwarmStep) -> None:
        """Change it, or what it holds."""
        ...

    async def connect(self, network_id: str, engine_id: str, attachment: Attachment) -> None:
        """Attach the container; quiet when it is attached."""
        ...

    async def disconnect(self, network_id: str, engine_id: str) -> None:
        """Detach the container; quiet when it is not attached."""
        ...

    async def image_inspect(self, reference: str) -> Json:
        """An image that the engine has. Refused `image_missing`."""
        ...

    async def pull(self, reference: str, login: RegistryAuth | None = None) -> None:
        """Fetch an image, as `login` or else as the engine's own user; busy after a minute without progress (E20)."""
        ...

    def events(self, cluster_id: UUID) -> AsyncIterator[frozenset[str]]:
        """Engine ids of containers to look at: an empty set once subscribed, then coalesced.

        Ends when the connection ends, whatever the reason; events of a gap are lost, so list again.
        """
        ...

    async def logs(self, engine_id: str, *, tail: int, since: float | None = None) -> Sequence[RawLine]:
        """The last lines of a container, stdout and stderr told apart."""
        ...

    def follow(self, engine_id: str, *, since: str | None = None) -> AsyncGenerator[Sequence[RawLine], None]:
        """All lines from `since` on (RFC 3339, inclusive), then new ones as they come, in pieces.

        Ends when the container stops; at once when it does not run. Busy when the connection was cut. A consumer
        that takes its time keeps nothing but itself waiting. `aclose` it.
        """
        ...

    async def exec(self, engine_id: str, command: Sequence[str]) -> Console:
        """Run a command in a running container, with a terminal. Refused `conflict` when it does not run."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads, without waiting for calls under way."""
        ...
