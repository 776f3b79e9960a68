"""What an agent does about overlay networks: the plan as text, and a keeper at work on the fake engine."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from agents.planning import plan_node
from agents.runtime.errors import classify
from agents.steps import render
from agents.swarm import SwarmKeeper
from agents.view import ContainerMemory, Endpoint, EngineState, EngineView, ObservedNetwork
from domain.container import Attachment, NetworkSpec
from domain.swarm import SwarmOrder, SwarmReport, SwarmRole
from tests.agents.build import CLUSTER, NOW, SERVICE, assigned, attachment, on_engine
from tests.agents.harness import eventually
from tests.fakes.runtime import FakeRuntime

NAME = f"tutela-{SERVICE}-overlay"
NET = NetworkSpec(name=NAME, service_id=SERVICE, subnet="", overlay=True)
OVERLAY = Attachment(network=NET, aliases=("web-1",))
WIRED = assigned(1, networks=(OVERLAY,))
DONE = ContainerMemory(start_gen=1)
BRIDGE = ObservedNetwork(network_id="b", name="net-web")
LISTED = ObservedNetwork(network_id="o", name=NAME, overlay=True)


def plan(
    state: EngineState, *networks: ObservedNetwork, on: tuple[str, ...], lost: frozenset[str] = frozenset()
) -> str:
    here = on_engine(
        WIRED,
        state,
        endpoints=tuple(Endpoint(network_id=key, aliases=frozenset({"web-1"})) for key in on),
        names_lost=lost,
    )
    view = EngineView(containers=(here,), networks=networks)
    return render(plan_node([WIRED], view, {WIRED.container_id: DONE}, NOW))


def test_from_the_bridge_to_the_overlay_the_new_one_comes_first() -> None:
    assert plan(EngineState.RUNNING, BRIDGE, on=("b",)) == (
        f"0001 connect e-web-1 to {NAME}: it is to be on it\n"
        "0001 disconnect e-web-1 from net-web: it is not to be on it"
    )


def test_an_overlay_goes_by_its_name_until_a_worker_lists_it() -> None:
    assert plan(EngineState.RUNNING, LISTED, on=("o",)) == "at rest"
    assert plan(EngineState.RUNNING, on=(NAME,)) == "at rest"


def test_overlays_that_nobody_here_is_on_are_left_to_the_control_plane() -> None:
    assert render(plan_node([], EngineView(networks=(LISTED,)), {}, NOW)) == "at rest"
    assert render(plan_node([], EngineView(networks=(BRIDGE,)), {}, NOW)).startswith("remove network net-web")


def test_names_that_the_engine_forgot_are_given_anew() -> None:
    assert plan(EngineState.RUNNING, LISTED, on=("o",), lost=frozenset({NAME})) == (
        f"0001 disconnect e-web-1 from {NAME}: its engine entered the swarm anew\n"
        f"0001 connect e-web-1 to {NAME}: its engine entered the swarm anew"
    )


def test_a_network_that_is_not_there_yet_is_no_fault_of_the_container() -> None:
    text = "Could not attach to network tutela-x-overlay: rpc error: code = NotFound desc = network not found"
    error = classify(500, text, "starting a container")
    assert "the overlay network is not to be had yet" in str(error)
    assert getattr(error, "retry_in", None) is not None


async def test_a_keeper_begins_makes_and_leaves() -> None:
    engine, reports = FakeRuntime(), list[SwarmReport]()
    entered: list[bool] = []
    used = True
    keeper = SwarmKeeper(engine, reports.append, lambda: used, lambda: entered.append(True))
    running = asyncio.create_task(keeper.run())
    try:
        order = SwarmOrder(role=SwarmRole.MANAGER, begin=True, address="10.0.0.1", pool="p", make=(NET,))
        keeper.told(order, CLUSTER)
        await eventually(lambda: any(NAME in each.made for each in reports), "the network to be made")
        assert entered
        assert reports[-1].token
        assert all(each.token not in repr(each) for each in reports if each.token)
        keeper.told(replace(order, make=(), begin=False, role=SwarmRole.NONE, leave="fake"), CLUSTER)
        await eventually(lambda: engine.calls.count("swarm") > 4, "another look")
        assert engine.swarm_seen.inside, "containers come off first"
        used = False
        keeper.wake()
        await eventually(lambda: not engine.swarm_seen.inside, "the engine to leave")
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def test_bridges_are_as_before() -> None:
    one = assigned(2, networks=(attachment("net-web", "web-2"),))
    view = EngineView(containers=(on_engine(one, EngineState.RUNNING),), networks=(BRIDGE,))
    steps = render(plan_node([one], view, {one.container_id: DONE}, NOW))
    assert steps == "0002 connect e-web-2 to net-web: it is to be on it"
