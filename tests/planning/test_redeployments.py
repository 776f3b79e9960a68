"""Redeployments and new definitions by name: what is replaced, one at a time, and what halts that (I7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from domain.container import FIRST_MOMENT, Mount, Observed, Seen, Want
from domain.image import Pull
from domain.node import Candidate, NodeState
from domain.pause import Pause
from domain.placement import fixed_ports
from domain.service import Effect, Operation, ServiceState, Verb
from domain.spec import CrashPolicy, PortSpec, ServiceSpec, Transport
from orchestrator.planning.service import plan_service
from orchestrator.planning.settled import serving
from orchestrator.planning.steps import RequestImage, render
from tests.planning.model import NODE, POLICY, START, World, a_service, number
from tests.planning.test_golden import running, state, update


def test_a_slot_is_not_filled_before_its_last_container_is_gone() -> None:
    """Of which there may never be two, of which two would have one volume's name, and what moves to another node."""
    for how in ("alone", "volumes", "elsewhere"):
        world = running(target=1)
        world.operate(Verb.REDEPLOY)
        world.step()
        world.agent()
        if how == "alone":
            world.service = replace(world.service, spec=replace(world.service.spec, single_writer=True))
        elif how == "volumes":
            (row,) = world.open_rows()
            mount = Mount(source="tutela-1", target="/data", volume=True, own=True)
            world.rows[row.id] = replace(row, spec=replace(row.spec, mounts=(mount,)))
            assert world.service.operation is not None
            operation = replace(world.service.operation, reuse_volumes=False)
            world.service = replace(world.service, operation=operation)
        else:
            world.nodes = (
                replace(world.nodes[0], load=5),
                Candidate(node_id=number(5), name="n2", state=NodeState.DEPLOYED),
            )
        assert "retire web-1" in render(world.step()), how
        assert "create" not in render(world.plan()), how
        world.agent()
        assert "forget web-1" in render(world.plan()), how
        assert "create slot 1:" in render(world.plan()), how


def handed_over() -> World:
    """Slot 1 has a successor, and its predecessor has not ended yet."""
    world = running(target=2)
    world.operate(Verb.REDEPLOY)
    world.step()
    world.agent()
    world.step()
    return world


def test_a_successor_on_the_same_node_is_made_beside_its_predecessor() -> None:
    world = running(target=2)
    world.operate(Verb.REDEPLOY)
    world.step()
    world.agent()
    old = next(row for row in world.open_rows() if row.slot == 1)
    assert render(world.step()).splitlines()[1:] == [
        "leave slot of web-1, given up: it is of an older definition or deployment",
        "create slot 1 (beside its predecessor): web-1 is replaced",
        "wait: its containers are being changed",
    ]
    new = next(row for row in world.open_rows() if row.slot == 1 and not row.leaving)
    assert (new.follows, new.node_id) == (old.id, old.node_id)
    assert render(world.plan()) == "wait: web-1, web-2 have to settle"


def test_what_a_predecessor_on_its_way_out_reserves_is_not_counted_twice() -> None:
    """Slot 2 would not find the room for its successor otherwise, and the redeployment would fail."""
    world = handed_over()
    new = next(row for row in world.open_rows() if row.slot == 1 and not row.leaving)
    seen = Observed(state=Seen.RUNNING, start_gen=new.start_gen, started_at=world.now)
    world.rows[new.id] = replace(new, seen=seen)
    spec = replace(world.service.spec, memory=10)
    world.service = replace(world.service, spec=spec)
    for row in world.open_rows():
        world.rows[row.id] = replace(row, spec=replace(row.spec, memory=10))
    world.nodes = (replace(world.nodes[0], memory=20, reserved_memory=30),)
    assert "create slot 2 (beside its predecessor)" in render(world.plan())
    world.nodes = (replace(world.nodes[0], memory=19, reserved_memory=30),)
    assert "no node can take the container" in render(world.plan())


def test_the_port_of_a_predecessor_that_is_gone_is_its_successors() -> None:
    """Taken for free, it would bring a container there that can never have it: each pass would fail (review)."""
    port = PortSpec(protocol=Transport.TCP, inner_port=80, outer_port=80, published=True)
    world = running(target=1, spec=ServiceSpec(image="tutela/web:latest", ports=(port,)))
    world.operate(Verb.REDEPLOY)
    world.step()
    world.agent()
    world.step()
    old = next(row for row in world.open_rows() if row.leaving)
    world.rows[old.id] = replace(old, seen=Observed(state=Seen.GONE, start_gen=1))
    world.service = replace(world.service, target=2)
    view = world.view()
    taken = replace(view.nodes[0], taken=fixed_ports(world.service.spec))
    plan = plan_service(replace(view, nodes=(taken,)), POLICY)
    assert "create" not in render(plan)


def test_a_slot_is_not_empty_before_successor_and_predecessor_are_gone() -> None:
    """Else a third could begin on another node while the first is in the grace of its stop."""
    world = handed_over()
    old = next(row for row in world.open_rows() if row.leaving)
    new = next(row for row in world.open_rows() if row.follows == old.id)
    gone = Observed(state=Seen.GONE, start_gen=1)
    world.rows[new.id] = replace(new, want=Want.GONE, refill=True, seen=gone)
    ran = replace(world.rows[new.id], seen=replace(gone, started_at=world.now))
    world.nodes = (replace(world.nodes[0], load=5), Candidate(node_id=number(5), name="n2", state=NodeState.DEPLOYED))
    assert not world.plan().steps
    # One that ran found the other ended: a removal that sticks keeps the slot empty for nobody.
    world.rows[new.id] = ran
    assert [type(step).__name__ for step in world.plan().steps] == ["ForgetContainer", "CreateContainer"]
    world.rows[new.id] = replace(ran, seen=gone)
    world.rows[old.id] = replace(old, seen=gone)
    steps = [type(step).__name__ for step in world.plan().steps]
    assert steps == ["ForgetContainer", "ForgetContainer", "CreateContainer"]


def test_a_redeployment_replaces_one_at_a_time() -> None:
    world = running(target=3)
    world.image_version = 2
    world.operate(Verb.REDEPLOY)
    least = 3
    for _ in range(40):
        world.step()
        least = min(least, sum(1 for row in world.open_rows() if serving(row)))
        world.agent()
        world.now += FIRST_MOMENT
    assert least == 2
    assert {row.spec.image_id for row in world.open_rows()} == {"sha256:2"}
    assert world.ended[-1][1] is True


def test_a_redeployment_with_a_bad_image_keeps_everything() -> None:
    world = running()
    before = dict(world.rows)
    world.image_error = "pull access denied"
    world.operate(Verb.REDEPLOY)
    world.run()
    assert world.rows == before
    assert world.ended[-1][1:] == (False, "pull access denied")


def test_a_redeployment_halts_at_the_first_new_container_that_fails() -> None:
    world = running(target=3)
    world.operate(Verb.REDEPLOY)
    world.step()
    world.agent()
    world.step()
    world.agent()
    world.step()
    world.see(1, Seen.FAILED, message="exec: not found")
    world.run()
    assert world.ended[-1][1:] == (False, "web-1: exec: not found")
    assert sorted(row.deploy_gen for row in world.open_rows()) == [1, 1, 2]


def first_renewed(world: World) -> int:
    """Redeploy until the first new container runs, in its first moment; its slot."""
    world.operate(Verb.REDEPLOY)
    while not any(row.deploy_gen == 2 for row in world.open_rows()):
        world.step()
        world.agent()
    new = next(row.slot for row in world.open_rows() if row.deploy_gen == 2)
    world.see(new, Seen.RUNNING, started_at=world.now, settling=True)
    return new


def test_a_redeployment_does_not_count_on_a_container_in_its_first_moment() -> None:
    world = running(target=2)
    new = first_renewed(world)
    world.now += timedelta(minutes=1)
    assert "slot" not in render(world.plan()), "time alone proves nothing: its end may not have been told yet"
    assert (world.plan().waits_for or "").endswith("to settle")
    world.see(new, Seen.RUNNING, started_at=world.now)
    assert "leave slot of web-2" in render(world.plan())


def test_a_redeployment_halts_at_what_ended_in_its_first_moment_however_late_that_is_told() -> None:
    world = running(target=3)
    new = first_renewed(world)
    world.now += timedelta(minutes=5)
    world.step()
    world.see(new, Seen.EXITED, exit_code=1)
    world.run()
    assert world.ended[-1][1] is False
    assert sorted(row.deploy_gen for row in world.open_rows()) == [1, 1, 2]


def test_a_start_of_what_cannot_run_fails_though_it_was_seen_to_run_for_a_moment() -> None:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    while not world.open_rows():
        world.step()
        world.agent(only=0)
    world.see(1, Seen.RUNNING, started_at=world.now, settling=True)
    assert (world.plan().waits_for or "").endswith("to settle")
    world.see(1, Seen.EXITED, exit_code=127)
    world.step()
    assert world.ended[-1][1] is False


def test_a_redeployment_right_after_the_start_replaces_all_the_same() -> None:
    world = running(target=2)
    for slot in (1, 2):
        world.see(slot, Seen.RUNNING, started_at=world.now, settling=True)
    world.operate(Verb.REDEPLOY)
    world.run()
    assert {row.deploy_gen for row in world.open_rows()} == {2}


def test_a_redeployment_that_finds_no_room_ends_with_the_rest_as_it_was() -> None:
    world = running(target=2)
    world.operate(Verb.REDEPLOY)
    world.service = replace(world.service, spec=replace(world.service.spec, tags=("nowhere",)))
    world.run()
    (_, well, message) = world.ended[-1]
    assert not well
    assert message is not None
    assert "has no tag nowhere" in message
    assert len(world.open_rows()) == 2


def test_a_stopped_container_with_an_old_definition_is_replaced_at_the_next_start() -> None:
    world = running(target=1)
    world.operate(Verb.STOP)
    world.run()
    assert update(world, env=(("A", "1"),)) is Effect.STORED
    world.operate(Verb.START)
    assert "retire web-1: it is of an older definition or deployment" in world.run()
    assert [row.spec.user_env for row in world.open_rows()] == [(("A", "1"),)]


def test_a_changed_definition_of_a_running_service_redeploys_by_itself() -> None:
    world = running()
    assert update(world, env=(("A", "2"),)) is Effect.BEGUN
    assert state(world) is ServiceState.REDEPLOYING
    assert "request image" not in world.run()
    assert {row.spec.user_env for row in world.open_rows()} == {(("A", "2"),)}


def test_a_redeployment_that_has_nothing_to_replace_needs_no_image() -> None:
    world = running(target=1)
    world.rows.clear()
    operation = Operation(
        verb=Verb.REDEPLOY, actions=(number(9),), since=world.now, image_request=number(9), pull=Pull.ALWAYS
    )
    world.service = replace(world.service, target=0, operation=operation)
    assert render(world.plan()) == "finish well: all containers are as wanted"
    world.service = replace(world.service, image=None)
    assert render(world.plan()) == "finish well: all containers are as wanted"


def test_a_redeployment_for_which_no_node_is_up_waits_with_the_reason() -> None:
    world = running(target=2, spec=ServiceSpec(image="tutela/web:latest", single_writer=True))
    world.operate(Verb.REDEPLOY)
    world.step()
    world.agent(only=0)
    world.step()
    world.agent()
    world.nodes = tuple(replace(node, state=NodeState.UNREACHABLE) for node in world.nodes)
    plan = world.plan()
    assert plan.waits_for == "slot 1: no node can take the container: node n1 is Unreachable"
    assert plan.requeue_at == world.now + timedelta(seconds=5)


def test_the_image_is_looked_up_by_the_first_node_that_may_run_it_and_that_is_told_things() -> None:
    pause = Pause(by="ann", since=START)
    nodes = tuple(
        Candidate(node_id=number(n), name=name, state=NodeState.DEPLOYED, paused=pause if name == "a" else None)
        for n, name in ((3, "c"), (2, "b"), (1, "a"))
    )
    world = World(a_service(), nodes=nodes)
    world.operate(Verb.START)
    (step,) = world.plan().steps
    assert isinstance(step, RequestImage)
    assert (step.node_id, step.request_id, step.pull) == (number(2), number(101), Pull.MISSING)
    world.nodes = nodes[2:]
    assert render(world.plan()) == "wait: every node that is up is paused: resume one"
    world.nodes = tuple(replace(node, state=NodeState.UNREACHABLE) for node in nodes)
    assert render(world.plan()) == "wait: no node is up: start an agent, or wait for it to come back"


def test_a_sequential_redeployment_halts_and_starts_nothing_more() -> None:
    world = running(target=3, spec=ServiceSpec(image="tutela/web:latest", sequential_deployment=True))
    world.operate(Verb.STOP)
    world.run()
    world.operate(Verb.START)
    assert render(world.plan()).splitlines()[0] == "start web-1: the service is started"
    world.step()
    assert render(world.plan()) == "wait: web-1 has to settle", "one after the other"
    world.see(1, Seen.EXITED, exit_code=1)
    assert render(world.plan()).startswith("finish failed (web-1 ended with exit code 1")


def test_what_is_down_anyway_is_replaced_at_once_and_what_serves_within_the_budget() -> None:
    world = running(target=4)
    for slot in (2, 3):
        world.see(slot, Seen.EXITED, exit_code=1)
    world.operate(Verb.REDEPLOY)
    world.step()
    world.agent(only=9)
    world.agent(only=0)
    text = render(world.step())
    assert "retire web-2" in text
    assert "retire web-3" in text
    assert "retire web-1" not in text, "two are missed already"
    assert "retire web-4" not in text


def test_old_volumes_go_along_only_when_they_are_to_be_used_again() -> None:
    for reuse in (True, False):
        world = running(target=1)
        world.operate(Verb.REDEPLOY)
        assert world.service.operation is not None
        operation = replace(world.service.operation, image_request=None, reuse_volumes=reuse)
        world.service = replace(world.service, operation=operation)
        (row,) = world.open_rows()
        mount = Mount(source="tutela-1", target="/data", volume=True, own=True)
        world.rows[row.id] = replace(row, spec=replace(row.spec, mounts=(mount,)))
        steps = world.plan().steps
        assert [getattr(step, "keep_volumes", True) for step in steps] == ([True, True] if reuse else [False])


def test_what_serves_stays_where_its_successor_cannot_run() -> None:
    world = running(target=1)
    other = Candidate(node_id=number(5), name="n2", state=NodeState.DEPLOYED)
    world.nodes = (replace(world.nodes[0], cordoned=True), other)
    world.operate(Verb.REDEPLOY)
    assert world.service.operation is not None
    world.service = replace(world.service, operation=replace(world.service.operation, image_request=None))
    view = replace(world.view(), pinned={1: NODE})
    plan = plan_service(view, POLICY)
    assert render(plan) == (
        "finish failed (slot 1: no node can take the container: node n1 is cordoned: it takes no new containers until"
        " it is uncordoned): not all containers could be started"
    )
    assert "retire web-1" in render(plan_service(replace(view, pinned={}), POLICY))


def test_a_successor_takes_the_memory_of_replacements_along() -> None:
    world = running(target=1, spec=ServiceSpec(image="tutela/web:latest", autoreplace=CrashPolicy.ALWAYS))
    world.see(1, Seen.EXITED, exit_code=1, finished_at=world.now)
    at = world.now
    world.step()
    world.agent()
    world.step()
    (row,) = world.open_rows()
    assert row.replaced == (at,)
