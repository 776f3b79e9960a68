"""How much an account may have at once (RELIABILITY S17). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.service import Service
from domain.spec import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most of each; None: no limit. Terminated services count for nothing.

    `memory` in MB and `cpu_shares` (1024 for a core, as services say them) are of all containers together.
    """

    services: int | None = None
    containers: int | None = None
    memory: int | None = None
    cpu_shares: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What an account has: services, the containers that these are to have, running or not, and what those may use.

    `without_memory`, `without_cpu_shares`: names of the services that do not say it.
    """

    services: int
    containers: int
    memory: int = 0
    cpu_shares: int = 0
    without_memory: Sequence[str] = ()
    without_cpu_shares: Sequence[str] = ()


def grows(before: Service, after: Service) -> bool:
    """Whether a change makes it more that counts: containers, nodes that have one, or what each of them may use."""
    freed = set(before.spec.tags) - set(after.spec.tags)
    return (
        after.target > before.target
        or (after.spec.deployment_strategy is Strategy.EVERY_NODE and bool(freed))
        or _more(before.spec.memory, after.spec.memory)
        or _more(before.spec.cpu_shares, after.spec.cpu_shares)
    )


def _more(before: int | None, after: int | None) -> bool:
    return before is not None and (after is None or after > before)


def exceeded(quota: Quota, used: Used, username: str) -> dict[str, str]:
    """What is too much, by the field that is to blame, for people; empty when all is within the quota.

    Where memory or CPU is limited, a service that does not say how much of it a container may use is too much.
    """
    more = f"or ask an admin for more (./tutela admin users quota {username})"
    out = {}
    if quota.services is not None and used.services > quota.services:
        out["services"] = (
            f"{username} would have {used.services} services, the quota is {quota.services}: terminate others, {more}"
        )
    if quota.containers is not None and used.containers > quota.containers:
        out["target_num_containers"] = (
            f"the services of {username} would have {used.containers} containers, the quota is {quota.containers}:"
            f" terminate services or scale them down, {more}"
        )
    for field, unit, most, has, without in (
        ("memory", " MB of memory", quota.memory, used.memory, used.without_memory),
        ("cpu_shares", " CPU shares", quota.cpu_shares, used.cpu_shares, used.without_cpu_shares),
    ):
        if most is None:
            continue
        if without:
            out[field] = (
                f"{username} has a quota of {most}{unit}, so every service must say how much a container may use:"
                f" {_named(without)} {'do' if len(without) > 1 else 'does'} not"
            )
        elif has > most:
            out[field] = (
                f"the containers of {username} might use {has}{unit}, the quota is {most}: lower {field},"
                f" scale services down or terminate them, {more}"
            )
    return out


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
