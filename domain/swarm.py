"""Docker's swarm mode between the nodes' engines: who is in it, who manages it, how it is mended. Pure.

Swarm carries the overlay networks and nothing else. Nodes join as workers, with one token, and are promoted by the
lead: one manager's agent that carries out what is decided here about the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.container import NetworkSpec
from domain.networks import NetworkMode, usable_address

MOST_MANAGERS = 3
MANAGER_LOST_SECONDS = 15.0
"""A manager that is silent for that long is replaced, where another node can."""

RECOVER_SECONDS = 20.0
"""When most managers are silent for that long, and one that is up finds itself without a leader, it goes on alone."""

PORT = 2377


class SwarmRole(StrEnum):
    """What a node is to be in the swarm."""

    NONE = ""
    WORKER = "worker"
    MANAGER = "manager"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A member as a manager lists it, by its identity in the swarm. `ready`: it is a manager that answers and votes."""

    node: str
    manager: bool
    up: bool
    ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmSeen:
    """An engine's swarm mode as its agent finds it.

    `ours`: it is a manager of a swarm with this installation's label; `entered`: the agent itself led the engine in.
    `quorum`: as a manager it can change something. `stuck`: it is neither in nor out for long. `error`: why the last
    order was not carried out. `by`: the address of the manager that it joined by.
    """

    active: bool = False
    inside: bool = False
    node: str = ""
    manager: bool = False
    cluster: str = ""
    ours: bool = False
    entered: bool = False
    quorum: bool = False
    stuck: bool = False
    error: str = ""
    peers: tuple[Peer, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmReport:
    """What an agent says: how it is, the token for workers where it is a manager, overlay networks made and removed."""

    seen: SwarmSeen
    token: str = field(default="", repr=False)
    made: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmOrder:
    """What a node's agent is to do about the swarm; told with every assignment, kept in memory only.

    `begin`: with a new swarm, whose own networks are of `pool`. `recover`: go on alone. `leave`: out of the swarm in
    which the engine has that identity. `join`: managers, with `token`. For the lead: `keep` are the members with what
    each is to be; for managers: overlay networks to `make` and, by name, to `remove`.
    """

    role: SwarmRole = SwarmRole.NONE
    address: str = ""
    begin: bool = False
    recover: bool = False
    leave: str = ""
    join: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    pool: str = ""
    keep: tuple[tuple[str, SwarmRole], ...] = ()
    make: tuple[NetworkSpec, ...] = ()
    remove: tuple[str, ...] = ()

    @property
    def quiet(self) -> bool:
        """Whether it asks for nothing but to be as the engine is, so that all that changes it is said."""
        asked = self.begin or self.recover or self.leave or self.join or self.token
        return not (asked or self.keep or self.make or self.remove)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A node that was not taken out. `silent`: seconds since its engine was last known to be up, 0 while it is."""

    id: UUID
    name: str
    since: datetime
    silent: float = 0.0
    address: str = ""
    seen: SwarmSeen | None = None
    role: SwarmRole = SwarmRole.NONE
    reset: str = ""
    overlay: bool = False
    note: str = ""
    """Why it is not in the overlay, for people."""

    @property
    def up(self) -> bool:
        """Whether its agent and its engine answer."""
        return self.silent <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """The record of the installation's swarm; there is none without a founder, and it is not up without a cluster."""

    founder: UUID | None = None
    cluster: str = ""
    lead: UUID | None = None
    recover: UUID | None = None


def decide(mode: NetworkMode, swarm: Swarm, members: Sequence[Member]) -> tuple[Swarm, tuple[Member, ...]]:
    """What the swarm and each node's part in it are to be; deciding again over the outcome changes nothing."""
    ordered = sorted(members, key=lambda each: (each.since, each.id))
    peers = _peers(ordered)
    fit = [each for each in ordered if _unfit(each, peers) == ""]
    able = {each.id for each in fit}
    if mode is not NetworkMode.OVERLAY or len(fit) < 2:
        return Swarm(), tuple(_outside(mode, each, peers, len(members)) for each in ordered)
    swarm, lost = _current(swarm, fit)
    managers = {each.id for each in _managers(fit)} if swarm.cluster else {swarm.founder}
    out = []
    for each in ordered:
        if each.id not in able:
            out.append(_outside(mode, each, peers, len(members)))
            continue
        role = SwarmRole.MANAGER if each.id in managers else SwarmRole.WORKER
        out.append(replace(each, role=role, reset=_reset(each, swarm, lost), note=_waiting(each)))
    inside = [each for each in out if each.role is not SwarmRole.NONE and _carries(each)]
    carrying = {each.id for each in inside} if len(inside) > 1 else set()
    return swarm, tuple(
        replace(each, overlay=each.id in carrying, note="" if each.id in carrying else each.note) for each in out
    )


def at_rest(mode: NetworkMode, members: Sequence[Member]) -> bool:
    """Whether time alone changes no decision about these, over which nothing was decided that is new.

    With overlay networks that is when everybody is up and in; what holds a node back may be mended by hand.
    """
    if mode is not NetworkMode.OVERLAY:
        return not any(each.role is not SwarmRole.NONE or each.reset or each.overlay for each in members)
    return all(each.up for each in members) and (len(members) < 2 or all(each.overlay for each in members))


def is_ours(member: Member, peers: frozenset[str]) -> bool:
    """Whether the swarm that the node's engine is in is the installation's own."""
    seen = member.seen
    if seen is None or not seen.inside:
        return False
    if not seen.node:
        # It is about to enter, or changes its role: as the engine was ordered to, when it was.
        return member.role is not SwarmRole.NONE
    return seen.ours or seen.entered or member.overlay or seen.node in peers or seen.node == member.reset


def _peers(members: Sequence[Member]) -> frozenset[str]:
    """The identities that managers of our swarm list."""
    return frozenset(
        peer.node for each in members if each.seen and each.seen.ours and each.seen.manager for peer in each.seen.peers
    )


def _unfit(member: Member, peers: frozenset[str]) -> str:
    """Why the node cannot be in the overlay, for people; empty when it can."""
    if member.seen is None:
        return "its agent has not said yet whether its engine can be in a swarm"
    if member.seen.inside and not is_ours(member, peers):
        return (
            "its Docker engine is in a swarm that is not this installation's, and is left there: links to and from"
            " other hosts use published ports. To use overlay networks: `docker swarm leave` on the host"
        )
    if not usable_address(member.address):
        return (
            "no address is known under which other hosts reach it: links to and from other hosts use published ports."
            " Set its public_ip (PATCH /api/v1/admin/node/UUID/)"
        )
    return ""


def _outside(mode: NetworkMode, member: Member, peers: frozenset[str], count: int) -> Member:
    """A node that is not to be in the swarm; out of one of ours it is told to go."""
    why = _unfit(member, peers) if mode is NetworkMode.OVERLAY and count > 1 else ""
    if mode is NetworkMode.OVERLAY and count > 1 and not why:
        why = "no other host can be in an overlay with it"
    ours = is_ours(member, peers) and member.seen is not None
    reset = member.seen.node if ours and member.seen else ""
    return replace(member, role=SwarmRole.NONE, reset=reset, overlay=False, note=why)


def _current(swarm: Swarm, fit: Sequence[Member]) -> tuple[Swarm, bool]:
    """The swarm as it is now, and whether it was lost with all its managers, so that it is begun anew."""
    managing = [each for each in fit if _manages(each)]
    working = [each for each in managing if each.up and each.seen and each.seen.quorum]
    if working:
        lead = next((each for each in working if each.id == swarm.lead), working[0])
        cluster = lead.seen.cluster if lead.seen else ""
        return Swarm(founder=swarm.founder or lead.id, cluster=cluster, lead=lead.id), False
    long_gone = [each for each in managing if each.silent >= RECOVER_SECONDS]
    alone = [each for each in managing if each.up]
    if swarm.cluster and alone and 2 * len(long_gone) >= len(managing):
        return replace(swarm, lead=None, recover=swarm.recover or alone[0].id), False
    if swarm.cluster and not alone and len(long_gone) == len(managing):
        return _founded(fit), True
    if swarm.founder is None or (not swarm.cluster and swarm.founder not in {each.id for each in fit if each.up}):
        return _founded(fit), False
    return replace(swarm, lead=None), False


def _manages(member: Member) -> bool:
    """Whether the node's engine manages our swarm; without a quorum it cannot say whose it is."""
    seen = member.seen
    return seen is not None and seen.manager and (seen.ours or member.overlay) and not member.reset


def _founded(fit: Sequence[Member]) -> Swarm:
    able = [each for each in fit if each.up and each.seen and not each.seen.error]
    return Swarm(founder=able[0].id if able else None)


def _managers(fit: Sequence[Member]) -> Sequence[Member]:
    """At most three: those that are, unless they are lost and others can; then the oldest that are up."""

    dead = {f"{each.address}:{PORT}" for each in fit if not each.up}

    def worth(each: Member) -> int:
        if each.role is SwarmRole.MANAGER and each.silent < MANAGER_LOST_SECONDS:
            return 0
        if each.up and each.seen and each.seen.active:
            # Engine 20.10 has a worker that is promoted ask the manager that it joined by, and nobody else.
            return 2 if each.seen.by in dead else 1
        return 3 if each.role is SwarmRole.MANAGER else 4

    return sorted(fit, key=worth)[:MOST_MANAGERS]


def _reset(member: Member, swarm: Swarm, lost: bool) -> str:
    """The identity that the engine is to give up first: of a swarm that is lost, or that does not take it back."""
    seen = member.seen
    if seen is None or not seen.inside:
        return ""
    if lost or (seen.stuck and swarm.lead not in {None, member.id}):
        return seen.node
    return member.reset if member.reset == seen.node else ""


def _carries(member: Member) -> bool:
    """Whether containers of the node are on overlay networks: from when it is in, until it is out for a reason."""
    seen = member.seen or SwarmSeen()
    return (seen.active and not member.reset) or (member.overlay and not (seen.error and not seen.inside))


def _waiting(member: Member) -> str:
    if member.seen is not None and member.seen.error:
        return f"its engine is not in the overlay: {member.seen.error}"
    return "its engine is about to join the overlay"


def order_of(swarm: Swarm, member: Member, members: Sequence[Member], *, token: str, pool: str) -> SwarmOrder:
    """What the node's agent is told; networks come on top.

    `members`: all of them for the lead; for others those whose engines manage a swarm are enough.
    """
    if member.role is SwarmRole.NONE or member.reset:
        return SwarmOrder(role=member.role, leave=member.reset)
    managers = [each for each in members if _manages(each)]
    others = sorted((each for each in managers if each.id != member.id), key=lambda each: each.since, reverse=True)
    others.sort(key=lambda each: each.silent)
    begin = begins(swarm, member)
    return SwarmOrder(
        role=member.role,
        address=member.address,
        begin=begin,
        recover=swarm.recover == member.id,
        join=tuple(f"{each.address}:{PORT}" for each in others) if joins(swarm, member) else (),
        token=token if joins(swarm, member) else "",
        pool=pool if begin else "",
        keep=_keep(members) if swarm.lead == member.id else (),
    )


def begins(swarm: Swarm, member: Member) -> bool:
    """Whether the node is to begin the swarm."""
    inside = member.seen is not None and member.seen.inside
    return swarm.founder == member.id and not swarm.cluster and not inside


def joins(swarm: Swarm, member: Member) -> bool:
    """Whether the node is to join those who manage the swarm."""
    inside = member.seen is not None and member.seen.inside
    return bool(swarm.cluster) and not inside


def retold(before: Swarm, was: Sequence[Member], after: Swarm, now: Sequence[Member]) -> set[UUID]:
    """The nodes to whose agents something else is to be told now, but for networks."""
    old, new = _orders(before, was), _orders(after, now)
    return {each for each, order in new.items() if order != old.get(each)}


def _orders(swarm: Swarm, members: Sequence[Member]) -> dict[UUID, tuple[SwarmOrder, bool]]:
    """What each is told, and whether it is told of networks. The swarm stands for its token."""
    managers = [each for each in members if _manages(each)]
    return {
        each.id: (
            order_of(swarm, each, members if each.id == swarm.lead else managers, token=swarm.cluster, pool=""),
            makes_networks(each),
        )
        for each in members
    }


def makes_networks(member: Member) -> bool:
    """Whether the node's agent is told which overlay networks are to be made and removed."""
    return member.role is SwarmRole.MANAGER and member.seen is not None and member.seen.manager


def _keep(members: Sequence[Member]) -> tuple[tuple[str, SwarmRole], ...]:
    """All members with their roles; none while one is not known by its identity, who could be taken for a stranger."""
    inside = [(each.seen.node, each.role) for each in members if each.seen and each.seen.inside]
    return tuple(inside) if all(node for node, _ in inside) else ()
