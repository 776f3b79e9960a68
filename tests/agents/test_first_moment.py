"""A container counts as settled once it was seen to run after its first moment, however late its engine tells."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.observe import Observer, engine_time, reported
from agents.planning import plan_node
from agents.view import OTHER_CLOCK, ContainerMemory, EngineState, EngineView, settles_at
from domain.container import FIRST_MOMENT
from tests.agents.build import CLUSTER, NOW, assigned, on_engine
from tests.fakes.runtime import FakeRuntime

A = assigned(1)
DONE = ContainerMemory(start_gen=1)
milliseconds = st.integers(-20_000, 20_000).map(lambda number: timedelta(milliseconds=number))


@given(after=milliseconds, state=st.sampled_from([EngineState.RUNNING, EngineState.EXITED, EngineState.RESTARTING]))
def test_only_a_question_asked_after_the_first_moment_proves_it(after: timedelta, state: EngineState) -> None:
    seen = on_engine(A, state, asked_at=NOW + after)
    told = reported(A, seen, DONE, gone=False)
    assert told is not None
    waited_for = state is EngineState.RUNNING and -OTHER_CLOCK <= after < FIRST_MOMENT
    assert told.settling is waited_for
    assert settles_at(seen) == (NOW + FIRST_MOMENT if waited_for else None)


def test_the_agent_looks_again_when_the_first_moment_is_over() -> None:
    young, old = (on_engine(A, EngineState.RUNNING, asked_at=NOW + FIRST_MOMENT * n) for n in (0, 1))
    for seen, due in ((young, NOW + FIRST_MOMENT), (old, None)):
        plan = plan_node([A], EngineView(containers=(seen,)), {A.container_id: DONE}, NOW)
        assert (plan.steps, plan.next_due) == ((), due)


async def test_a_young_run_is_inspected_again_and_an_old_one_is_not() -> None:
    runtime = FakeRuntime()
    runtime.add_image("tutela/web:latest", "sha256:web")
    engine_id = await runtime.create(CLUSTER, A, None)
    await runtime.start(engine_id)
    began = engine_time((await runtime.inspect(engine_id))["State"]["StartedAt"])
    assert began is not None
    observer = Observer(runtime, lambda: None)
    (seen,) = (await observer.look(CLUSTER, ())).containers
    if datetime.now(UTC) < began + FIRST_MOMENT:
        assert settles_at(seen) == began + FIRST_MOMENT
    async with asyncio.timeout(10):
        while settles_at(seen) is not None:
            (seen,) = (await observer.look(CLUSTER, ())).containers
    assert seen.asked_at is not None
    assert seen.asked_at >= began + FIRST_MOMENT
    asked = runtime.calls.count("inspect")
    await observer.look(CLUSTER, ())
    assert runtime.calls.count("inspect") == asked


@pytest.mark.parametrize("state", [EngineState.CREATED, EngineState.EXITED])
def test_what_does_not_run_has_no_first_moment(state: EngineState) -> None:
    assert settles_at(on_engine(A, state, asked_at=NOW)) is None
