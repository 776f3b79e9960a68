"""A quarantined node as services see it: it takes nothing new, and its containers say why they are not as wanted."""

from __future__ import annotations

from dataclasses import replace

from domain.assignment import EngineInfo, Position, Strangers
from domain.container import Container
from domain.quarantine import Quarantine, quarantine
from domain.service import Verb
from orchestrator.planning.explain import Reason, explain
from orchestrator.planning.steps import render
from orchestrator.planning.view import Policy
from tests.planning.model import World, a_service, number
from tests.planning.test_nodes import A, B, at, change, fleet, running

ENGINE = EngineInfo(engine_id="new", version="20.10", storage_driver="overlay2", cpus=2, memory=4096)


def because(**known: object) -> Quarantine:
    nothing: dict[str, object] = {"accepted": "", "engine": ENGINE, "ahead": None, "strangers": None}
    found = quarantine("a", **(nothing | known))  # type: ignore[arg-type]
    assert found is not None
    return found


OTHER_ENGINE = because(accepted="old:")
OLDER_RECORD = because(ahead=Position(node_id=A, lineage=number(9), revision=7))
MANY_STRANGERS = because(strangers=Strangers(count=8, owned=9, key="k"))


def scale(world: World, target: int) -> None:
    world.service = replace(world.service, target=target)
    world.operate(Verb.SCALE)


def test_nothing_is_placed_there_unless_it_only_asks_about_strangers() -> None:
    for cause, closed in ((OTHER_ENGINE, True), (OLDER_RECORD, True), (MANY_STRANGERS, False)):
        world = running(A, B, target=2)
        change(world, A, quarantine=cause)
        scale(world, 6)
        world.run()
        assert (len(at(world, A)), len(at(world, B))) == ((1, 5) if closed else (3, 3)), cause.cause


def test_what_is_on_it_is_not_replaced() -> None:
    world = running(A, B, target=2, lost_after=1)
    before: list[Container] = at(world, A)
    change(world, A, quarantine=OTHER_ENGINE)
    world.run()
    assert [row.id for row in at(world, A)] == [row.id for row in before]


def test_containers_say_why() -> None:
    world = running(A, B, target=2)
    change(world, A, quarantine=OTHER_ENGINE)
    stories = explain(world.view(), Policy(), {})
    assert {story.node: story.reason for story in stories} == {"a": Reason.QUARANTINED, "b": Reason.RUNNING}
    assert next(story.remedy for story in stories if story.node == "a") == OTHER_ENGINE.remedy
    change(world, A, quarantine=OLDER_RECORD)
    assert {story.reason for story in explain(world.view(), Policy(), {})} == {Reason.RUNNING}
    world.operate(Verb.STOP)
    world.step()
    assert {story.node: story.reason for story in explain(world.view(), Policy(), {})}["a"] is Reason.QUARANTINED


def test_where_no_other_node_is_up_it_is_said() -> None:
    world = running(A, target=1)
    change(world, A, quarantine=OLDER_RECORD)
    scale(world, 2)
    plan = world.step()
    assert "quarantined" in (plan.waits_for or "")


def test_an_image_is_not_looked_up_where_every_node_is_quarantined() -> None:
    world = World(a_service(), nodes=fleet(A))
    change(world, A, quarantine=OLDER_RECORD)
    world.operate(Verb.START)
    assert render(world.plan()) == "wait: every node that is up is quarantined or paused: see ./tutela node list"
