"""What a decision costs grows with what there is, not with its square: calls of functions are counted, no seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import FrameType

import pytest

from domain.container import Observed, Seen
from domain.node import Candidate, NodeState
from domain.service import Verb
from domain.spec import ServiceSpec, Strategy
from orchestrator.planning.explain import explain
from orchestrator.planning.service import plan_service
from orchestrator.planning.view import LinkedService, ServiceView
from tests.planning.model import POLICY, START, World, a_service, number

SMALL, LARGE = 60, 120
SPEC = ServiceSpec(image="tutela/web:latest")
EVERY = replace(SPEC, deployment_strategy=Strategy.EVERY_NODE)
LINK = LinkedService(alias="db", service_id=number(9), unique_name="db", subnet="10.192.1.0/24", sources=())


def started(size: int, spec: ServiceSpec, rounds: int) -> World:
    """So many nodes, and a service of so many containers, after some rounds of its start."""
    nodes = tuple(
        Candidate(node_id=number(1000 + n), name=f"n{n}", state=NodeState.DEPLOYED, last_seen=START)
        for n in range(size)
    )
    world = World(a_service(target=0 if spec is EVERY else size, spec=spec), nodes=nodes)
    world.operate(Verb.START)
    for _ in range(rounds):
        world.step()
        world.agent()
    return world


def at_rest(size: int) -> ServiceView:
    return replace(started(size, SPEC, 4).view(), linked=(LINK,))


def empty(size: int) -> ServiceView:
    return replace(at_rest(size), containers=())


def bound(size: int) -> ServiceView:
    return replace(empty(size), pinned={n + 1: number(1000 + n) for n in range(size)})


def redeployed(size: int) -> ServiceView:
    """Its image is known, and all its containers are of the deployment before."""
    world = started(size, SPEC, 4)
    world.operate(Verb.REDEPLOY)
    assert world.service.operation is not None
    operation = replace(world.service.operation, image_request=None)
    world.service = replace(world.service, operation=operation)
    return world.view()


def one_is_missed(size: int) -> ServiceView:
    """As many are missed as may be: the first container is new and does not run yet."""
    view = redeployed(size)
    first, *others = view.containers
    new = replace(first, deploy_gen=view.service.deploy_gen, seen=Observed(state=Seen.CREATED, start_gen=0))
    return replace(view, containers=(new, *others))


def without_room(size: int) -> ServiceView:
    view = redeployed(size)
    return replace(view, nodes=tuple(replace(node, disk_full=True) for node in view.nodes))


def lost(size: int) -> ServiceView:
    """All containers are on one node, which is silent for too long; the others could take them."""
    view = replace(started(size, replace(SPEC, lost_after=60), 4).view(), now=START + timedelta(hours=1))
    one = view.nodes[0].node_id
    heard = tuple(replace(node, last_seen=view.now) for node in view.nodes[1:])
    silent = replace(view.nodes[0], state=NodeState.UNREACHABLE, last_seen=START)
    rows = tuple(replace(row, node_id=one) for row in view.containers)
    return replace(view, nodes=(silent, *heard), containers=rows)


def lost_without_room(size: int) -> ServiceView:
    view = lost(size)
    return replace(view, nodes=tuple(replace(node, cordoned=True) for node in view.nodes))


def on_every_node(size: int) -> ServiceView:
    return started(size, EVERY, 4).view()


def new_on_every_node(size: int) -> ServiceView:
    return started(size, EVERY, 1).view()


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those of Python and of C."""
    count = 0

    def seen(_frame: FrameType, event: str, _what: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def planned(view: ServiceView) -> object:
    return plan_service(view, POLICY)


def explained(view: ServiceView) -> object:
    return explain(view, POLICY, {})


@pytest.mark.parametrize(
    ("decide", "of"),
    [
        (planned, at_rest),
        (planned, redeployed),
        (planned, one_is_missed),
        (planned, without_room),
        (planned, lost),
        (planned, lost_without_room),
        (planned, on_every_node),
        (planned, new_on_every_node),
        (explained, at_rest),
        (explained, empty),
        (explained, bound),
    ],
)
def test_a_decision_about_twice_as_much_is_twice_the_work(
    decide: Callable[[ServiceView], object], of: Callable[[int], ServiceView]
) -> None:
    small, large = of(SMALL), of(LARGE)
    fewer, more = calls(lambda: decide(small)), calls(lambda: decide(large))
    assert more < 2.3 * fewer, f"{fewer} calls for {SMALL} containers and nodes, {more} for {LARGE}"
