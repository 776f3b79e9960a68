"""The node's plans as text: the cases of DESIGN 3.5 and the engine facts, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from agents.planning import plan_node
from agents.steps import DisconnectNetwork, RemoveNetwork, StartContainer, StopContainer, render
from agents.view import (
    ContainerMemory,
    Endpoint,
    EngineState,
    EngineView,
    Interruption,
    ObservedContainer,
    ObservedNetwork,
    Refusal,
    Retry,
)
from domain.assignment import ContainerAssignment, ImageRequest
from domain.container import Want
from domain.image import Pull
from domain.restarts import RestartHistory
from domain.spec import CrashPolicy
from tests.agents.build import NOW, assigned, attachment, number, on_engine, spec

DONE = ContainerMemory(start_gen=1)
JUST = RestartHistory(count=1, last_start=NOW)


def plan(
    one: ContainerAssignment | None,
    *here: ObservedContainer,
    memory: ContainerMemory | None = None,
    networks: tuple[str, ...] = (),
    after: float = 0.5,
) -> str:
    view = EngineView(
        containers=here, networks=tuple(ObservedNetwork(network_id=f"id-{name}", name=name) for name in networks)
    )
    known = {(one or A).container_id: memory} if memory else {}
    return render(plan_node([one] if one else [], view, known, NOW + timedelta(seconds=after)))


A = assigned(1)
ALWAYS = replace(A, autorestart=CrashPolicy.ALWAYS)
ON_FAILURE = replace(A, autorestart=CrashPolicy.ON_FAILURE)
STOP = replace(A, want=Want.STOP)
GONE = replace(A, want=Want.GONE)
WIRED = replace(A, networks=(attachment("net-a", "web-1"), attachment("net-b", "web-1")))
EXITED = on_engine(A, EngineState.EXITED)
RUNNING = on_engine(A, EngineState.RUNNING)


def on_net(seen: ObservedContainer, *ids: str) -> ObservedContainer:
    return replace(seen, endpoints=tuple(Endpoint(network_id=each) for each in ids))


NOT_THERE = "it is assigned and not there"


def case(*given: Any, **more: Any) -> Callable[[], str]:
    """Planned when its test runs: a plan made at import would be the same whatever is broken since."""
    return partial(plan, *given, **more)


CASES = {
    "absent": (
        case(WIRED, networks=("net-a",)),
        f"0001 ensure network net-b: {NOT_THERE}\n0001 create web-1: {NOT_THERE}\n"
        f"0001 connect the new one to net-b: it is to be on it\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "created and never started": (
        case(A, on_engine(A, EngineState.CREATED), memory=DONE),
        "0001 start e-web-1 (order 1): it was created and never started",
    ),
    "running": (case(A, RUNNING, memory=DONE), "at rest"),
    "to be stopped, and a call to set its policy may still be on its way (seed 335)": (
        case(replace(ALWAYS, want=Want.STOP), RUNNING, memory=DONE),
        "0001 restart policy of e-web-1 no: it is to be stopped\n0001 stop e-web-1 within 2 s: it is to be stopped",
    ),
    "to be stopped, and it never has a policy": (
        case(replace(A, want=Want.STOP), RUNNING, memory=DONE),
        "0001 stop e-web-1 within 2 s: it is to be stopped",
    ),
    "a result": (case(A, EXITED, memory=DONE), "at rest"),
    "a new order": (case(replace(A, start_gen=2), EXITED, memory=DONE), "0001 start e-web-1 (order 2): start order 2"),
    "crashed, first time": (
        case(ALWAYS, replace(EXITED, restart_policy="always"), memory=DONE),
        "0001 start e-web-1 (automatic): autorestart is ALWAYS",
    ),
    "crashed again": (
        case(ALWAYS, replace(EXITED, restart_policy="always"), memory=replace(DONE, history=JUST)),
        "due 2026-01-01T12:00:01+00:00",
    ),
    "ended well under ON_FAILURE": (
        case(ON_FAILURE, replace(EXITED, restart_policy="on-failure", exit_code=0), memory=DONE),
        "at rest",
    ),
    "the engine's restart ended it": (
        case(A, replace(EXITED, exit_code=137), memory=replace(DONE, interrupted=Interruption(run=NOW))),
        "0001 start e-web-1 (automatic): its end was the engine's doing",
    ),
    "the engine's restart, but an end of its own": (
        case(A, replace(EXITED, exit_code=3), memory=replace(DONE, interrupted=Interruption(run=NOW))),
        "at rest",
    ),
    "restarting is the engine's": (
        case(ALWAYS, on_engine(A, EngineState.RESTARTING, restart_policy="always"), memory=DONE),
        "at rest",
    ),
    "paused": (case(A, on_engine(A, EngineState.PAUSED), memory=DONE), "0001 unpause e-web-1: it is to run"),
    "policy follows": (
        case(ALWAYS, RUNNING, memory=DONE),
        "0001 restart policy of e-web-1 always: autorestart is ALWAYS",
    ),
    "stop: policy first (E5)": (
        case(STOP, replace(RUNNING, restart_policy="always"), memory=DONE),
        "0001 restart policy of e-web-1 no: it is to be stopped\n0001 stop e-web-1 within 2 s: it is to be stopped",
    ),
    "stop while restarting": (
        case(STOP, on_engine(A, EngineState.RESTARTING, restart_policy="always"), memory=DONE),
        "0001 restart policy of e-web-1 no: it is to be stopped\n0001 stop e-web-1 within 2 s: it is to be stopped",
    ),
    "stopped with a policy (E3)": (
        case(STOP, replace(EXITED, restart_policy="always"), memory=DONE),
        "0001 restart policy of e-web-1 no: it is to be stopped",
    ),
    "gone": (
        case(GONE, RUNNING, memory=DONE),
        "0001 stop e-web-1 within 2 s: it is no longer wanted\n0001 remove e-web-1: it is no longer wanted",
    ),
    "gone and absent": (case(GONE, memory=DONE), "at rest"),
    "dead (E17)": (case(GONE, on_engine(A, EngineState.DEAD)), "0001 remove e-web-1: it is no longer wanted"),
    "back-off": (
        case(GONE, RUNNING, memory=replace(DONE, retry=Retry(count=2, at=NOW + timedelta(seconds=3), message="x"))),
        "due 2026-01-01T12:00:03+00:00",
    ),
    "orphan": (
        case(None, RUNNING, networks=("net-old",)),
        "0001 stop e-web-1 within 10 s: it is ours, but not assigned to this node\n"
        "0001 remove e-web-1: it is ours, but not assigned to this node\n"
        "remove network net-old: no container of this node needs it",
    ),
    "copied by hand": (
        case(A, RUNNING, replace(RUNNING, engine_id="e-copy", name="copy"), memory=DONE),
        "0001 stop e-copy within 3 s: a second container carries the same identity\n"
        "0001 remove e-copy: a second container carries the same identity",
    ),
    "another definition": (
        case(A, replace(EXITED, digest="other"), memory=DONE),
        "0001 remove e-web-1: its definition is not the assigned one\n"
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "refused, OFF": (
        case(A, on_engine(A, EngineState.CREATED), memory=replace(DONE, refused=Refusal(message="port", at=NOW))),
        "at rest",
    ),
    "refused, ALWAYS": (
        case(ALWAYS, memory=replace(DONE, refused=Refusal(message="no disk", at=NOW), history=JUST), after=2),
        "0001 create web-1: to be tried again after: no disk\n"
        "0001 start the new one (automatic): to be tried again after: no disk",
    ),
    "image missing": (
        case(A, memory=ContainerMemory(image_missing=True)),
        "0001 pull tutela/web:latest: the engine has it no more\n"
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "its volumes go with it": (
        case(replace(GONE, drop_volumes=("v1", "v2")), RUNNING, memory=DONE),
        "0001 stop e-web-1 within 2 s: it is no longer wanted\n0001 remove e-web-1: it is no longer wanted\n"
        "0001 remove volumes v1, v2: their container is gone",
    ),
    "its volumes went with it": (
        case(replace(GONE, drop_volumes=("v1",)), memory=replace(DONE, volumes_dropped=True)),
        "at rest",
    ),
    "an orphan that could not be removed": (
        case(None, RUNNING, memory=replace(DONE, retry=Retry(count=1, at=NOW + timedelta(seconds=3), message="x"))),
        "due 2026-01-01T12:00:03+00:00",
    ),
    "an orphan, its pause over": (
        case(None, EXITED, memory=replace(DONE, retry=Retry(count=1, at=NOW + timedelta(seconds=0.5), message="x"))),
        "0001 remove e-web-1: it is ours, but not assigned to this node",
    ),
    "refused and to be tried again later": (
        case(ALWAYS, memory=replace(DONE, refused=Refusal(message="no disk", at=NOW), history=JUST)),
        "due 2026-01-01T12:00:01+00:00",
    ),
    "refused for good": (case(A, memory=replace(DONE, refused=Refusal(message="port", at=NOW))), "at rest"),
    "refused, and ordered anew": (
        case(replace(A, start_gen=2), memory=replace(DONE, refused=Refusal(message="port", at=NOW))),
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 2): {NOT_THERE}",
    ),
    "image missing, and known by its digest": (
        case(
            assigned(1, spec=spec(hostname="web-1", image_digest="i@sha256:1")),
            memory=ContainerMemory(image_missing=True),
        ),
        "0001 pull i@sha256:1: the engine has it no more\n"
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "dead, and wanted": (
        case(A, on_engine(A, EngineState.DEAD, restart_policy="always"), memory=DONE),
        "0001 remove e-web-1: the engine left it dead\n"
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "paused and to be stopped": (
        case(STOP, on_engine(A, EngineState.PAUSED), memory=DONE),
        "0001 unpause e-web-1: it is to be stopped\n0001 stop e-web-1 within 2 s: it is to be stopped",
    ),
    "stop of what is not there": (case(STOP, memory=DONE), "at rest"),
    "the agent alone restarts where a replacement waits": (
        case(replace(ALWAYS, autoreplace=CrashPolicy.ALWAYS), replace(RUNNING, restart_policy="always"), memory=DONE),
        "0001 restart policy of e-web-1 no: autorestart is ALWAYS, and the agent's alone",
    ),
    "a copy in a worse state than the one that was made by hand": (
        case(A, on_engine(A, EngineState.DEAD), replace(RUNNING, engine_id="e-copy", name="copy"), memory=DONE),
        "0001 remove e-web-1: a second container carries the same identity",
    ),
    "of two the one with the assigned definition counts": (
        case(A, replace(RUNNING, digest="old"), replace(EXITED, engine_id="e-new", name="copy"), memory=DONE),
        "0001 stop e-web-1 within 3 s: a second container carries the same identity\n"
        "0001 remove e-web-1: a second container carries the same identity",
    ),
    "of two alike the one that runs counts": (
        case(A, EXITED, replace(RUNNING, engine_id="f-web-1"), memory=DONE),
        "0001 remove e-web-1: a second container carries the same identity",
    ),
    "of two alike that run the first by id counts": (
        case(A, replace(RUNNING, engine_id="f-web-1"), RUNNING, memory=DONE),
        "0001 stop f-web-1 within 3 s: a second container carries the same identity\n"
        "0001 remove f-web-1: a second container carries the same identity",
    ),
    "a run in its first moment is looked at again": (
        case(A, replace(RUNNING, asked_at=NOW), memory=DONE),
        "due 2026-01-01T12:00:00.100000+00:00",
    ),
    "a network that is not there is made, and one that is not wanted left": (
        case(
            replace(WIRED, networks=WIRED.networks[:1]), on_net(RUNNING, "id-net-b"), memory=DONE, networks=("net-b",)
        ),
        "0001 ensure network net-a: a container is to be on it\n"
        "0001 connect e-web-1 to net-a: it is to be on it\n"
        "0001 disconnect e-web-1 from net-b: it is not to be on it",
    ),
    "its names changed": (
        case(WIRED, on_net(RUNNING, "id-net-a", "id-net-b"), memory=DONE, networks=("net-a", "net-b")),
        "0001 disconnect e-web-1 from net-a: its names there changed\n"
        "0001 connect e-web-1 to net-a: its names there changed\n"
        "0001 disconnect e-web-1 from net-b: its names there changed\n"
        "0001 connect e-web-1 to net-b: its names there changed",
    ),
    "somebody else's network is left alone": (case(A, on_net(RUNNING, "foreign"), memory=DONE), "at rest"),
    "paused: it goes on, and onto its networks": (
        case(WIRED, on_engine(A, EngineState.PAUSED), networks=("net-a", "net-b")),
        "0001 unpause e-web-1: it is to run\n"
        "0001 connect e-web-1 to net-a: it is to be on it\n0001 connect e-web-1 to net-b: it is to be on it",
    ),
    "stopped run, then a start": (
        case(replace(A, start_gen=2), RUNNING, memory=replace(DONE, stopped_run=NOW)),
        "0001 stop e-web-1 within 2 s: this run was ordered to end before the order to start came\n"
        "0001 start e-web-1 (order 2): this run was ordered to end before the order to start came",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    got, wanted = CASES[name]
    assert got() == wanted


def test_what_is_being_worked_on_is_left_alone_with_its_networks() -> None:
    view = EngineView(
        containers=(RUNNING,),
        networks=(ObservedNetwork(network_id="n", name="net-a"), ObservedNetwork(network_id="o", name="net-old")),
    )
    gone = replace(WIRED, want=Want.GONE)
    old = "remove network net-old: no container of this node needs it"
    assert old in render(plan_node([gone], view, {}, NOW))
    for wanted in ([gone], [replace(WIRED, networks=())], []):
        busy = render(plan_node(wanted, replace(view, containers=()), {}, NOW, busy={A.container_id}))
        assert busy == "at rest", "it may be on any of them, whatever is wanted of it by now"
        silent = replace(view, containers=(), unknown=frozenset({A.container_id}))
        assert render(plan_node(wanted, silent, {}, NOW)) == "at rest"
    assert render(plan_node([], replace(view, containers=()), {}, NOW, busy={number(9)})) == "at rest"


def test_a_network_that_could_not_be_removed_is_tried_again_later() -> None:
    view = EngineView(networks=(ObservedNetwork(network_id="n", name="net-old"),))
    later = NOW + timedelta(seconds=5)
    assert render(plan_node([], view, {}, NOW, postponed={"net-old": later})) == f"due {later.isoformat()}"
    assert render(plan_node([], view, {}, later, postponed={"net-old": later})).startswith("remove network net-old")
    assert render(plan_node([], view, {}, NOW, complete=False)) == "at rest"


def test_of_networks_with_one_name_the_first_id_counts_and_the_others_go() -> None:
    twice = tuple(ObservedNetwork(network_id=each, name="net-a") for each in ("n2", "n1"))
    wired = replace(A, networks=(attachment("net-a"),))
    here = on_net(RUNNING, "n1")
    view = EngineView(containers=(here,), networks=twice)
    (step,) = plan_node([wired], view, {A.container_id: DONE}, NOW).steps
    assert isinstance(step, RemoveNetwork)
    assert step.network_id == "n2"


def test_what_an_incomplete_ledger_does_not_know_may_be_wanted() -> None:
    view = EngineView(containers=(RUNNING, on_engine(assigned(2), EngineState.EXITED)))
    known = {A.container_id: DONE}
    assert render(plan_node([A], view, known, NOW, complete=False)) == "at rest"
    assert render(plan_node([A], view, known, NOW)) == (
        "0002 remove e-web-2: it is ours, but not assigned to this node"
    )


def test_image_requests_come_last_and_in_their_order() -> None:
    asked = [ImageRequest(request_id=number(n), reference=f"i:{n}", pull=Pull.MISSING) for n in (2, 1)]
    assert render(plan_node([], EngineView(), {}, NOW, images=asked)) == (
        "resolve i:1 (missing): the control plane asks\nresolve i:2 (missing): the control plane asks"
    )


def test_containers_by_their_identity_and_the_first_due_time() -> None:
    waiting = {
        number(n): replace(DONE, retry=Retry(count=1, at=NOW + timedelta(seconds=n), message="")) for n in (2, 3)
    }
    plan = plan_node([assigned(3), assigned(2), A], EngineView(), waiting, NOW)
    assert render(plan) == (
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 1): {NOT_THERE}\ndue 2026-01-01T12:00:02+00:00"
    )


def test_what_a_start_has_to_know() -> None:
    """By the time before it, it is found out whether one whose answer was lost was carried out (E7)."""
    ended = replace(EXITED, finished_at=NOW + timedelta(seconds=3), restart_policy="always")
    (again,) = plan_node([ALWAYS], EngineView(containers=(ended,)), {A.container_id: DONE}, NOW).steps
    assert again == StartContainer(
        container_id=A.container_id,
        engine_id="e-web-1",
        start_gen=1,
        automatic=True,
        after=NOW,
        ended_at=NOW + timedelta(seconds=3),
        cause="autorestart is ALWAYS",
    )
    refused = replace(DONE, refused=Refusal(message="no disk", at=NOW))
    *_, anew = plan_node([ALWAYS], EngineView(), {A.container_id: refused}, NOW).steps
    assert isinstance(anew, StartContainer)
    assert (anew.automatic, anew.after, anew.ended_at, anew.engine_id) == (True, None, NOW, None)
    *_, first = plan_node([A], EngineView(), {}, NOW).steps
    assert isinstance(first, StartContainer)
    assert (first.automatic, first.after, first.ended_at) == (False, None, None)
    stopped = replace(DONE, stopped_run=NOW)
    stop, start = plan_node(
        [replace(A, start_gen=2)], EngineView(containers=(RUNNING,)), {A.container_id: stopped}, NOW
    ).steps
    assert isinstance(stop, StopContainer)
    assert isinstance(start, StartContainer)
    assert (stop.run, stop.fence, start.automatic, start.after) == (NOW, False, False, NOW)


def test_a_calm_minute_counts_for_what_was_refused_too() -> None:
    late = Refusal(message="no disk", at=NOW + timedelta(minutes=2))
    memory = replace(DONE, refused=late, history=RestartHistory(count=9, last_start=NOW))
    now = late.at
    assert plan_node([ALWAYS], EngineView(), {A.container_id: memory}, now).next_due is None
    replaced = replace(ALWAYS, autoreplace=CrashPolicy.ALWAYS)
    assert "automatic" in render(plan_node([replaced], EngineView(), {A.container_id: memory}, now))
    created = EngineView(containers=(on_engine(A, EngineState.CREATED),))
    assert "automatic" in render(plan_node([replaced], created, {A.container_id: memory}, now))
    spent = replace(memory, refused=replace(late, at=NOW))
    for here in ((), (on_engine(A, EngineState.CREATED),)):
        assert render(plan_node([replaced], EngineView(containers=here), {A.container_id: spent}, now)) == "at rest"
    counted = replace(DONE, history=RestartHistory(count=3, last_start=NOW))
    assert render(plan_node([replaced], EngineView(containers=(EXITED,)), {A.container_id: counted}, now)) == "at rest"
    calm = replace(EXITED, finished_at=now)
    assert "automatic" in render(plan_node([replaced], EngineView(containers=(calm,)), {A.container_id: counted}, now))


def test_networks_one_after_the_other() -> None:
    """What is as it should be, was lost or is held up ends nothing for those after it."""
    nets = tuple(ObservedNetwork(network_id=f"id-{name}", name=name) for name in ("net-a", "net-b"))
    fits = Endpoint(network_id="id-net-a", aliases=frozenset({"web-1"}))
    here = replace(RUNNING, endpoints=(fits,))
    missing = "0001 connect e-web-1 to net-b: it is to be on it"
    known = {A.container_id: DONE}
    assert render(plan_node([WIRED], EngineView(containers=(here,), networks=nets), known, NOW)) == missing
    lost = replace(here, names_lost=frozenset({"net-a"}))
    anew = plan_node([WIRED], EngineView(containers=(lost,), networks=nets), known, NOW)
    assert render(anew).endswith(missing)
    assert [step.network_id for step in anew.steps if isinstance(step, DisconnectNetwork)] == ["net-a"]
    old = EngineView(networks=(*nets, ObservedNetwork(network_id="id-net-c", name="net-c")))
    later = NOW + timedelta(seconds=5)
    assert render(plan_node([], old, {}, NOW, postponed={"net-b": later})) == (
        "remove network net-a: no container of this node needs it\n"
        "remove network net-c: no container of this node needs it\n"
        f"due {later.isoformat()}"
    )
    unlisted = replace(RUNNING, endpoints=(Endpoint(network_id="tutela-x-overlay"),))
    assert render(plan_node([A], EngineView(containers=(unlisted,)), known, NOW)) == (
        "0001 disconnect e-web-1 from tutela-x-overlay: it is not to be on it"
    )
