"""The model of an engine against the cases that the real one passes (tests/conformance), and the loop's own rules."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from agents.runtime.base import Json, RuntimeBusy, RuntimeRefused
from tests.agents.build import CLUSTER
from tests.conformance import test_runtime as cases
from tests.harness.images import EXITER, SLEEPER
from tests.simulation.box import Behaviour, Box
from tests.simulation.engine import Engine
from tests.simulation.loop import Deadlock, VirtualLoop
from tests.simulation.process import Process
from tests.simulation.runtime import Cuts, ModelRuntime


class _Watcher:
    def __init__(self) -> None:
        self.stopping, self.ended = asyncio.Event(), asyncio.Event()

    def changed(self, engine: Engine, box: Box, what: str) -> None:
        """Says when one ended."""
        if what.startswith("ended"):
            self.ended.set()

    def touched(self, engine: Engine, box: Box | None, what: str) -> None:
        """Says when a stop begins."""
        if what == "stop":
            self.stopping.set()


async def _empty(reference: str) -> Json | None:
    return None


def _model() -> tuple[Engine, ModelRuntime]:
    engine = Engine("model", random.Random(1), lambda: datetime.now(UTC), _Watcher(), live_restore=False)
    for reference, image_id in ((SLEEPER, "sha256:sleeper"), (EXITER, "sha256:exiter")):
        engine.images[reference] = engine.images[image_id] = {"Id": image_id, "RepoDigests": [], "Config": {}}
    engine.behaviours["sha256:exiter"] = Behaviour(lives=(0.0, 0.01), code=1)
    return engine, ModelRuntime(engine, Process("test"), Cuts(), _empty)


@pytest.mark.parametrize(
    "case",
    [
        cases.test_a_life,
        cases.test_a_name_is_taken_once,
        cases.test_a_missing_image_is_told_apart,
        cases.test_only_the_clusters_own_are_listed,
        cases.test_networks,
        cases.test_events_name_what_changed,
    ],
)
async def test_the_model_passes_the_cases_of_the_real_engine(case: Callable[[ModelRuntime], Awaitable[None]]) -> None:
    _, runtime = _model()
    await case(runtime)


async def test_a_start_in_the_grace_of_a_stop_is_quiet_and_the_container_ends() -> None:
    """E10."""
    engine, runtime = _model()
    engine_id = await runtime.create(CLUSTER, await cases.make(runtime), None)
    await runtime.start(engine_id)
    box = engine.boxes[engine_id]
    stopping = asyncio.create_task(runtime.stop(engine_id, 1))
    await engine.watcher.stopping.wait()  # type: ignore[attr-defined]
    await runtime.start(engine_id)
    await stopping
    assert (box.state, box.run) == ("exited", 1)


async def test_a_stopped_container_with_a_policy_is_started_by_the_next_engine() -> None:
    """E3, and E5: without a policy it stays down."""
    engine, runtime = _model()
    ids = [await runtime.create(CLUSTER, await cases.make(runtime), None) for _ in range(2)]
    for engine_id in ids:
        await runtime.start(engine_id)
        await runtime.update_policy(engine_id, "always" if engine_id == ids[0] else "no")
        await runtime.stop(engine_id, 1)
    engine.die()
    await engine.come_back()
    assert [engine.boxes[each].state for each in ids] == ["running", "exited"]


async def test_a_removal_that_fails_keeps_the_name() -> None:
    """E17."""
    engine, runtime = _model()
    one = await cases.make(runtime)
    engine_id = await runtime.create(CLUSTER, one, None)
    engine.boxes[engine_id].stuck = True
    with pytest.raises(Exception, match="removal failed"):
        await runtime.remove(engine_id)
    assert [each["State"] for each in await runtime.list_containers(CLUSTER)] == ["removing"]
    with pytest.raises(RuntimeRefused, match="taken"):
        await runtime.create(CLUSTER, one, None)


async def test_a_start_that_is_lost_half_way_can_never_be_made_again() -> None:
    """E33. The container can be removed."""
    engine, runtime = _model()
    lost = []
    for _ in range(8):
        engine_id = await runtime.create(CLUSTER, await cases.make(runtime), None)
        starting = asyncio.create_task(runtime.start(engine_id))
        await asyncio.sleep(0.02)
        engine.die()
        with pytest.raises(RuntimeBusy):
            await starting
        await engine.come_back()
        if engine.boxes[engine_id].half_started:
            lost.append(engine_id)
            with pytest.raises(RuntimeRefused, match="already exists"):
                await runtime.start(engine_id)
            await runtime.remove(engine_id)
    assert lost


async def test_an_engine_that_is_told_to_end_answers_while_it_stops_its_containers() -> None:
    """E34; what has a policy runs again afterwards."""
    engine, runtime = _model()
    ids = [await runtime.create(CLUSTER, await cases.make(runtime), None) for _ in range(6)]
    for engine_id in ids:
        await runtime.start(engine_id)
    await runtime.update_policy(ids[0], "always")
    ending = asyncio.create_task(engine.restart(0.0))
    await engine.watcher.ended.wait()  # type: ignore[attr-defined]
    assert len(await runtime.list_containers(CLUSTER)) == 6
    assert not engine.down
    with pytest.raises(RuntimeBusy, match="no such file"):
        await runtime.accepting()
    await ending
    await runtime.accepting()
    assert [engine.boxes[each].state for each in ids] == ["running", *["exited"] * 5]
    assert {engine.boxes[each].ended_by for each in ids} == {"engine"}


async def test_one_whose_shim_is_frozen_does_not_answer_and_the_others_do() -> None:
    """F17; what it was asked for is carried out afterwards (E7), and its end is seen then."""
    engine, runtime = _model()
    one, other = [await runtime.create(CLUSTER, await cases.make(runtime), None) for _ in range(2)]
    for engine_id in (one, other):
        await runtime.start(engine_id)
    engine.freeze(engine.boxes[one])
    asked = asyncio.create_task(runtime.inspect(one)), asyncio.create_task(runtime.update_policy(one, "always"))
    engine.crash(engine.boxes[one], 7)
    assert {each["State"] for each in await runtime.list_containers(CLUSTER)} == {"running"}
    await runtime.stop(other, 0)
    assert (await runtime.inspect(other))["State"]["Status"] == "exited"
    assert not any(each.done() for each in asked)
    engine.thaw(engine.boxes[one])
    inspected, _ = await asyncio.gather(*asked)
    assert (inspected["State"]["Status"], inspected["State"]["ExitCode"]) == ("exited", 7)
    assert engine.boxes[one].policy == "always"


def test_waiting_takes_no_time_and_waiting_for_nothing_is_found() -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(asyncio.sleep(3600), 7200))
        assert loop.time() == pytest.approx(3600)
        with pytest.raises(Deadlock):
            loop.run_until_complete(_for_ever())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def _for_ever() -> None:
    await asyncio.Event().wait()


def test_a_killed_process_does_nothing_more() -> None:
    """Its `finally` blocks reach nothing, and its threads' work is not done."""
    loop, written = VirtualLoop(), list[str]()

    async def work(process: Process) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await process.reach()
            written.append("too late")

    async def main() -> None:
        process = Process("one")
        process.spawn(work(process))
        await asyncio.sleep(1)
        await process.kill()

    try:
        loop.run_until_complete(main())
        assert written == []
    finally:
        loop.close()
