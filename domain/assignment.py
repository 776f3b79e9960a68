"""The protocol between control plane and agent: one definition for the in-process and the remote channel.

Down: what must be on the node. Up: what is on it. Both are level-triggered: a message replaces what was
said before about the same container, so any of them may be lost or repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain.container import Attachment, ContainerSpec, Observed, Want
from domain.engine_notes import EngineSetup
from domain.image import Pull, ResolvedImage
from domain.registry import RegistryAuth
from domain.spec import CrashPolicy, Env
from domain.swarm import SwarmOrder, SwarmReport

BEAT_SECONDS = 1.0
"""How often an agent says that it is there."""

SILENT_SECONDS = 5.0
"""A node that was not heard for that long is Unreachable."""

LOST_SECONDS = SILENT_SECONDS + 2.0
"""Not before its node was silent for that long is a container replaced: hosts that are cut off together are silent
together by then, though one beat was a second later than another."""

RETURN_SECONDS = 60.0
"""What hosts get to come back after a time in which most of them were silent (decision 27)."""

LEASE_SECONDS = 10.0
"""An agent that had no beat acknowledged for that long stops the containers of `single_writer` services itself;
counted from when that beat was sent, so from before the record's `last_seen`."""

FENCE_GRACE_SECONDS = 3
"""What such a container gets between SIGTERM and SIGKILL, or its own grace when that is shorter."""

FENCED_SECONDS = LEASE_SECONDS + FENCE_GRACE_SECONDS + 2.0
"""Not before its node was silent for that long may a `single_writer` container be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerAssignment:
    """One container that the node must hold (or, with want GONE, must no longer hold).

    `seen_start_gen` is the newest start that the control plane knows to be carried out; with the agent's own
    ledger it tells a finished job from one still to be started. `stop_grace` in seconds. `drop_volumes`: engine
    volumes to be removed once a container that is wanted gone is. `secret_env` is no part of the digest. `follows`: one
    of the same node that has to end before this one starts for the first time.
    """

    container_id: UUID
    service_id: UUID
    name: str
    want: Want
    spec: ContainerSpec
    spec_digest: str
    autorestart: CrashPolicy
    start_gen: int
    seen_start_gen: int
    networks: tuple[Attachment, ...]
    autoreplace: CrashPolicy = CrashPolicy.OFF
    stop_grace: int = 10
    drop_volumes: tuple[str, ...] = ()
    secret_env: Env = field(default=(), repr=False)
    follows: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """Find out what a reference means now; with `Pull.ALWAYS` ask the registry first, as who `auth` says.

    `auth` is told and not kept: neither the record of requests nor the agent's ledger has it (RELIABILITY S21).
    """

    request_id: UUID
    reference: str
    pull: Pull
    auth: RegistryAuth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """The answer to an ImageRequest: exactly one of `image` and `error` is set."""

    request_id: UUID
    image: ResolvedImage | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far an agent was told, or how far the record is: a revision of the node's assignment in one line of it.

    A record that is restored from a backup begins a new line (`lineage`), since it says other things under the same
    revisions. `node_id`: revisions count for one node.
    """

    node_id: UUID
    lineage: UUID
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """Containers of this installation that nothing asks for, too many to be removed without a question (I13).

    `owned`: how many of its containers are on the node in all. `key` names exactly these; `names` the first few.
    """

    count: int
    owned: int
    key: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Rows of the record that a host keeps for a rebuild: of a service (`of`) of which it has containers, or its own.

    By table; what a table's column means only the record knows. `version` rises with each change.
    """

    of: UUID
    version: int
    rows: dict[str, list[dict[str, Any]]] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What an agent's ledger has, for a record that is made anew; without the tokens of containers."""

    assignments: tuple[ContainerAssignment, ...]
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAssignments:
    """What changed for the node between revision `base` and `revision`; `base` 0 means: this is everything.

    In a full set, containers that are not named are not wanted. `images` always names every open request,
    `swarm` what is wanted of the engine's swarm mode; None: nothing. `lineage`: the line of the record in which
    revisions count. `engine`: the engine that this is for, by its identity; empty: any. `word`: what an operator
    last said to a question of this node (domain.quarantine). `copies`: those that are new, or with `base` 0 all.
    """

    cluster_id: UUID
    session: int
    base: int
    revision: int
    containers: tuple[ContainerAssignment, ...] = ()
    images: tuple[ImageRequest, ...] = ()
    swarm: SwarmOrder | None = None
    lineage: UUID | None = None
    engine: str = ""
    word: str = ""
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """The engine as the agent finds it. `memory` in MB; `gateway` is the host's address on the default bridge.

    `disk` and `disk_free` in MB, of the file system that holds its data, in coarse steps; 0 when it is not known.
    `place` is host and data directory: engines that were cloned with their host's disk share the `engine_id`.
    `setup`: how it is set up, None when an agent of an earlier release does not say. `emptied`: how often it came back
    without anything of ours that was there.
    """

    engine_id: str
    version: str
    storage_driver: str
    cpus: int
    memory: int
    gateway: str = ""
    disk: int = 0
    disk_free: int = 0
    place: str = ""
    setup: EngineSetup | None = None
    emptied: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHello:
    """An agent introduces itself. `cluster_id` is the one it served before, None the first time.

    `name` counts for the agent in the control plane's own process only: who joined is known by its certificate.
    `address`: the host's own on the way to the control plane; empty when it is not known. `seen`: how far it was told.
    `testimony`: only when it was asked for (LedgerWanted).
    """

    name: str
    cluster_id: UUID | None
    engine: EngineInfo | None
    address: str = ""
    seen: Position | None = None
    testimony: Testimony | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The control plane's answer: revisions and sequence numbers count within one session only.

    `control_planes`: the URLs under which agents reach the processes that are up. `quarantine`: why the node is left
    alone; empty when it is not.
    """

    cluster_id: UUID
    node_id: UUID
    session: int
    control_planes: tuple[str, ...] = ()
    quarantine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The agent is there, and whether its engine answers. Cheap: it changes nothing but when the node was heard."""

    node_id: UUID
    session: int
    engine_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A beat is on record. `control_planes` as in Registration."""

    control_planes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerReport:
    """One container as seen."""

    container_id: UUID
    observed: Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What the agent saw; `seq` rises within the session, and the newest wins per container.

    `engine` is None while the engine does not answer. `swarm` is None when nothing about it is new. `strangers`: what
    the node asks about, as long as it does.
    """

    node_id: UUID
    session: int
    seq: int
    applied_revision: int
    engine: EngineInfo | None = None
    containers: tuple[ContainerReport, ...] = ()
    images: tuple[ImageResult, ...] = ()
    swarm: SwarmReport | None = None
    strangers: Strangers | None = None


class LedgerWanted(Exception):
    """The record does not know this node and is being made anew: register again, and bring the ledger."""


class SessionLost(Exception):
    """The control plane does not know this session any more; register again and keep the ledger."""
