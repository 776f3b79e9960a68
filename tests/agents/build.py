"""Readable values for the agent's tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from agents.view import EngineState, ObservedContainer
from domain.assignment import ContainerAssignment
from domain.container import Attachment, ContainerSpec, NetworkSpec, Want, spec_digest
from domain.spec import CrashPolicy

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLUSTER = UUID("00000000-0000-4000-8000-00000000c1c1")
NODE = UUID("00000000-0000-4000-8000-0000000000aa")
SERVICE = UUID("00000000-0000-4000-8000-00000000005e")


def number(n: int) -> UUID:
    """A readable uuid, different in its first eight digits too."""
    return UUID(f"{n:08d}-0000-4000-8000-{n:012d}")


def network(name: str = "net-web", subnet: str = "10.193.1.0/28") -> NetworkSpec:
    return NetworkSpec(name=name, service_id=SERVICE, subnet=subnet)


def attachment(name: str = "net-web", *aliases: str, subnet: str = "10.193.1.0/28", **more: object) -> Attachment:
    return Attachment(network=network(name, subnet), aliases=aliases, **more)  # type: ignore[arg-type]


def spec(image_id: str = "sha256:web", **changes: object) -> ContainerSpec:
    base = ContainerSpec(image="tutela/web:latest", image_id=image_id, image_digest=None, hostname="web-1")
    return replace(base, **changes)  # type: ignore[arg-type]


def assigned(n: int = 1, *, want: Want = Want.RUN, **changes: object) -> ContainerAssignment:
    """Container `web-n`, to run without autorestart, first start order, no networks."""
    made = changes.pop("spec", None) or spec(hostname=f"web-{n}")
    assert isinstance(made, ContainerSpec)
    base = ContainerAssignment(
        container_id=number(n),
        service_id=SERVICE,
        name=f"web-{n}",
        want=want,
        spec=made,
        spec_digest=spec_digest(made),
        autorestart=CrashPolicy.OFF,
        start_gen=1,
        seen_start_gen=0,
        networks=(),
        stop_grace=2,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def on_engine(assignment: ContainerAssignment, state: EngineState, **changes: object) -> ObservedContainer:
    """The assignment's container as the engine would show it in that state."""
    ended = state in {EngineState.EXITED, EngineState.DEAD}
    base = ObservedContainer(
        container_id=assignment.container_id,
        engine_id=f"e-{assignment.name}",
        name=f"{assignment.name}.{str(assignment.container_id)[:8]}",
        digest=assignment.spec_digest,
        state=state,
        exit_code=1 if ended else None,
        started_at=None if state is EngineState.CREATED else NOW,
        finished_at=NOW if ended else None,
    )
    return replace(base, **changes)  # type: ignore[arg-type]
