"""The node's plans as text: the cases of DESIGN 3.5 and the engine facts, one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agents.planning import plan_node
from agents.steps import render
from agents.view import (
    ContainerMemory,
    EngineState,
    EngineView,
    Interruption,
    ObservedContainer,
    ObservedNetwork,
    Refusal,
    Retry,
)
from domain.assignment import ContainerAssignment
from domain.container import Want
from domain.restarts import RestartHistory
from domain.spec import CrashPolicy
from tests.agents.build import NOW, assigned, attachment, on_engine

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
    known = {one.container_id: memory} if one and memory else {}
    return render(plan_node([one] if one else [], view, known, NOW + timedelta(seconds=after)))


A = assigned(1)
ALWAYS = replace(A, autorestart=CrashPolicy.ALWAYS)
ON_FAILURE = replace(A, autorestart=CrashPolicy.ON_FAILURE)
STOP = replace(A, want=Want.STOP)
GONE = replace(A, want=Want.GONE)
WIRED = replace(A, networks=(attachment("net-a", "web-1"), attachment("net-b", "web-1")))
EXITED = on_engine(A, EngineState.EXITED)
RUNNING = on_engine(A, EngineState.RUNNING)
NOT_THERE = "it is assigned and not there"

CASES = {
    "absent": (
        plan(WIRED, networks=("net-a",)),
        f"0001 ensure network net-b: {NOT_THERE}\n0001 create web-1: {NOT_THERE}\n"
        f"0001 connect the new one to net-b: it is to be on it\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "created and never started": (
        plan(A, on_engine(A, EngineState.CREATED), memory=DONE),
        "0001 start e-web-1 (order 1): it was created and never started",
    ),
    "running": (plan(A, RUNNING, memory=DONE), "at rest"),
    "a result": (plan(A, EXITED, memory=DONE), "at rest"),
    "a new order": (plan(replace(A, start_gen=2), EXITED, memory=DONE), "0001 start e-web-1 (order 2): start order 2"),
    "crashed, first time": (
        plan(ALWAYS, replace(EXITED, restart_policy="always"), memory=DONE),
        "0001 start e-web-1 (automatic): autorestart is ALWAYS",
    ),
    "crashed again": (
        plan(ALWAYS, replace(EXITED, restart_policy="always"), memory=replace(DONE, history=JUST)),
        "due 2026-01-01T12:00:01+00:00",
    ),
    "ended well under ON_FAILURE": (
        plan(ON_FAILURE, replace(EXITED, restart_policy="on-failure", exit_code=0), memory=DONE),
        "at rest",
    ),
    "the engine's restart ended it": (
        plan(A, replace(EXITED, exit_code=137), memory=replace(DONE, interrupted=Interruption(run=NOW))),
        "0001 start e-web-1 (automatic): its end was the engine's doing",
    ),
    "the engine's restart, but an end of its own": (
        plan(A, replace(EXITED, exit_code=3), memory=replace(DONE, interrupted=Interruption(run=NOW))),
        "at rest",
    ),
    "restarting is the engine's": (
        plan(ALWAYS, on_engine(A, EngineState.RESTARTING, restart_policy="always"), memory=DONE),
        "at rest",
    ),
    "paused": (plan(A, on_engine(A, EngineState.PAUSED), memory=DONE), "0001 unpause e-web-1: it is to run"),
    "policy follows": (
        plan(ALWAYS, RUNNING, memory=DONE),
        "0001 restart policy of e-web-1 always: autorestart is ALWAYS",
    ),
    "stop: policy first (E5)": (
        plan(STOP, replace(RUNNING, restart_policy="always"), memory=DONE),
        "0001 restart policy of e-web-1 no: it is to be stopped\n0001 stop e-web-1 within 2 s: it is to be stopped",
    ),
    "stop while restarting": (
        plan(STOP, on_engine(A, EngineState.RESTARTING, restart_policy="always"), memory=DONE),
        "0001 restart policy of e-web-1 no: it is to be stopped\n0001 stop e-web-1 within 2 s: it is to be stopped",
    ),
    "stopped with a policy (E3)": (
        plan(STOP, replace(EXITED, restart_policy="always"), memory=DONE),
        "0001 restart policy of e-web-1 no: it is to be stopped",
    ),
    "gone": (
        plan(GONE, RUNNING, memory=DONE),
        "0001 stop e-web-1 within 2 s: it is no longer wanted\n0001 remove e-web-1: it is no longer wanted",
    ),
    "gone and absent": (plan(GONE, memory=DONE), "at rest"),
    "dead (E17)": (plan(GONE, on_engine(A, EngineState.DEAD)), "0001 remove e-web-1: it is no longer wanted"),
    "back-off": (
        plan(GONE, RUNNING, memory=replace(DONE, retry=Retry(count=2, at=NOW + timedelta(seconds=3), message="x"))),
        "due 2026-01-01T12:00:03+00:00",
    ),
    "orphan": (
        plan(None, RUNNING, networks=("net-old",)),
        "0001 stop e-web-1 within 10 s: it is ours, but not assigned to this node\n"
        "0001 remove e-web-1: it is ours, but not assigned to this node\n"
        "remove network net-old: no container of this node needs it",
    ),
    "copied by hand": (
        plan(A, RUNNING, replace(RUNNING, engine_id="e-copy", name="copy"), memory=DONE),
        "0001 stop e-copy within 3 s: a second container carries the same identity\n"
        "0001 remove e-copy: a second container carries the same identity",
    ),
    "another definition": (
        plan(A, replace(EXITED, digest="other"), memory=DONE),
        "0001 remove e-web-1: its definition is not the assigned one\n"
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "refused, OFF": (
        plan(A, on_engine(A, EngineState.CREATED), memory=replace(DONE, refused=Refusal(message="port", at=NOW))),
        "at rest",
    ),
    "refused, ALWAYS": (
        plan(ALWAYS, memory=replace(DONE, refused=Refusal(message="no disk", at=NOW), history=JUST), after=2),
        "0001 create web-1: to be tried again after: no disk\n"
        "0001 start the new one (automatic): to be tried again after: no disk",
    ),
    "image missing": (
        plan(A, memory=ContainerMemory(image_missing=True)),
        "0001 pull tutela/web:latest: the engine has it no more\n"
        f"0001 create web-1: {NOT_THERE}\n0001 start the new one (order 1): {NOT_THERE}",
    ),
    "stopped run, then a start": (
        plan(replace(A, start_gen=2), RUNNING, memory=replace(DONE, stopped_run=NOW)),
        "0001 stop e-web-1 within 2 s: this run was ordered to end before the order to start came\n"
        "0001 start e-web-1 (order 2): this run was ordered to end before the order to start came",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_plan(case: str) -> None:
    got, wanted = CASES[case]
    assert got == wanted
