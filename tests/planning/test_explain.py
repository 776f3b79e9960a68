"""Why a slot is as it is: a reason for every state, and the words that help."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.container import Mount, Observed, Seen, Want
from domain.node import NodeState
from domain.service import Verb
from domain.spec import CrashPolicy, ServiceSpec
from orchestrator.planning.explain import Reason, SlotStory, explain
from orchestrator.planning.view import Policy
from tests.planning.model import World, a_service
from tests.planning.test_nodes import A, B, change, cut, fleet, happenings, reachable, running, try_to
from tests.planning.test_properties import move, moves, specs

POLICY = Policy()


def stories(world: World) -> list[SlotStory]:
    return list(explain(world.view(), POLICY, {}))


def reasons(world: World) -> list[Reason]:
    return [story.reason for story in stories(world)]


def test_a_service_that_runs() -> None:
    world = running(A, B)
    assert reasons(world) == [Reason.RUNNING, Reason.RUNNING]
    assert [story.node for story in stories(world)] == ["a", "b"]


def test_before_and_after_it_ran() -> None:
    world = World(a_service(), nodes=fleet(A))
    assert reasons(world) == [Reason.NOT_STARTED, Reason.NOT_STARTED]
    world.operate(Verb.START)
    assert reasons(world) == [Reason.IMAGE, Reason.IMAGE]
    world.run()
    world.operate(Verb.STOP)
    world.run()
    assert reasons(world) == [Reason.STOPPED, Reason.STOPPED]
    world.operate(Verb.TERMINATE)
    world.step()
    assert reasons(world) == [Reason.REMOVING, Reason.REMOVING]


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (Observed(state=Seen.PENDING, start_gen=1, message="the engine is away"), Reason.PENDING, "the engine is away"),
        (Observed(state=Seen.PULLING, start_gen=0), Reason.PULLING, "fetches the image"),
        (Observed(state=Seen.CREATED, start_gen=0), Reason.STARTING, "being started"),
        (Observed(state=Seen.RESTARTING, start_gen=1, exit_code=3, restart_count=4), Reason.RESTARTING, "exit code 3"),
        (Observed(state=Seen.EXITED, start_gen=1, exit_code=0), Reason.ENDED, "exit code 0"),
        (Observed(state=Seen.EXITED, start_gen=1, exit_code=2), Reason.CRASHED, "exit code 2"),
        (Observed(state=Seen.FAILED, start_gen=1, message="port 80 is taken"), Reason.START_FAILED, "port 80 is taken"),
    ],
)
def test_what_a_container_waits_for(seen: Observed, reason: Reason, words: str) -> None:
    world = running(A, target=1)
    (row,) = world.open_rows()
    world.rows[row.id] = replace(row, seen=seen)
    (story,) = stories(world)
    assert story.reason is reason
    assert words in story.text


def test_a_node_that_is_away() -> None:
    world = running(A, B, target=2)
    cut(world, B)
    (_, away) = stories(world)
    assert away.reason is Reason.UNREACHABLE
    assert "lost_after or autoreplace" in away.remedy
    assert away.since == world.now
    (row,) = [row for row in world.open_rows() if row.node_id == B]
    world.rows[row.id] = replace(row, spec=replace(row.spec, mounts=(Mount(source="v", target="/d", volume=True),)))
    assert "Its data is there" in stories(world)[1].text
    consenting = running(A, B, autoreplace=CrashPolicy.ALWAYS)
    cut(consenting, B)
    assert "filled elsewhere from" in stories(consenting)[1].text
    consenting.now += timedelta(seconds=15)
    consenting.step()
    assert reasons(consenting) == [Reason.RUNNING, Reason.PLACING, Reason.LEAVING]


def test_a_slot_that_finds_no_node() -> None:
    world = World(a_service(target=1, spec=ServiceSpec(image="tutela/web:latest", tags=("ssd",))), nodes=fleet(A))
    world.operate(Verb.START)
    world.run()
    (story,) = stories(world)
    assert (story.reason, story.text) == (
        Reason.NO_NODE,
        "no node can take the container: node a has no tag ssd",
    )
    assert story.remedy == "tag a node, or change the service's tags; then start or scale the service"
    empty = World(a_service(target=1), nodes=())
    empty.operate(Verb.START)
    assert reasons(empty) == [Reason.IMAGE]


def test_what_is_bound_to_a_drained_node() -> None:
    world = running(A, B)
    for row in world.open_rows():
        world.rows[row.id] = replace(row, spec=replace(row.spec, mounts=(Mount(source="v", target="/d", volume=True),)))
    change(world, B, cordoned=True, draining=True)
    assert reasons(world) == [Reason.RUNNING, Reason.BOUND]


def told(world: World) -> None:
    """Everything that is not simply running says why, and each slot is told once."""
    found = stories(world)
    for story in found:
        assert story.text, story
        assert story.since is not None or story.container is None, story
    holders = [story.slot for story in found if not story.leaving]
    assert len(holders) == len(set(holders))
    wanted = {row.id for row in world.open_rows()}
    assert {story.container for story in found if story.container} == wanted
    running_now = {
        row.id
        for row in world.open_rows()
        if row.want is Want.RUN and not row.leaving and row.seen and row.seen.state is Seen.RUNNING
    }
    healthy = {node.node_id for node in world.nodes if node.state is NodeState.DEPLOYED}
    for story in found:
        if story.reason is Reason.RUNNING:
            assert story.container in running_now
            assert {row.node_id for row in world.open_rows() if row.id == story.container} <= healthy


@given(spec=specs, history=st.lists(moves, max_size=25))
def test_whatever_happens_on_one_node_is_explained(spec: ServiceSpec, history: list[tuple[str, object]]) -> None:
    world = World(a_service(spec=spec))
    for kind, value in history:
        move(world, kind, value)
        told(world)


@given(history=st.lists(happenings, max_size=20))
def test_whatever_happens_to_nodes_is_explained(history: list[tuple[str, object]]) -> None:
    world = running(A, B, autoreplace=CrashPolicy.ALWAYS)
    away = set()
    for kind, value in history:
        match kind:
            case "cut" if value in {A, B}:
                cut(world, value)  # type: ignore[arg-type]
                away.add(value)
            case "heal":
                away.discard(value)
                change(world, value, state=NodeState.DEPLOYED, last_seen=world.now)  # type: ignore[arg-type]
            case "drain" | "undrain":
                change(world, value, cordoned=kind == "drain", draining=kind == "drain")  # type: ignore[arg-type]
            case "wait":
                world.now += timedelta(seconds=value)  # type: ignore[arg-type]
            case "agents":
                reachable(world, away)  # type: ignore[arg-type]
            case "verb":
                try_to(world, value)  # type: ignore[arg-type]
            case _:
                world.step()
        told(world)
