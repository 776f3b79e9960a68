"""Whatever happens, every slot says why it is as it is, once."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.container import Seen, Want
from domain.node import NodeState
from domain.spec import CrashPolicy, ServiceSpec
from orchestrator.planning.explain import Reason
from tests.planning.model import World, a_service
from tests.planning.test_explain import stories
from tests.planning.test_nodes import A, B, change, cut, happenings, reachable, running, try_to
from tests.planning.test_properties import move, moves, specs


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
