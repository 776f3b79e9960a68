"""Nobody looks at a service without a reason: what a plan leaves to do has one. Each of these was found by reading."""

from __future__ import annotations

from dataclasses import replace

from domain.container import Observed, Seen, Want
from domain.service import ServiceState, Verb, counts, finish, service_state
from domain.spec import Strategy, Transport
from orchestrator.planning.service import plan_service
from orchestrator.planning.steps import render
from orchestrator.planning.view import Policy
from tests.domain.test_placement import PORT_80
from tests.planning.model import World, a_service
from tests.planning.test_leaving import drained, leaver
from tests.planning.test_nodes import A, B, C, at, change, fleet, running

POLICY = Policy()


def test_what_waited_for_others_of_its_stack_in_vain_goes_on_by_itself() -> None:
    """It stayed Terminating for ever, and its containers ran."""
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.run()
    world.operate(Verb.TERMINATE)
    view = replace(world.view(), behind=("web",), now=world.now + POLICY.deadline)
    plan = plan_service(view, POLICY)
    assert render(plan).startswith("finish failed (gave up after 10 minutes: web did not finish first)")
    assert plan.requeue_at == view.now
    after = replace(view, service=finish(view.service), behind=())
    assert render(plan_service(after, POLICY)).startswith("retire web-1: the service is terminated")


def test_a_node_without_room_keeps_none_of_the_others_without_a_container() -> None:
    world = World(
        a_service(spec=replace(a_service().spec, deployment_strategy=Strategy.EVERY_NODE, ports=(PORT_80,))),
        nodes=(*fleet(A, taken=frozenset({(Transport.TCP, 80)})), *fleet(B, C)),
    )
    world.operate(Verb.START)
    world.run()
    assert [len(at(world, each)) for each in (A, B, C)] == [0, 1, 1]
    _, well, why = world.ended[-1]
    assert not well
    assert why is not None
    assert "node a has port 80/tcp taken" in why
    plan = world.plan()
    assert plan.requeue_at == world.now + POLICY.blocked_retry, "the port may be free one day"
    change(world, A, taken=frozenset())
    world.run()
    assert [len(at(world, each)) for each in (A, B, C)] == [1, 1, 1]


def test_a_service_for_every_node_is_looked_at_once_more_after_an_operation() -> None:
    """It fills its slots at rest as well: what the operation could not place is placed when there is room."""
    world = running(A, B, target=1, deployment_strategy=Strategy.EVERY_NODE)
    world.operate(Verb.STOP)
    world.step()
    world.agent()
    plan = world.step()
    assert render(plan).startswith("finish well")
    assert plan.requeue_at == world.now


def test_of_two_that_left_one_slot_one_has_it_again() -> None:
    """Both were to have it, and the pass failed for ever."""
    world = drained()
    first = leaver(world)
    world.step()
    (second,) = [row for row in world.open_rows() if row.slot == first.slot and not row.leaving]
    runs = Observed(state=Seen.RUNNING, start_gen=1)
    world.rows[second.id] = replace(second, leaving=True, seen=runs)
    change(world, B, cordoned=False, draining=False)
    assert render(world.step()).count("keep web-2") == 1
    world.run()
    assert [row.want for row in world.open_rows() if row.slot == first.slot] == [Want.RUN]
    assert not [row for row in world.open_rows() if row.leaving]


def test_what_left_its_slot_has_it_again_when_its_successor_goes() -> None:
    """It ran on, was shown as Terminating, and counted as nobody's."""
    world = drained()
    old = leaver(world)
    world.step()
    (new,) = [row for row in world.open_rows() if row.slot == old.slot and not row.leaving]
    world.rows[new.id] = replace(new, want=Want.GONE, seen=Observed(state=Seen.GONE))
    change(world, B, cordoned=False, draining=False)
    plan = world.step()
    assert "forget web-2" in render(plan)
    assert plan.requeue_at == world.now
    assert "keep web-2" in render(world.step())
    assert service_state(world.service, counts(list(world.rows.values()))) is ServiceState.RUNNING


def test_a_start_starts_what_was_started_by_itself_before_and_has_ended() -> None:
    """The action said Success, or that it had failed right after its start, and nothing was started."""
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.run()
    (row,) = world.open_rows()
    world.see(1, Seen.EXITED, exit_code=0)
    world.order(world.rows[row.id], Verb.START)
    world.run()
    world.see(1, Seen.EXITED, exit_code=0)
    world.operate(Verb.START)
    assert "start web-1: the service is started" in world.run()
