"""The cases by name: what a pass decides, as text. They document the planner."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.calls import call
from domain.container import Seen, Want
from domain.errors import NotAllowed
from domain.links import Source
from domain.node import Candidate, NodeState
from domain.service import Effect, Queued, ServiceState, Verb, cancel, change, counts, service_state
from domain.spec import CrashPolicy, Link, PortSpec, ServiceSpec, Transport
from orchestrator.planning.steps import render
from orchestrator.planning.view import LinkedService, Policy
from tests.planning.model import NODE, World, a_service, number

POLICY = Policy()
CREATE_TWO = """\
request image tutela/web:latest (missing): containers are made from exactly one image
wait: image tutela/web:latest is being looked up
--
use image sha256:1: the image was looked up
create slot 1: slot 1 is empty
create slot 2: slot 2 is empty
wait: its containers are being changed
--
finish well: all containers are as wanted"""


def running(**changes: object) -> World:
    world = World(a_service(**changes))
    world.operate(Verb.START)
    world.run()
    return world


def state(world: World) -> ServiceState:
    return service_state(world.service, counts(list(world.rows.values())))


def update(world: World, **changes: object) -> Effect:
    target = changes.pop("target", world.service.target)
    spec = replace(world.service.spec, **changes)  # type: ignore[arg-type]
    count = counts(list(world.rows.values()))
    accepted = change(world.service, count, spec=spec, target=target, action=world.uuid(), now=world.now)  # type: ignore[arg-type]
    world.service = accepted.service
    return accepted.effect


def test_a_created_service_has_nothing_to_do() -> None:
    assert render(World(a_service()).plan()) == "at rest"


def test_the_first_start_looks_the_image_up_once_and_fills_all_slots() -> None:
    world = World(a_service())
    assert world.operate(Verb.START).effect is Effect.BEGUN
    assert state(world) is ServiceState.STARTING
    assert world.run() == CREATE_TWO
    assert state(world) is ServiceState.RUNNING
    assert [ok for _, ok, _ in world.ended] == [True]


def test_a_sequential_service_starts_one_after_the_other() -> None:
    world = World(a_service(spec=ServiceSpec(image="tutela/web:latest", sequential_deployment=True)))
    world.operate(Verb.START)
    assert world.run().split("\n--\n")[1:] == [
        "use image sha256:1: the image was looked up\ncreate slot 1: slot 1 is empty\n"
        "wait: its containers are being changed",
        "create slot 2: slot 2 is empty\nwait: its containers are being changed",
        "finish well: all containers are as wanted",
    ]


def test_an_image_that_is_not_to_be_had_fails_the_start_and_touches_nothing() -> None:
    world = World(a_service(), image_error="no such image")
    world.operate(Verb.START)
    assert "finish failed (no such image)" in world.run()
    assert world.rows == {}
    assert state(world) is ServiceState.NOT_RUNNING


def test_scaling_up_makes_the_missing_ones_only() -> None:
    world = running()
    assert update(world, target=3) is Effect.BEGUN
    assert state(world) is ServiceState.SCALING
    assert world.run().splitlines()[0] == "create slot 3: slot 3 is empty"
    assert len(world.open_rows()) == 3


def test_a_sequential_service_is_scaled_beside_a_container_that_a_user_stopped() -> None:
    """Simulation, seed 64428: its slots came after the stopped one for ever, and the scaling ended well."""
    world = running(target=1, spec=ServiceSpec(image="tutela/web:latest", sequential_deployment=True))
    world.order(world.open_rows()[0], Verb.STOP)
    world.run()
    assert update(world, target=3) is Effect.BEGUN
    assert world.run().split("\n--\n") == [
        "create slot 2: slot 2 is empty\nwait: its containers are being changed",
        "create slot 3: slot 3 is empty\nwait: its containers are being changed",
        "finish well: all containers are as wanted",
    ]
    assert [row.want for row in world.open_rows()] == [Want.STOP, Want.RUN, Want.RUN]
    world.operate(Verb.START)
    world.run()
    assert state(world) is ServiceState.RUNNING


def test_scaling_down_takes_the_highest_and_waits_until_it_is_gone() -> None:
    world = running(target=3)
    update(world, target=1)
    text = world.run()
    assert text.splitlines()[:2] == [
        "retire web-3: its slot is above the target of 1",
        "retire web-2: its slot is above the target of 1",
    ]
    assert [row.slot for row in world.open_rows()] == [1]
    assert text.endswith("finish well: all containers are as wanted")


def test_stopping_keeps_the_containers() -> None:
    world = running()
    world.operate(Verb.STOP)
    assert state(world) is ServiceState.STOPPING
    text = world.run()
    assert "stop web-1: the service is stopped\nstop web-2: the service is stopped" in text
    assert state(world) is ServiceState.STOPPED


def test_what_ended_by_itself_before_it_could_be_stopped_is_stopped() -> None:
    """Its agent has nothing to say any more that would have somebody look again (seed 68706)."""
    world = running(target=1)
    world.operate(Verb.STOP)
    world.see(1, Seen.EXITED, exit_code=1)
    world.step()
    assert state(world) is ServiceState.STOPPED
    assert world.ended[-1][1]


def test_starting_again_starts_the_same_containers() -> None:
    world = running()
    ids = set(world.rows)
    world.operate(Verb.STOP)
    world.run()
    world.operate(Verb.START)
    assert "start web-1: the service is started" in world.run()
    assert set(world.rows) == ids
    assert state(world) is ServiceState.RUNNING


def test_an_ended_container_without_autorestart_is_a_result_not_drift() -> None:
    world = running()
    world.see(1, Seen.EXITED, exit_code=0)
    assert render(world.plan()) == "at rest"
    assert state(world) is ServiceState.PARTLY_RUNNING


def test_start_of_a_partly_running_service_starts_what_ended() -> None:
    world = running()
    world.see(1, Seen.EXITED, exit_code=1)
    world.operate(Verb.START)
    assert render(world.plan()).splitlines()[0] == "start web-1: the service is started"


def test_a_container_that_ends_at_once_fails_the_start_with_its_exit_code() -> None:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.step()
    world.agent()
    world.step()
    world.see(1, Seen.EXITED, exit_code=3)
    world.run()
    assert world.ended[-1][1] is False
    assert "exit code 3" in (world.ended[-1][2] or "")


def test_a_job_that_ends_well_is_a_success() -> None:
    world = World(a_service(target=1))
    world.operate(Verb.START)
    world.step()
    world.agent()
    world.step()
    world.see(1, Seen.EXITED, exit_code=0)
    world.run()
    assert world.ended[-1][1] is True


def test_a_crash_loop_fails_the_start_but_goes_on_restarting() -> None:
    spec = ServiceSpec(image="tutela/web:latest", autorestart=CrashPolicy.ALWAYS)
    world = World(a_service(target=1, spec=spec))
    world.operate(Verb.START)
    world.step()
    world.agent()
    world.step()
    world.see(1, Seen.RESTARTING, restart_count=1, exit_code=1)
    assert "wait" in render(world.step())
    world.see(1, Seen.RESTARTING, restart_count=3, exit_code=1)
    world.step()
    assert world.ended[-1][1] is False
    assert [row.want for row in world.open_rows()] == [Want.RUN]


def test_terminating_removes_all_and_closes_the_service() -> None:
    world = running()
    world.operate(Verb.TERMINATE)
    assert world.service.target == 0
    text = world.run()
    assert text.splitlines()[0] == "retire web-2: the service is terminated"
    assert text.endswith("finish well: its last container is gone\nclose service: its last container is gone")
    assert state(world) is ServiceState.TERMINATED
    assert render(world.plan()) == "at rest"


def test_a_fixed_port_is_had_once_a_node_and_the_action_says_so() -> None:
    ports = (PortSpec(protocol=Transport.TCP, inner_port=80, outer_port=80, published=True),)
    world = World(a_service(spec=ServiceSpec(image="tutela/web:latest", ports=ports)))
    world.operate(Verb.START)
    world.run()
    assert world.ended[-1][1] is False
    assert "node n1 has port 80/tcp taken" in (world.ended[-1][2] or "")
    assert state(world) is ServiceState.RUNNING or len(world.open_rows()) == 1


def test_without_a_node_the_start_waits_with_a_reason_and_fails_at_its_deadline() -> None:
    world = World(a_service(), nodes=(Candidate(node_id=NODE, name="n1", state=NodeState.UNREACHABLE),))
    world.operate(Verb.START)
    assert render(world.step()) == "wait: no node is up: start an agent, or wait for it to come back"
    assert world.plan().requeue_at == world.now + timedelta(seconds=5)
    world.now += timedelta(minutes=11)
    world.step()
    assert world.ended[-1][1] is False


def test_a_change_of_links_reaches_running_containers_in_place() -> None:
    world = running(target=1)
    update(world, links=(Link(name="DB", to_service=number(7)),))
    world.linked = (
        LinkedService(alias="DB", service_id=number(7), unique_name="mysql", subnet="10.192.1.0/24", sources=()),
    )
    assert render(world.step()) == "adjust web-1: links or crash policies of the service changed"
    assert render(world.plan()) == "at rest"


def test_a_newer_change_takes_the_older_action_over() -> None:
    world = World(a_service())
    world.operate(Verb.START)
    world.step()
    update(world, target=4)
    world.run()
    (actions, ok, _), *rest = world.ended
    assert (len(actions), ok, rest) == (2, True, [])
    assert len(world.open_rows()) == 4


def test_what_is_not_allowed_says_what_is() -> None:
    world = World(a_service())
    with pytest.raises(
        NotAllowed, match=r"Service is in state Init: stop is not allowed .allowed now: scale, start, terminate."
    ):
        world.operate(Verb.STOP)


def test_link_variables_of_the_target_reach_the_client() -> None:
    world = World(a_service(target=1, spec=ServiceSpec(image="i:1", links=(Link(name="db", to_service=number(7)),))))
    world.linked = (
        LinkedService(
            alias="db",
            service_id=number(7),
            unique_name="mysql",
            subnet="10.192.1.0/24",
            sources=(Source(index=1, env=(("A", "b"),), endpoints=()),),
        ),
    )
    world.operate(Verb.START)
    world.run()
    (row,) = world.open_rows()
    assert dict(row.spec.link_env) == {
        "DB_1_ENV_A": "b",
        "DB_ENV_A": "b",
        "DB_TUTUM_API_URL": f"http://api.test/api/v1/service/{number(7)}/",
    }
    assert [each.network.service_id for each in row.networks] == [number(1), number(7)]


def test_a_call_that_waits_when_the_service_is_terminated_is_refused_and_not_forgotten() -> None:
    world = running()
    world.operate(Verb.REDEPLOY)
    waiting = Queued(verb=Verb.REDEPLOY, action=number(50))
    world.service = call(world.service, counts(list(world.rows.values())), waiting, world.now).service
    world.service, _ = cancel(world.service, world.service.operation.actions[0])  # type: ignore[union-attr]
    world.operate(Verb.TERMINATE)
    assert "begin queued call: its turn has come" in world.run()
    assert ((number(50),), False, None) in world.ended
    assert state(world) is ServiceState.TERMINATED
