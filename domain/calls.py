"""Calls of triggers: begun at once, or behind the operation that is under way (spec 4.10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from domain.errors import NotAllowed
from domain.service import Accepted, Counts, Effect, Queued, Service, ServiceWant, Verb, change, operate
from domain.spec import Strategy

MOST_WAITING = 100
"""Calls of a redeployment that wait for one thing: each has an action, and is in the service's row."""


def call(service: Service, count: Counts, call: Queued, now: datetime) -> Accepted:
    """A trigger's call: begun now, or behind the operation under way (spec 4.10). Raises NotAllowed."""
    if service.operation is not None and service.want is not ServiceWant.TERMINATED:
        return Accepted(service=replace(service, queued=_behind(service.queued, call)), effect=Effect.QUEUED)
    return _begin_call(service, count, call, now)


def _behind(queued: tuple[Queued, ...], call: Queued) -> tuple[Queued, ...]:
    """One redeployment does for all that wait, with the newest body (RELIABILITY F44, S11). Raises NotAllowed."""
    for place, waiting in enumerate(queued):
        if waiting.verb is call.verb is Verb.REDEPLOY:
            if len(waiting.actions) >= MOST_WAITING:
                raise NotAllowed(f"{MOST_WAITING} calls wait already: one redeployment will do for all of them")
            merged = replace(waiting, trigger_body=call.trigger_body, joined=(*waiting.joined, *call.actions))
            return (*queued[:place], merged, *queued[place + 1 :])
    return (*queued, call)


def begin_next(service: Service, count: Counts, now: datetime) -> tuple[Accepted | NotAllowed, Queued, Service]:
    """Take the first waiting call: what came of it, the call, and the service without it."""
    first, *rest = service.queued
    left = replace(service, queued=tuple(rest))
    try:
        return _begin_call(left, count, first, now), first, left
    except NotAllowed as refusal:
        return refusal, first, left


def _begin_call(service: Service, count: Counts, call: Queued, now: datetime) -> Accepted:
    if call.verb is Verb.SCALE:
        if service.spec.deployment_strategy is Strategy.EVERY_NODE:
            raise NotAllowed("a service for every node is not scaled: it follows the nodes")
        target = service.target + call.amount
        accepted = change(service, count, spec=service.spec, target=target, action=call.action, now=now)
    else:
        accepted = operate(service, count, call.verb, call.action, now)
    operation = accepted.service.operation
    if operation is None or accepted.effect is not Effect.BEGUN:
        return accepted
    actions = (*operation.actions, *call.joined)
    begun = replace(operation, trigger_body=call.trigger_body, joinable=False, actions=actions)
    return replace(accepted, service=replace(accepted.service, operation=begun))
