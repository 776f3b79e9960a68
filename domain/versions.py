"""Versions of what users have asked for, so that a change can be made of what was read and of nothing else (I8)."""

from __future__ import annotations

from collections.abc import Sequence

from domain.service import Service
from domain.spec import Strategy, fingerprint
from domain.stack import Stack


def of_service(service: Service) -> str:
    """Another text after each change of the definition, the target, or what is wanted of the service as a whole.

    What becomes of its containers does not touch it; nor does a target that follows the nodes. Two services never have
    one version: who may read one could find out what is hidden of it by making others.
    """
    follows = service.spec.deployment_strategy is Strategy.EVERY_NODE
    return fingerprint([service.id, service.spec, None if follows else service.target, service.want])


def of_stack(stack: Stack, members: Sequence[Service]) -> str:
    """Another text when the stack was changed, or one of its services was. `members`: those that are not terminated,
    by age."""
    return fingerprint([stack.id, stack.nickname, [(each.id, of_service(each)) for each in members]])
