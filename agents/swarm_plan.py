"""What is to be done about an engine's swarm mode, decided from the order and from what is seen. Pure."""

from __future__ import annotations

from dataclasses import dataclass

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
    token: str


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

    A swarm that no order names is not touched: it is somebody else's. Promotions come before what takes managers away.
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
    return (*_members(order, seen), *(Make(network=each) for each in order.make), *(map(_remove, order.remove)))


def _remove(name: str) -> SwarmStep:
    return Remove(name=name)


def _members(order: SwarmOrder, seen: SwarmSeen) -> list[SwarmStep]:
    """Only the lead has members to keep. Of an identity that it does not know it forgets what is down."""
    wanted = dict(order.keep)
    if not wanted:
        return []
    promote: list[SwarmStep] = [
        SetRole(node=each.node, manager=True)
        for each in seen.peers
        if wanted.get(each.node) is SwarmRole.MANAGER and not each.manager and each.up
    ]
    if promote:
        return promote
    demote: list[SwarmStep] = [
        SetRole(node=each.node, manager=False)
        for each in seen.peers
        if each.manager and each.node != seen.node and wanted.get(each.node) is not SwarmRole.MANAGER
    ]
    dropped: list[SwarmStep] = [
        Drop(node=each.node)
        for each in seen.peers
        if not each.manager and not each.up and each.node not in wanted and each.node != seen.node
    ]
    return demote + dropped
