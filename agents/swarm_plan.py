"""What is to be done about an engine's swarm mode, decided from the order and from what is seen. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from domain.container import NetworkSpec
from domain.swarm import SwarmOrder, SwarmRole, SwarmSeen


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """Begin a swarm of one."""

    address: str
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Join as a worker."""

    address: str
    managers: tuple[str, ...]
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Leave, whatever role the engine has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recover:
    """Go on alone as the only manager, with what the swarm knew."""

    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRole:
    """Make a member a manager, or a worker."""

    node: str
    manager: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Forget a member that is not there."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """Make an overlay network."""

    network: NetworkSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Remove an overlay network by its name."""

    name: str


SwarmStep = Begin | Join | Leave | Recover | SetRole | Drop | Make | Remove


def plan_swarm(order: SwarmOrder, seen: SwarmSeen, *, in_use: bool) -> tuple[SwarmStep, ...]:
    """What to do now. `in_use`: containers of ours are on overlay networks.

    A swarm that no order names is not touched: it is somebody else's.
    """
    if order.leave:
        ours_only = order.role is SwarmRole.NONE and in_use and seen.active
        return (Leave(),) if seen.inside and seen.node == order.leave and not ours_only else ()
    if order.role is SwarmRole.NONE:
        return ()
    if not seen.inside:
        if order.begin:
            return (Begin(address=order.address, pool=order.pool),)
        return (Join(address=order.address, managers=order.join, token=order.token),) if order.join else ()
    if order.recover and seen.manager and not seen.quorum:
        return (Recover(address=order.address),)
    if not (seen.manager and seen.ours and seen.quorum):
        return ()
    networks: list[SwarmStep] = [
        *(Make(network=each) for each in order.make),
        *(Remove(name=each) for each in order.remove),
    ]
    return (*networks, *_members(order, seen))


def _members(order: SwarmOrder, seen: SwarmSeen) -> list[SwarmStep]:
    """Only the lead has members to keep.

    A manager that is dead loses its vote before another gets one: with it among the voters that takes long. One that
    is alive loses it after that. An identity that is not known is forgotten when it is down.
    """
    wanted = dict(order.keep)
    if not wanted:
        return []
    others = [each for each in seen.peers if each.node != seen.node]
    dropped: list[SwarmStep] = [
        Drop(node=each.node) for each in others if not each.up and not each.ready and each.node not in wanted
    ]
    known = [each for each in others if each.up or each.ready or each.node in wanted]
    demoted = [each for each in known if each.manager and wanted.get(each.node) is not SwarmRole.MANAGER]
    dead: list[SwarmStep] = [SetRole(node=each.node, manager=False) for each in demoted if not each.ready]
    if dropped or dead:
        return dropped + dead
    promote: list[SwarmStep] = [
        SetRole(node=each.node, manager=True)
        for each in known
        if wanted.get(each.node) is SwarmRole.MANAGER and not each.manager and each.up
    ]
    awaited = [each for each in known if each.manager and each.up and not each.ready and each.node in wanted]
    if promote or awaited:
        return promote
    return [SetRole(node=each.node, manager=False) for each in demoted]
