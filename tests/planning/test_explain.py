"""Why a slot is as it is: a reason for every state, and the words that help."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.container import Mount, Observed, Seen, Want
from domain.links import Source
from domain.networks import Form
from domain.node import NodeState
from domain.pause import Pause
from domain.placement import place
from domain.service import ServiceWant, Verb
from domain.spec import CrashPolicy, ServiceSpec
from orchestrator.planning.explain import LinkStory, Reason, SlotStory, explain
from orchestrator.planning.view import LinkedService, Policy
from tests.planning.model import START, World, a_service, an_image, number
from tests.planning.test_nodes import A, B, change, cut, fleet, running

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
    assert reasons(consenting) == [Reason.RUNNING, Reason.PENDING, Reason.LEAVING]


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
    bound = stories(world)[1]
    assert (bound.text, bound.remedy) == (
        "node b is being drained, and its data is there", "terminate it, or uncordon the node",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "remedy"),
    [
        (Observed(state=Seen.PENDING), ""),
        (Observed(state=Seen.PULLING), "if it takes long: check the registry and the node's connection to it"),
        (Observed(state=Seen.FAILED, start_gen=9), "mend the cause and start it"),
        (Observed(state=Seen.EXITED, start_gen=9, exit_code=0), "start it to run it again"),
        (
            Observed(state=Seen.EXITED, start_gen=9, exit_code=1),
            "see its logs; with autorestart it is started again by itself",
        ),
        (Observed(state=Seen.RUNNING, start_gen=9), ""),
    ],
)
def test_what_helps_a_container(seen: Observed, remedy: str) -> None:
    world = running(A, target=1)
    (row,) = world.open_rows()
    world.rows[row.id] = replace(row, seen=seen)
    assert stories(world)[0].remedy == remedy


def test_what_helps_where_the_node_is_away() -> None:
    world = running(A, target=1)
    (row,) = world.open_rows()
    cut(world, A)
    away = "node a does not answer; what is shown of the container may be out of date"
    assert (stories(world)[0].text, stories(world)[0].remedy) == (
        f"{away}. It waits for the node: nobody allowed to run it twice",
        "bring the node back; with lost_after or autoreplace its slot would be filled elsewhere",
    )
    world.rows[row.id] = replace(row, spec=replace(row.spec, mounts=(Mount(source="v", target="/d", volume=True),)))
    assert (stories(world)[0].text, stories(world)[0].remedy) == (
        f"{away}. Its data is there, so it waits for the node",
        "bring the node back",
    )
    moved = running(A, target=1, lost_after=60)
    cut(moved, A)
    at = moved.now + timedelta(seconds=60)
    assert (stories(moved)[0].text, stories(moved)[0].remedy) == (
        f"{away}. Its slot is filled elsewhere from {at:%H:%M:%S} UTC on", "",
    )  # fmt: skip
    moved.now = at
    assert (stories(moved)[0].text, stories(moved)[0].remedy) == (
        f"{away}. Its slot is filled elsewhere as soon as another node can take it",
        "bring the node back, or let another host join",
    )
    moved = running(A, target=1, lost_after=60)
    cut(moved, A)
    moved.disrupted_at = moved.now
    assert "most hosts" not in stories(moved)[0].text, "its own time is as long"
    moved.now += timedelta(seconds=30)
    moved.disrupted_at, at = moved.now, moved.now + timedelta(seconds=60)
    assert (stories(moved)[0].text, stories(moved)[0].remedy) == (
        f"{away}. Its slot is filled elsewhere from {at:%H:%M:%S} UTC on: most hosts were silent until"
        f" {moved.now:%H:%M:%S}, and each has its time from then on",
        "bring the hosts back; take out those that are gone for good: ./tutela node remove NAME",
    )


def one(world: World, paused: Pause | None = None, **view: object) -> SlotStory:
    (story,) = explain(replace(world.view(), **view), POLICY, {}, WAITS, paused)  # type: ignore[arg-type]
    return story


WAITS = START + timedelta(minutes=7)
BY = Pause(since=START + timedelta(minutes=8), by="ann")


def test_an_empty_slot_says_who_fills_it() -> None:
    world = World(a_service(target=1), nodes=fleet(A))
    assert one(world) == SlotStory(
        slot=1, reason=Reason.NOT_STARTED, text="it was never started", wanted="nothing", remedy="start it", since=WAITS
    )
    world.operate(Verb.START)
    behind = one(world, behind=("db", "cache"))
    assert (behind.reason, behind.text, behind.since) == (
        Reason.STACK_ORDER,
        "db, cache has to finish first: the stack's links say so",
        START,
    )
    assert one(world).text == "the image tutela/web:latest is being looked up"
    assert one(world).remedy == "if it takes long: check the registry"
    world.service = replace(world.service, image=an_image(world.service.spec))
    placing = one(world)
    assert (placing.reason, placing.text, placing.wanted) == (Reason.PLACING, "the next pass places it", "container")
    assert [verdict.node for verdict in placing.verdicts] == ["a"]
    spec = replace(world.service.spec, sequential_deployment=True)
    turn = one(world, service=replace(world.service, spec=spec))
    assert (turn.reason, turn.text) == (Reason.TURN, "containers of a sequential service start one after the other")
    assert [verdict.node for verdict in turn.verdicts] == ["a"]
    nowhere = one(world, nodes=())
    assert (nowhere.reason, nowhere.text, nowhere.verdicts) == (
        Reason.NO_NODE, "no node has joined yet: start an agent", (),
    )  # fmt: skip
    assert nowhere.remedy == "let a host join: POST /api/v1/token/ and `./tutela agent join` on the host"
    stopped = one(world, service=replace(world.service, want=ServiceWant.STOPPED, operation=None))
    assert (stopped.reason, stopped.text, stopped.wanted) == (Reason.STOPPED, "the service is stopped", "nothing")


def test_a_slot_whose_container_was_taken_for_good_is_filled_when_somebody_asks() -> None:
    world = running(A, target=1)
    (row,) = world.open_rows()
    world.rows.clear()
    gone = one(world)
    assert (gone.reason, gone.wanted, gone.remedy) == (Reason.EMPTY, "nothing until then", "scale or start the service")
    assert gone.text == "its container was terminated, or destroyed itself; a slot is filled by an operation"
    (failed,) = explain(world.view(), POLICY, {}, failed="image app:1: there is none")
    assert (failed.reason, failed.text) == (Reason.EMPTY, "the last operation failed: image app:1: there is none")
    assert failed.remedy == "mend that, then scale or start the service"
    assert one(world, nodes=()).reason is Reason.EMPTY, "no node is no reason where nothing is to be placed"
    world.rows[row.id] = replace(row, leaving=True, refill=True)
    filled, leaving = stories(world)
    assert (filled.reason, leaving.reason) == (Reason.PLACING, Reason.LEAVING)


def test_what_a_failed_redeployment_left_running_says_what_it_failed_for() -> None:
    world = running(A, target=1)
    world.image_error = "the registry does not have the image"
    world.operate(Verb.REDEPLOY)
    world.run()
    _, well, why = world.ended[-1]
    assert not well
    (told,) = explain(world.view(), POLICY, {}, failed=why)
    assert (told.reason, told.remedy) == (Reason.RUNNING, "mend that, then redeploy the service")
    assert told.text == f"it runs as it was before the last operation, which failed: {world.image_error}"
    assert one(world).text == "it runs", "a later operation went well"


@pytest.mark.parametrize(
    ("refused", "remedy"),
    [
        ({"state": NodeState.UNREACHABLE}, "bring the node back, or let another host join"),
        ({"paused": BY}, "resume the node, or let another host join"),
        ({"cordoned": True}, "uncordon the node, or let another host join"),
        ({"disk_full": True}, "free disk space on the node"),
    ],
)
def test_what_helps_a_slot_that_finds_no_node(refused: dict[str, object], remedy: str) -> None:
    world = World(a_service(target=1), nodes=(*fleet(A, **refused), *fleet(B, state=NodeState.UNREACHABLE)))
    world.operate(Verb.START)
    world.service = replace(world.service, image=an_image(world.service.spec))
    story = one(world)
    assert (story.reason, story.remedy) == (Reason.NO_NODE, remedy)
    assert len(story.verdicts) == 2
    assert one(world, service=replace(world.service, operation=None)).remedy == (
        f"{remedy}; then start or scale the service"
    )


def test_what_only_a_pass_can_move_on_waits_for_who_paused_it() -> None:
    world = World(a_service(target=1), nodes=fleet(A))
    world.operate(Verb.START)
    held = one(world, BY)
    assert (held.reason, held.since, held.remedy) == (Reason.PAUSED, BY.since, "resume it: ./tutela admin resume")
    assert held.text == (
        "no passes are made for it: paused by ann. When it is resumed: the image tutela/web:latest is being looked up"
    )
    world.run()
    assert one(world, BY).reason is Reason.RUNNING, "what runs waits for nothing"
    world.operate(Verb.STOP)
    assert one(world, BY).reason is Reason.PAUSED, "no pass has told it to stop yet"
    world.step()
    assert one(world, BY).reason is Reason.STOPPING
    world.run()
    world.operate(Verb.START)
    assert one(world, BY).reason is Reason.PAUSED
    world.run()
    world.operate(Verb.REDEPLOY)
    assert one(world, BY).reason is Reason.PAUSED, "the operation has not come to it"
    (row,) = world.open_rows()
    world.rows[row.id] = replace(row, deploy_gen=world.service.deploy_gen)
    assert one(world, BY).reason is Reason.RUNNING


def test_a_node_that_is_paused_is_told_nothing_new() -> None:
    world = running(A, target=1)
    change(world, A, paused=BY)
    (row,) = world.open_rows()
    assert one(world).reason is Reason.RUNNING
    world.rows[row.id] = replace(row, start_gen=row.start_gen + 1)
    held = one(world)
    assert (held.reason, held.text, held.remedy, held.since) == (
        Reason.PAUSED,
        "node a is paused by ann: it is told nothing new",
        "resume it: ./tutela admin resume",
        BY.since,
    )
    world.rows[row.id] = replace(row, want=Want.STOP)
    assert one(world).reason is Reason.PAUSED
    world.rows[row.id] = replace(row, want=Want.STOP, seen=Observed(state=Seen.EXITED, start_gen=1))
    assert one(world).reason is Reason.STOPPED
    world.rows[row.id] = replace(row, want=Want.STOP, seen=None)
    assert one(world).reason is Reason.STOPPED
    world.rows[row.id] = replace(row, want=Want.GONE)
    assert one(world).reason is Reason.PAUSED


def test_what_is_told_of_a_container() -> None:
    world = running(A, target=1)
    change(world, A, overlay=True, network_note="n")
    (row,) = world.open_rows()
    assert one(world) == SlotStory(
        slot=1, reason=Reason.RUNNING, text="it runs", wanted="running", container=row.id, node="a", seen="running",
        since=row.seen.started_at if row.seen else None, last_seen=world.now, network=Form.OVERLAY, network_note="n",
    )  # fmt: skip
    verdicts = place(world.service.spec, world.view().nodes).verdicts
    (known,) = explain(world.view(), POLICY, {row.id: verdicts})
    assert known.verdicts == verdicts
    unknown = one(world, nodes=())
    assert (unknown.node, unknown.network, unknown.last_seen, unknown.network_note) == (None, None, None, "")
    change(world, A, overlay=False)
    assert one(world).network is Form.BRIDGE
    world.rows[row.id] = replace(row, spec=replace(row.spec, host_network=True), seen=None)
    host = one(world)
    assert (host.network, host.seen, host.reason, host.since) == (None, None, Reason.PENDING, row.created_at)
    world.rows[row.id] = replace(row, want=Want.STOP)
    stopping = one(world)
    assert (stopping.reason, stopping.text, stopping.wanted, stopping.remedy) == (
        Reason.STOPPING, "it is being stopped", "stopped", "",
    )  # fmt: skip
    world.see(1, Seen.EXITED)
    stopped = one(world)
    assert (stopped.reason, stopped.text, stopped.wanted, stopped.remedy) == (
        Reason.STOPPED, "it was stopped", "stopped", "start it",
    )  # fmt: skip
    world.rows[row.id] = replace(row, want=Want.GONE)
    gone = one(world)
    assert (gone.reason, gone.text, gone.wanted) == (Reason.REMOVING, "its node is removing it", "gone")
    why = "it is gone, and its volumes are not: v is in use (try 3, again soon)"
    world.rows[row.id] = replace(row, want=Want.GONE, seen=Observed(state=Seen.EXITED, start_gen=1, message=why))
    assert one(world).text == f"its node is removing it: {why}"
    ended = Observed(state=Seen.EXITED, start_gen=1, message="its command was not found (exit code 127): see its logs")
    world.rows[row.id] = replace(row, want=Want.GONE, seen=ended)
    assert one(world).text == "its node is removing it", "what its run came to is no reason"


def test_when_it_has_been_so() -> None:
    world = running(A, target=1)
    (row,) = world.open_rows()
    at = START + timedelta(hours=2)
    for state in (Seen.EXITED, Seen.FAILED):
        world.see(1, state, exit_code=1, finished_at=at)
        assert one(world).since == at
    world.see(1, Seen.EXITED, exit_code=1)
    assert one(world).since == row.created_at
    world.see(1, Seen.RUNNING, started_at=at, message="it is paused")
    assert (one(world).since, one(world).text) == (at, "it runs: it is paused")
    world.see(1, Seen.EXITED, exit_code=1, will_restart=True, restart_count=2)
    again = one(world)
    assert (again.reason, again.remedy) == (Reason.RESTARTING, "see its logs")
    assert again.text.endswith("; it was started 2 times again, and will be after a pause")


def test_what_leaves_says_what_it_waits_for() -> None:
    world = running(A, target=1)
    (row,) = world.open_rows()
    world.rows[row.id] = replace(row, leaving=True)
    verdicts = place(world.service.spec, world.view().nodes).verdicts
    assert explain(world.view(), POLICY, {row.id: verdicts})[-1].verdicts == verdicts
    told = stories(world)[-1]
    assert (told.node, told.last_seen, told.reason) == ("a", world.now, Reason.LEAVING)
    assert (told.leaving, told.text) == (True, "a is being drained: it runs until its successor does")
    world.rows[row.id] = replace(row, leaving=True, want=Want.GONE)
    assert stories(world)[-1].text == "its slot is filled elsewhere; it is removed when a says that it is gone"
    world.nodes = ()
    assert "removed when its node says" in stories(world)[-1].text
    world.rows[number(99)] = replace(row, id=number(99), follows=row.id, seen=None)
    assert stories(world)[-1].text == "its successor is made beside it, and starts when it has ended"


def test_links_are_told_in_the_form_that_they_have() -> None:
    source = Source(index=3, env=(), endpoints=(), node=B)
    world = running(A, B, target=1)
    world.linked = (
        LinkedService(alias="db", service_id=number(7), unique_name="mysql", subnet="10.0.0.0/24", sources=(source,)),
    )
    assert stories(world)[0].links == (LinkStory(name="db", slot=3, form=Form.PORTS),)
    assert stories(running(A, target=1))[0].links == ()
