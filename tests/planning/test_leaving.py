"""A node is lost or drained: who gives up its slot, when, and what goes before what (I2b). Plans as text."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from domain.assignment import FENCED_SECONDS, LOST_SECONDS, RETURN_SECONDS, SILENT_SECONDS
from domain.container import Container, Mount, Observed, Seen, Want
from domain.node import GONE_HOURS, NodeState
from domain.service import ServiceState, Verb, counts, service_state
from domain.spec import CrashPolicy, Strategy
from orchestrator.planning.leaving import replaced_at
from orchestrator.planning.service import plan_service
from orchestrator.planning.steps import LeaveSlot, Plan, RetireContainer, render
from orchestrator.planning.view import Policy
from tests.domain.test_placement import PORT_80
from tests.planning.model import START, World, number
from tests.planning.test_nodes import A, B, C, agents, at, change, cut, fleet, running


def test_a_lost_node_is_waited_for_and_then_its_slots_are_filled_elsewhere() -> None:
    world = running(A, B, autoreplace=CrashPolicy.ALWAYS)
    (lost,) = at(world, B)
    cut(world, B)
    assert render(world.plan()) == "at rest"
    assert world.plan().requeue_at == world.now + timedelta(seconds=15)
    world.now += timedelta(seconds=15)
    assert render(world.step()) == (
        "leave slot of web-2, given up: its node has been silent for too long; it is removed when the node is back\n"
        "create slot 2 (successor): slot 2 is empty\n"
        "wait: its containers leave a node"
    )
    agents(world, but=B)
    assert render(world.plan()) == "at rest"
    assert service_state(world.service, counts(list(world.rows.values()))) is ServiceState.RUNNING
    assert len(at(world, A)) == 2
    change(world, B, state=NodeState.DEPLOYED)
    assert world.rows[lost.id].want is Want.GONE, "the returning agent is told to remove it"
    world.agent()
    assert render(world.step()) == "forget web-2: its node confirmed that it is gone"
    assert {row.slot for row in world.open_rows()} == {1, 2}


def test_what_is_gone_from_a_node_that_is_back_makes_room_there_for_its_successor() -> None:
    """Found by the simulator (seed 315): its own fixed port kept its successor away for ever."""
    world = running(A, B, autoreplace=CrashPolicy.ALWAYS, ports=(PORT_80,))
    (row,) = at(world, B)
    world.rows[row.id] = replace(row, leaving=True, want=Want.GONE, refill=True)
    cut(world, B)
    assert "port 80/tcp taken" in render(world.step()), "no other node has it free any more"
    change(world, B, state=NodeState.DEPLOYED)
    world.agent()
    assert render(world.step()) == (
        "forget web-2: its successor takes its slot\ncreate slot 2 (successor): slot 2 is empty"
    )
    world.run()
    assert {(row.slot, row.want) for row in world.open_rows()} == {(1, Want.RUN), (2, Want.RUN)}


def test_what_no_other_node_can_take_is_best_off_where_it_is() -> None:
    """It runs there, as far as anybody knows: given up, it would be removed when its node is back, for nothing."""
    world = running(A, B, autoreplace=CrashPolicy.ALWAYS, ports=(PORT_80,))
    before = world.open_rows()
    cut(world, B)
    world.now += timedelta(seconds=15)
    plan = world.plan()
    assert render(plan).startswith("wait: web-2: no node can take the container: node a has port 80/tcp taken")
    assert plan.requeue_at == world.now + Policy().blocked_retry
    change(world, B, state=NodeState.DEPLOYED, last_seen=world.now)
    assert render(world.plan()) == "at rest"
    assert world.open_rows() == before
    cut(world, B)
    world.nodes = (*world.nodes, *fleet(C))
    world.now += timedelta(seconds=15)
    assert "leave slot of web-2" in render(world.plan()), "there is one that can"


def test_of_the_lost_as_many_leave_as_find_room() -> None:
    world = running(A, B, C, target=3, autoreplace=CrashPolicy.ALWAYS, ports=(PORT_80,))
    world.nodes = (*world.nodes, replace(world.nodes[0], node_id=number(204), name="d"))
    cut(world, B)
    cut(world, C)
    world.now += timedelta(seconds=15)
    plan = world.step()
    assert [each.name for each in plan.steps if isinstance(each, LeaveSlot)] == ["web-2"]
    world.run()
    assert world.plan().waits_for is not None
    assert {(row.slot, row.want) for row in at(world, C)} == {(3, Want.RUN)}


def test_of_many_that_are_stuck_a_few_are_told_of() -> None:
    world = running(A, B, target=8, autoreplace=CrashPolicy.ALWAYS)
    for row in world.open_rows():
        world.rows[row.id] = replace(row, node_id=B)
    change(world, A, cordoned=True)
    cut(world, B)
    world.now += timedelta(seconds=15)
    told = world.plan().waits_for
    assert told is not None
    assert told.startswith("web-1: no node can take the container: node a is cordoned")
    assert told.endswith("; and 3 more")


def test_room_belongs_to_who_left_before() -> None:
    world = running(A, B, C, target=3, autoreplace=CrashPolicy.ALWAYS, ports=(PORT_80,))
    (before,) = at(world, B)
    world.rows[before.id] = replace(before, leaving=True, want=Want.GONE, refill=True)
    cut(world, B)
    cut(world, C)
    world.now += timedelta(seconds=15)
    world.nodes = (*world.nodes, replace(world.nodes[0], node_id=number(204), name="d"))
    text = render(world.plan())
    assert text.startswith("create slot 2 (successor)")
    assert "wait: web-3: " in text
    world.step()
    assert "wait: web-3: no node can take the container: node a has port 80/tcp taken" in render(world.plan())


def test_a_lost_container_of_a_stopped_service_is_told_to_stop_when_its_node_is_back() -> None:
    world = running(A, B, autoreplace=CrashPolicy.ALWAYS)
    cut(world, B)
    world.operate(Verb.STOP)
    world.now += timedelta(seconds=15)
    assert "leave slot" not in render(world.step())
    agents(world, but=B)
    assert render(world.plan()) == "wait: web-2 has to stop"
    change(world, B, state=NodeState.DEPLOYED)
    world.agent()
    world.run()
    assert {(row.slot, row.want, row.leaving) for row in world.open_rows()} == {
        (1, Want.STOP, False),
        (2, Want.STOP, False),
    }


def test_what_is_stuck_is_looked_at_again_after_an_operation() -> None:
    world = running(A, B, lost_after=60, ports=(PORT_80,))
    cut(world, B)
    world.now += timedelta(seconds=60)
    retry = Policy().blocked_retry
    assert world.plan().requeue_at == world.now + retry
    world.operate(Verb.REDEPLOY)
    while world.service.operation is not None:
        plan = world.step()
        assert plan.requeue_at is not None
        assert plan.requeue_at <= world.now + retry
        agents(world, but=B)
        world.now += timedelta(seconds=100)
    assert world.plan().requeue_at == world.now + retry


def test_after_most_hosts_were_silent_each_has_its_time_to_come_back() -> None:
    """The first one to be heard would be given the containers of all others."""
    world = running(A, B, C, target=3, autoreplace=CrashPolicy.ALWAYS)
    before = world.open_rows()
    for each in (A, B, C):
        cut(world, each)
    world.now += timedelta(minutes=1)
    silent = world.now
    assert "web-1: most hosts are silent at once" in render(world.plan()), "it is not noted yet"
    world.disrupted_at = silent
    assert render(world.plan()) == "at rest"
    change(world, A, state=NodeState.DEPLOYED, last_seen=world.now)
    world.now = silent + timedelta(seconds=RETURN_SECONDS - 1)
    plan = world.plan()
    assert render(plan) == "at rest"
    assert plan.requeue_at == silent + timedelta(seconds=RETURN_SECONDS)
    assert world.open_rows() == before
    change(world, B, state=NodeState.DEPLOYED, last_seen=world.now)
    world.now = silent + timedelta(seconds=RETURN_SECONDS)
    assert render(world.plan()).startswith("leave slot of web-3"), "that one had its time"
    assert "web-2" not in render(world.plan())


def test_hosts_that_have_been_silent_for_a_day_do_not_keep_others_where_they_are() -> None:
    """They are dead, and nobody took them out (decision 27)."""
    world = running(A, B, C, target=3, autoreplace=CrashPolicy.ALWAYS)
    world.nodes += tuple(replace(world.nodes[0], node_id=number(each), name=str(each)) for each in (204, 205))
    for each in (A, B):
        cut(world, each)
    world.now += timedelta(hours=GONE_HOURS, minutes=1)
    cut(world, C)
    world.now += timedelta(minutes=1)
    assert "most hosts are silent" not in render(world.plan())
    assert "leave slot" in render(world.plan())
    for each in (A, B):
        change(world, each, last_seen=world.now - timedelta(hours=1))
    assert "most hosts are silent" in render(world.plan())


def test_without_consent_nothing_is_moved() -> None:
    for autorestart in (CrashPolicy.OFF, CrashPolicy.ALWAYS):
        world = running(A, B, autorestart=autorestart)
        cut(world, B)
        world.now += timedelta(hours=1)
        assert render(world.plan()) == "at rest"
    explicit = running(A, B, lost_after=3)
    cut(explicit, B)
    explicit.now += timedelta(seconds=LOST_SECONDS - 1)
    assert render(explicit.plan()) == "at rest", "others that were cut off with it may not be silent yet"
    explicit.now += timedelta(seconds=1)
    assert "leave slot of web-2" in render(explicit.plan())


def test_a_node_whose_agent_is_heard_is_not_silent_whatever_its_engine_does() -> None:
    world = running(A, B, lost_after=1)
    cut(world, B)
    for _ in range(20):
        world.now += timedelta(seconds=SILENT_SECONDS - 1)
        assert render(world.step()) == "at rest"
        change(world, B, last_seen=world.now)


def test_a_container_with_data_waits_for_its_node() -> None:
    world = running(A, B, autoreplace=CrashPolicy.ALWAYS, lost_after=1)
    for row in world.open_rows():
        world.rows[row.id] = replace(row, spec=replace(row.spec, mounts=(Mount(source="v", target="/d", volume=True),)))
    cut(world, B)
    world.now += timedelta(hours=1)
    assert render(world.plan()) == "at rest"


def test_a_single_writer_is_replaced_only_after_its_agent_has_given_it_up() -> None:
    world = running(A, B, lost_after=1, single_writer=True)
    cut(world, B)
    world.now += timedelta(seconds=FENCED_SECONDS - 1)
    assert render(world.plan()) == "at rest"
    world.now += timedelta(seconds=1)
    assert "leave slot of web-2" in render(world.plan())


def test_a_node_that_was_away_for_a_moment_loses_nothing() -> None:
    world = running(A, B, autoreplace=CrashPolicy.ALWAYS)
    cut(world, B)
    world.now += timedelta(seconds=14)
    world.step()
    change(world, B, state=NodeState.DEPLOYED, last_seen=world.now)
    world.now += timedelta(minutes=1)
    assert render(world.plan()) == "at rest"


def test_a_drain_starts_the_successor_before_the_old_one_stops() -> None:
    world = running(A, B)
    (old,) = at(world, B)
    change(world, B, cordoned=True, draining=True)
    least = 2
    texts = []
    for _ in range(8):
        plan = world.step()
        texts.append(render(plan))
        least = min(least, sum(1 for row in world.open_rows() if row.seen and row.seen.state is Seen.RUNNING))
        world.agent()
        world.now += timedelta(seconds=1)
    assert least == 2
    assert texts[:4] == [
        "leave slot of web-2, running on for a while: its node is drained\ncreate slot 2 (successor): slot 2 is empty\n"
        "wait: its containers leave a node",
        "at rest",  # its successor runs, in its first moment
        "retire web-2: its successor runs\nwait: its containers leave a node",
        "forget web-2: its node confirmed that it is gone",
    ]
    assert at(world, B) == []
    assert len(at(world, A)) == 2
    assert old.id not in {row.id for row in world.open_rows()}


def test_a_drain_with_no_other_node_says_so_and_stops_nothing() -> None:
    world = running(A)
    change(world, A, cordoned=True, draining=True)
    plan = world.plan()
    assert plan.steps == ()
    assert plan.waits_for is not None
    assert plan.waits_for.startswith("web-1: there is no other node; ")


def test_a_drain_that_is_given_up_keeps_what_has_no_successor_yet() -> None:
    world = drained()
    leaver(world)
    change(world, B, cordoned=False, draining=False)
    assert render(world.step()).startswith("keep web-2: its node is not drained any more")
    assert len(at(world, B)) == 1
    assert not any(row.leaving for row in world.open_rows())


def test_a_lost_successor_is_forgotten_where_the_drain_was_given_up_meanwhile() -> None:
    """Its predecessor has the slot, so nothing follows it: it waited for that for ever (seed 24068)."""
    world = running(A, B, lost_after=60)
    (kept,) = at(world, B)
    change(world, B, cordoned=True, draining=True)
    world.step()
    world.step()
    (lost,) = [row for row in world.open_rows() if row.slot == kept.slot and not row.leaving]
    world.rows[lost.id] = replace(lost, leaving=True, refill=True, want=Want.GONE)
    change(world, B, cordoned=False, draining=False)
    assert render(world.step()).startswith("keep web-2: its node is not drained any more")
    world.rows[lost.id] = replace(world.rows[lost.id], seen=Observed(state=Seen.GONE))
    assert "forget web-2: its node confirmed that it is gone" in render(world.step())
    assert [row.id for row in world.open_rows() if row.slot == kept.slot] == [kept.id]


def drained(**spec: object) -> World:
    world = running(A, B, **spec)  # type: ignore[arg-type]
    change(world, B, cordoned=True, draining=True)
    return world


def test_what_does_not_serve_leaves_a_drained_node_before_its_successor_is_made() -> None:
    ended = drained()
    (row,) = at(ended, B)
    ended.see(row.slot, Seen.EXITED, exit_code=0)
    assert render(ended.plan()).startswith("retire web-2 to refill: its node is drained")
    (step,) = ended.plan().steps
    assert isinstance(step, RetireContainer)
    assert step.keep_volumes
    assert "retire web-2 to refill: its node is drained" in render(drained(single_writer=True).plan())


def test_what_is_stopped_on_a_drained_node_just_goes() -> None:
    world = running(A, B)
    world.operate(Verb.STOP)
    world.run()
    change(world, B, cordoned=True, draining=True)
    assert render(world.plan()) == "retire web-2: its node is drained"
    (step,) = world.plan().steps
    assert isinstance(step, RetireContainer)
    assert not step.keep_volumes
    single = running(A, B)
    (row,) = at(single, B)
    single.rows[row.id] = replace(row, want=Want.STOP)
    change(single, B, cordoned=True, draining=True)
    assert render(single.plan()).startswith("retire web-2: its node is drained")


def leaver(world: World) -> Container:
    """One that left its slot, and has no successor: that lost its room, or was given up."""
    (row,) = at(world, B)
    left = world.rows[row.id] = replace(row, leaving=True, refill=True)
    return left


def retired(plan: Plan) -> list[tuple[UUID, bool]]:
    """Whom the plan retires, and whether its volumes are kept."""
    return [(each.container_id, each.keep_volumes) for each in plan.steps if isinstance(each, RetireContainer)]


def test_what_runs_on_for_its_successor_goes_when_nothing_is_to_follow() -> None:
    less = drained()
    leaver(less)
    less.service = replace(less.service, target=1)
    assert "retire web-2 to refill: its slot is not wanted any more" in render(less.plan())
    stopped = drained()
    row = leaver(stopped)
    stopped.operate(Verb.STOP)
    plan = stopped.plan()
    assert "retire web-2 to refill: its slot is not wanted any more" in render(plan)
    assert retired(plan) == [(row.id, True)]


def test_what_runs_on_for_its_successor_goes_when_it_ends_or_its_node_is_lost() -> None:
    world = drained(lost_after=60)
    row = leaver(world)
    world.rows[row.id] = replace(row, seen=Observed(state=Seen.EXITED, start_gen=1))
    assert render(world.plan()).startswith("retire web-2 to refill: it does not run any more")
    world.rows[row.id] = row
    cut(world, B)
    world.now += timedelta(seconds=59)
    assert "retire" not in render(world.plan())
    world.now += timedelta(seconds=1)
    assert "retire web-2 to refill: it does not run any more" in render(world.plan())


def test_a_successor_counts_when_it_runs_and_its_first_moment_is_over() -> None:
    world = drained()
    leaver(world)
    assert render(world.step()) == "create slot 2 (successor): slot 2 is empty"
    for seen in (None, Observed(state=Seen.CREATED), Observed(state=Seen.RUNNING, start_gen=1, settling=True)):
        (new,) = [row for row in world.open_rows() if row.slot == 2 and not row.leaving]
        world.rows[new.id] = replace(new, seen=seen)
        assert render(world.plan()) == "at rest"
    world.rows[new.id] = replace(new, seen=Observed(state=Seen.RUNNING, start_gen=1))
    assert render(world.plan()).startswith("retire web-2: its successor runs")


def test_a_successor_that_is_on_its_way_out_holds_the_slot() -> None:
    world = drained()
    leaver(world)
    world.step()
    (new,) = [row for row in world.open_rows() if row.slot == 2 and not row.leaving]
    world.rows[new.id] = replace(new, want=Want.GONE)
    change(world, B, cordoned=False, draining=False)
    assert "keep" not in render(world.plan()), "two would hold one slot"
    world.rows[new.id] = replace(new, want=Want.GONE, terminated_at=world.now)
    assert render(world.plan()).startswith("keep web-2")


def test_when_a_silent_node_loses_its_slots() -> None:
    world = running(A, B, lost_after=60)
    (row,) = at(world, B)
    policy = Policy()

    def due(**view: object) -> timedelta | None:
        found = replaced_at(replace(world.view(), **view), row, policy)  # type: ignore[arg-type]
        return found - START if found else None

    def spec(**changes: object) -> dict[str, object]:
        service = world.service
        return {"service": replace(service, spec=replace(service.spec, **changes))}  # type: ignore[arg-type]

    assert due() is None, "it is heard"
    change(world, B, state=NodeState.UNREACHABLE, last_seen=START)
    assert due() == timedelta(seconds=60)
    assert due(disrupted_at=START + timedelta(seconds=9)) == timedelta(seconds=9 + RETURN_SECONDS)
    assert due(disrupted_at=START - timedelta(seconds=9)) == timedelta(seconds=60)
    assert due(**spec(lost_after=86_400), disrupted_at=START + timedelta(hours=1)) == timedelta(days=1)
    assert due(**spec(lost_after=1)) == timedelta(seconds=LOST_SECONDS)
    assert due(**spec(lost_after=1, single_writer=True)) == timedelta(seconds=FENCED_SECONDS)
    assert due(**spec(lost_after=99, single_writer=True)) == timedelta(seconds=99)
    assert due(**spec(lost_after=None)) is None
    assert due(**spec(lost_after=None, autoreplace=CrashPolicy.ON_FAILURE)) == policy.lost_after
    assert due(**spec(deployment_strategy=Strategy.EVERY_NODE)) is None
    row = replace(row, spec=replace(row.spec, single_writer=True))
    assert due(**spec(lost_after=1)) == timedelta(seconds=FENCED_SECONDS), "its container still is one"
    change(world, B, last_seen=None)
    assert due() is None
    assert due(nodes=()) is None


def test_nothing_leaves_before_it_is_known_what_a_successor_is_made_of() -> None:
    world = drained()
    world.service = replace(world.service, image=None)
    assert render(world.plan()) == "at rest"
    world.operate(Verb.STOP)
    assert render(world.plan()).startswith("retire web-2: its node is drained"), "a stopped one needs no successor"


def test_what_cannot_leave_says_so_for_each_and_is_looked_at_again() -> None:
    world = drained()
    change(world, A, cordoned=True, draining=True)
    plan = world.plan()
    cordoned = "is cordoned: it takes no new containers until it is uncordoned"
    assert render(plan) == (
        f"wait: web-1: no node can take the container: node b {cordoned};"
        f" web-2: no node can take the container: node a {cordoned}"
    )
    assert plan.requeue_at == world.now + timedelta(seconds=5)


def test_all_that_leave_a_node_do_so_in_the_order_of_their_slots() -> None:
    world = running(A, B, target=4)
    change(world, B, cordoned=True, draining=True)
    assert [line.split(",")[0] for line in render(world.step()).splitlines()[:2]] == [
        "leave slot of web-2",
        "leave slot of web-4",
    ]
    world.step()
    agents(world, but=B)
    view = world.view()
    text = render(plan_service(view, Policy()))
    assert [line.split(":")[0] for line in text.splitlines()[:2]] == ["retire web-2", "retire web-4"]
    assert render(plan_service(replace(view, containers=tuple(reversed(view.containers))), Policy())) == text
    world.run()
    assert len(at(world, A)) == 4


def test_an_empty_slot_that_finds_no_node_is_tried_again() -> None:
    world = running(A, target=1, autoreplace=CrashPolicy.ALWAYS)
    world.see(1, Seen.EXITED, exit_code=1)
    world.step()
    world.agent()
    change(world, A, cordoned=True)
    plan = world.plan()
    assert (plan.waits_for or "").startswith("slot 1: no node can take the container: node a is cordoned")
    assert plan.requeue_at == world.now + timedelta(seconds=5)
