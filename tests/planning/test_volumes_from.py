"""A container that has volumes of another service runs where these are, or not at all (spec 2.9, 2.21)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.container import Seen
from domain.node import NodeState
from domain.service import Verb
from domain.spec import Binding, ServiceSpec, Strategy
from orchestrator.planning.explain import Reason, explain
from orchestrator.planning.steps import render
from orchestrator.planning.view import VolumesFrom
from tests.planning.model import POLICY, World, a_service, number
from tests.planning.test_nodes import A, B, C, at, change, cut, fleet

DB = Binding(volumes_from=number(50))


def users(target: int = 1, *shared: VolumesFrom, **spec: object) -> World:
    made = ServiceSpec(image="tutela/web:latest", bindings=(DB,), **spec)  # type: ignore[arg-type]
    world = World(a_service(target=target, spec=made), nodes=fleet(A, B, C))
    world.shared = shared
    world.operate(Verb.START)
    return world


def db(*nodes: object) -> VolumesFrom:
    """The nodes of its containers from slot 1 on."""
    return VolumesFrom(name="db", nodes=dict(enumerate(nodes, 1)))  # type: ignore[arg-type]


def test_each_runs_beside_that_of_its_slot_and_others_beside_the_first() -> None:
    world = users(3, db(B, C))
    world.run()
    assert {row.slot: row.node_id for row in world.open_rows()} == {1: B, 2: C, 3: B}
    assert world.ended[-1][1]


def test_it_waits_for_a_service_that_has_no_container_yet_and_gives_up_in_the_end() -> None:
    world = users(1, db())
    world.run()
    why = "slot 1: db has no container yet, whose volumes it is to have: start db"
    assert (world.open_rows(), render(world.plan())) == ([], f"wait: {why}")
    assert world.plan().requeue_at == world.now + POLICY.blocked_retry
    (story,) = explain(world.view(), POLICY, {})
    assert (story.reason, story.text) == (Reason.VOLUMES, why.removeprefix("slot 1: "))
    later = World(world.service, answers=world.answers, nodes=world.nodes, shared=(db(C),), now=world.now)
    later.run()
    assert [row.node_id for row in later.open_rows()] == [C]
    world.now += timedelta(minutes=10)
    world.run()
    assert world.ended[-1][1:] == (False, f"gave up after 10 minutes: {why}")


def test_volumes_on_different_nodes_cannot_be_had_together() -> None:
    world = users(1, db(A), VolumesFrom(name="files", nodes={1: B}))
    world.run()
    assert world.open_rows() == []
    why = "slot 1: the volumes of files are on another node than its own, or than those of others"
    assert world.ended[-1][1:] == (False, why)


def test_a_node_that_cannot_take_it_is_no_reason_to_run_it_elsewhere() -> None:
    world = users(1, db(A))
    change(world, A, cordoned=True)
    world.run()
    assert world.open_rows() == []
    assert not world.ended[-1][1]


def test_a_redeployment_takes_it_to_where_they_are_and_keeps_what_runs_while_they_are_nowhere() -> None:
    world = users(1, db(A))
    world.run()
    world.shared = (db(),)
    world.operate(Verb.REDEPLOY)
    world.run()
    assert [row.seen and row.seen.state for row in at(world, A)] == [Seen.RUNNING]
    world.shared = (db(B),)
    world.run()
    assert [row.node_id for row in world.open_rows()] == [B]
    assert world.ended[-1][1]


@pytest.mark.parametrize("sequential", [False, True])
def test_on_every_node_it_runs_where_they_are(sequential: bool) -> None:
    world = users(1, db(A, C), deployment_strategy=Strategy.EVERY_NODE, sequential_deployment=sequential)
    world.run()
    there = {A} if sequential else {A, C}
    assert {row.node_id for row in world.open_rows()} == there
    (_, well, message) = world.ended[-1]
    assert not well
    assert "the volumes of db are on another node" in (message or "")


def test_its_own_volumes_are_where_they_are() -> None:
    world = users(1, db(A))
    world.run()
    cut(world, A)
    assert [row.node_id for row in world.open_rows()] == [A]
    change(world, A, state=NodeState.DEPLOYED)
