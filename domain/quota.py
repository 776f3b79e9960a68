"""How much an account may have at once (RELIABILITY S17). Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most of each; None: no limit. Terminated services count for neither."""

    services: int | None = None
    containers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What an account has: services, and the containers that these are to have, running or not."""

    services: int
    containers: int


def exceeded(quota: Quota, used: Used, username: str) -> dict[str, str]:
    """What is too much, by the field that is to blame, for people; empty when all is within the quota."""
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
    return out
